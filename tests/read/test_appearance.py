"""What lies between stored values and the look of a film: bits, tone curves, raw images, colour, the view."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from films import dataset, dicom, encode, knee
from kellgren.read import Spacing, read_bytes
from kellgren.read.laterality import view_flags
from kellgren.standardise import standardise

FILM = knee(256, 200)


def lut(table, first=0, bits=16, keyword="VOILUTSequence"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.asarray(table).astype("<u2").tobytes())
    return {keyword: Sequence([item])}


def film(**options):
    return read_bytes(dicom(options.pop("stored", FILM), **options), "film.dcm")


S_CURVE = np.rint(65535 / (1 + np.exp(-(np.arange(4096) - 2000) / 400))).astype(np.uint16)


def test_a_voi_lut_is_applied_where_it_fits():
    found = film(**lut(S_CURVE))
    np.testing.assert_array_equal(found.pixels, S_CURVE[FILM])
    assert "the header's VOI LUT was applied" in found.notes


def test_a_voi_lut_takes_modality_values_and_may_begin_below_zero():
    table = np.arange(5000)
    found = film(RescaleSlope="1", RescaleIntercept="-1000", **lut(table, first=-1000))
    np.testing.assert_array_equal(found.pixels, FILM)


@pytest.mark.parametrize(
    "options",
    [
        lut(np.abs(np.arange(4096) - 2000)),  # falls and rises
        lut(np.arange(100), first=5000),  # all pixels before its first entry
        lut(np.arange(4096) // 1000),  # four grey values
        lut(S_CURVE[:100]),  # nearly all pixels behind its last entry
        {"PresentationIntentType": "FOR PROCESSING", **lut(S_CURVE)},  # not meant to be looked at
        {"WindowCenter": "2000", "WindowWidth": "1500"},  # cuts, does not bend
        {"WindowCenter": "2000", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "90000", "WindowWidth": "10", "VOILUTFunction": "SIGMOID"},
    ],
)
def test_a_tone_curve_that_does_not_fit_is_left_out(options):
    np.testing.assert_array_equal(film(**options).pixels, FILM)


def test_a_sigmoid_window_is_applied():
    found = film(WindowCenter="2000", WindowWidth="1600", VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(found.pixels, 65535 / (1 + np.exp(-4 * (FILM - 2000) / 1600)), rtol=1e-4)


def test_a_tone_curve_undoes_what_a_maker_left_to_the_viewer():
    """Stored flat, shown through its curve: the film is the one that was meant."""
    flat = np.searchsorted(S_CURVE, FILM * 16).clip(0, 4095)
    meant, shown = standardise(film()), standardise(film(stored=flat, **lut(S_CURVE)))
    without = standardise(film(stored=flat))
    assert np.abs(shown.pixels.astype(int) - meant.pixels).mean() < 200
    assert np.abs(without.pixels.astype(int) - meant.pixels).mean() > 2000


RAW = {"PresentationIntentType": "FOR PROCESSING", "bits": 16}
INTENSITY = np.rint(60000 * np.exp(-FILM / 1000)).astype(np.int64)  # 60000 in air, 1000 behind bone


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (INTENSITY, {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}),
        (65535 - INTENSITY, {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": -1}),
        (INTENSITY, {"PixelIntensityRelationship": "LIN", "photometric": "MONOCHROME1"}),
        (FILM * 16, {"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1}),
        (65535 - FILM * 16, {"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}),
    ],
)
def test_a_raw_image_becomes_attenuation_and_is_referred(stored, options):
    found = film(stored=stored, **RAW, **options)
    assert found.flags == ("a raw image (FOR PROCESSING), not the one that was meant to be looked at",)
    expected = standardise(film()).pixels.astype(int)
    assert np.abs(standardise(found).pixels - expected).max() < 150


def test_the_relationship_of_a_processed_image_is_left_alone():
    found = film(PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)
    np.testing.assert_array_equal(found.pixels, FILM)
    assert found.photometric == "MONOCHROME2"


@pytest.mark.parametrize("syntax", ["plain", "RLE"])
@pytest.mark.parametrize("signed", [False, True])
def test_stored_bits_may_lie_anywhere_in_the_allocated_ones(signed, syntax):
    values = FILM - 2048 if signed else FILM
    ds = dataset(values << 3, signed=signed, bits=16)
    ds.BitsStored, ds.HighBit = 12, 14
    if syntax == "RLE":
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    np.testing.assert_array_equal(read_bytes(encode(ds), "film.dcm").pixels, values)


@pytest.mark.parametrize(("stated", "signed"), [(10, False), (11, False), (11, True)])
def test_understated_bits_are_found_out(stated, signed):
    values = FILM - 2048 if signed else FILM
    ds = dataset(values, signed=signed, BitsStored=stated, HighBit=stated - 1)
    found = read_bytes(encode(ds), "film.dcm")
    np.testing.assert_array_equal(found.pixels, values)
    assert found.bits == 12
    assert f"the header says {stated} bits, the pixels use 12" in found.notes


def test_an_overlay_that_no_header_names_is_cut_off():
    drawn = np.zeros_like(FILM)
    drawn[40:44, 30:170] = drawn[60:200, 50:53] = 1
    found = read_bytes(dicom(FILM | drawn << 14), "film.dcm")
    np.testing.assert_array_equal(found.pixels, FILM)
    assert "unused bits of the pixels were not empty and were cut off" in found.notes


def test_a_named_overlay_is_cut_off_however_smooth_it_is():
    ds = dataset(FILM | 1 << 15)
    ds.add_new(0x60020100, "US", 16)
    ds.add_new(0x60020102, "US", 15)
    found = read_bytes(encode(ds), "film.dcm")
    np.testing.assert_array_equal(found.pixels, FILM)
    assert "an overlay in unused bits of the pixels was cut off" in found.notes


def colour(share):
    """An RGB copy with a red field over a share of the film."""
    ds = dataset(FILM >> 4, bits=8, photometric="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    channels = np.stack([FILM >> 4] * 3, axis=-1).astype(np.uint8)
    channels[: int(FILM.shape[0] * share)] = (255, 0, 0)
    ds.PixelData = channels.tobytes()
    return read_bytes(encode(ds), "film.dcm")


def test_colour_is_read_by_its_luminance_and_flagged_where_it_is_more_than_a_mark():
    assert colour(0.2).flags == ("the image is in colour (20% of it): its luminance was graded",)
    assert colour(0.2).pixels[0, 0] == pytest.approx(0.299 * 255, abs=0.01)
    small = colour(0.008)
    assert small.flags == ()
    assert "coloured marks on the image were read by their luminance" in small.notes
    assert colour(0).photometric is None


@pytest.mark.parametrize(
    ("orientation", "view", "words"),
    [
        ("L\\F", "AP", ()),
        ("", None, ()),
        ("LP\\FL", "PA", ()),
        ("R\\F", "PA", ("mirrored",)),
        ("A\\F", None, ("lateral view",)),
        ("L\\F", "LL", ("lateral view",)),
        ("L\\H", None, ("upside down",)),
        ("R\\H", None, ("mirrored", "upside down")),
        ("F\\L", None, ("on its side",)),
    ],
)
def test_a_pose_other_than_the_usual_is_flagged(orientation, view, words):
    flags = film(PatientOrientation=orientation, ViewPosition=view or "").flags
    assert len(flags) == len(words)
    assert all(word in flag for word, flag in zip(words, flags, strict=True))
    assert list(flags) == view_flags(orientation.split("\\") if orientation else (), view)


@pytest.mark.parametrize(
    ("code", "scheme", "word"),
    [("102538003", "SCT", "lying"), ("F-10310", "SRT", "sitting"), ("10904000", "SCT", None)],
)
def test_films_without_weight_are_flagged(code, scheme, word):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, "pose"
    flags = film(PatientOrientationCodeSequence=Sequence([item])).flags
    assert [word in flag for flag in flags] == ([True] if word else [])


def test_pixels_that_are_not_square_are_flagged():
    assert "not square" in film(ImagerPixelSpacing=[0.2, 0.1]).flags[0]
    assert "not square" in film(PixelAspectRatio=["5", "4"]).flags[0]
    assert film(PixelAspectRatio=["1", "1"]).flags == ()


def test_a_pixel_spacing_larger_than_the_detectors_is_no_calibration():
    found = film(PixelSpacing=[0.3, 0.3], ImagerPixelSpacing=[0.15, 0.15])
    assert found.spacing == Spacing(0.3, 0.3, "detector")
    assert "no correction of ImagerPixelSpacing" in found.notes[0]


def test_functional_groups_of_an_enhanced_object_hold_for_their_frame():
    def macro(keyword, **elements):
        item = Dataset()
        for name, value in elements.items():
            setattr(item, name, value)
        return keyword, Sequence([item])

    def group(*macros):
        item = Dataset()
        for keyword, sequence in macros:
            setattr(item, keyword, sequence)
        return item

    ds = dataset(np.concatenate([FILM, FILM[::-1]]), Rows=256, NumberOfFrames="2", Modality="XA")
    ds.SharedFunctionalGroupsSequence = Sequence(
        [group(macro("PixelMeasuresSequence", PixelSpacing=[0.2, 0.2]))]
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        [
            group(macro("PixelValueTransformationSequence", RescaleSlope="2", RescaleIntercept="5")),
            group(macro("FrameAnatomySequence", FrameLaterality="L")),
        ]
    )
    from kellgren.read import Stated

    one, two = (read_bytes(encode(ds), "film.dcm", stated=Stated(frame=n)) for n in (1, 2))
    np.testing.assert_array_equal(one.pixels, FILM * 2 + 5)
    np.testing.assert_array_equal(two.pixels, FILM[::-1])
    assert (one.laterality.side, two.laterality.side) == (None, "L")
    assert one.spacing == two.spacing == Spacing(0.2, 0.2, "detector")
