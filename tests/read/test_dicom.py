import zlib
from io import BytesIO

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from films import NATIVE, dataset, dicom, encode, knee, write
from kellgren.errors import KellgrenError, NotAKnee, UnreadableImage
from kellgren.read import Limits, Spacing, read, read_bytes
from kellgren.read.codestream import Codestream, read_codestream

FILM = knee()


def film_of(bits, signed):
    values = knee(top=(1 << bits) - 1)
    return values - (1 << (bits - 1)) if signed else values


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (10, False), (12, True), (14, False), (16, False), (16, True)]
)
def test_uncompressed_films_give_their_values(syntax, signed, bits):
    stored = film_of(bits, signed)
    film = read_bytes(dicom(stored, bits=bits, signed=signed, syntax=NATIVE[syntax]), "film.dcm")
    np.testing.assert_array_equal(film.pixels, stored)
    assert film.pixels.dtype == np.float32
    assert (film.bits, film.format, film.photometric) == (bits, "DICOM", "MONOCHROME2")
    assert film.padding is None
    assert film.notes == ()


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_the_preamble_may_be_missing(tmp_path, syntax):
    data = encode(dataset(FILM, syntax=NATIVE[syntax]), preamble=False)
    np.testing.assert_array_equal(read(write(tmp_path, "IM0001", data)).pixels, FILM)


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_the_file_meta_may_be_missing_too(syntax):
    ds = dataset(FILM, syntax=NATIVE[syntax])
    del ds.file_meta
    buffer = BytesIO()
    ds.save_as(buffer, implicit_vr=syntax == "implicit", little_endian=True)
    np.testing.assert_array_equal(read_bytes(buffer.getvalue(), "IM0001").pixels, FILM)


def test_rescale_is_applied_in_double_precision():
    film = read_bytes(dicom(FILM, RescaleSlope="-0.25", RescaleIntercept="1000000.5"), "film.dcm")
    np.testing.assert_array_equal(film.pixels, (FILM * -0.25 + 1000000.5).astype(np.float32))


def lut(table, first, bits=16, vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65536, first, bits])
    item.add_new("LUTData", vr, [int(v) for v in table] if vr == "US" else table.astype("<u2").tobytes())
    item.ModalityLUTType = "US"
    return Sequence([item])


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_a_modality_lut_is_applied_and_wins_over_rescale(vr, signed, syntax):
    stored = film_of(12, signed)
    first = -2000 if signed else 100
    table = (np.arange(3000) ** 2 % 60000).astype(np.uint16)
    data = dicom(
        stored,
        signed=signed,
        syntax=NATIVE[syntax],
        ModalityLUTSequence=lut(table, first, vr=vr),
        RescaleSlope="3",
        RescaleIntercept="0",
    )
    expected = table[np.clip(stored - first, 0, 2999)]
    np.testing.assert_array_equal(read_bytes(data, "film.dcm").pixels, expected)


def test_a_voi_window_is_a_hint_and_left_alone():
    film = read_bytes(dicom(FILM, WindowCenter="100", WindowWidth="0"), "film.dcm")
    np.testing.assert_array_equal(film.pixels, FILM)


def test_padding_is_a_value_or_a_range_in_stored_values():
    stored = film_of(12, signed=True)
    stored[:5], stored[5:8] = -2000, -1990
    one = read_bytes(dicom(stored, signed=True, PixelPaddingValue=-2000), "film.dcm")
    both = read_bytes(
        dicom(stored, signed=True, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990, RescaleSlope="2",
              RescaleIntercept="0"),
        "film.dcm",
    )  # fmt: skip
    np.testing.assert_array_equal(one.padding, stored == -2000)
    np.testing.assert_array_equal(both.padding, (stored >= -2000) & (stored <= -1990))


def test_padding_written_with_the_wrong_sign_is_understood():
    stored = film_of(12, signed=True)
    stored[:5] = -2000
    ds = dataset(stored, signed=True)
    ds.add_new("PixelPaddingValue", "US", 65536 - 2000)
    np.testing.assert_array_equal(read_bytes(encode(ds), "film.dcm").padding, stored == -2000)


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_the_high_bits_is_cut_off(signed):
    stored = film_of(12, signed)
    soiled = (stored & 0xFFF) | (np.arange(stored.size).reshape(stored.shape) % 2 << 12)
    ds = dataset(soiled.astype(np.uint16).view(np.int16) if signed else soiled, signed=signed)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
    np.testing.assert_array_equal(read_bytes(encode(ds), "film.dcm").pixels, stored)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, None),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, Spacing(0.2, 0.1, "detector")),
        ({"PixelSpacing": [0.2, 0.1]}, Spacing(0.2, 0.1, "detector")),
        ({"NominalScannedPixelSpacing": [0.2, 0.1]}, Spacing(0.2, 0.1, "detector")),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, Spacing(0.2, 0.1, "detector")),
        ({"PixelSpacing": [0.18, 0.09], "ImagerPixelSpacing": [0.2, 0.1]}, Spacing(0.18, 0.09, "calibrated")),
        (
            {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            Spacing(0.2, 0.1, "calibrated"),
        ),
        (
            {"ImagerPixelSpacing": [0.22, 0.11], "EstimatedRadiographicMagnificationFactor": "1.1"},
            Spacing(0.2, 0.1, "calibrated"),
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": "1.0"},
            Spacing(0.2, 0.1, "detector"),
        ),
        (
            {"PixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": "1.1"},
            Spacing(0.2, 0.1, "detector"),
        ),
    ],
)
def test_spacing_is_row_then_column_and_says_its_plane(elements, expected):
    spacing = read_bytes(dicom(FILM, **elements), "film.dcm").spacing
    if expected is None:
        assert spacing is None
    else:
        assert spacing is not None
        assert spacing.source == expected.source
        assert (spacing.row, spacing.column) == pytest.approx((expected.row, expected.column))


@pytest.mark.parametrize("value", [[0, 0], [-0.1, 0.1], [25.4, 25.4], [0.0001, 0.1], [0.1]])
def test_an_impossible_spacing_is_left_out_with_a_note(value):
    film = read_bytes(dicom(FILM, PixelSpacing=value), "film.dcm")
    assert film.spacing is None
    assert "PixelSpacing" in film.notes[0]


def test_laterality_comes_from_the_tags_and_conflicts_with_the_name():
    assert read_bytes(dicom(FILM, ImageLaterality="R"), "film.dcm").laterality.side == "R"
    assert read_bytes(dicom(FILM, Laterality="L"), "film.dcm").laterality.source == "tag"
    assert read_bytes(dicom(FILM, ImageLaterality="B"), "film.dcm").laterality.both
    assert read_bytes(dicom(FILM, ImageLaterality="R"), "9000099L").laterality.conflict
    assert read_bytes(dicom(FILM, ImageLaterality="R"), "film.dcm", side="L").laterality.side == "L"


def test_photometric_falls_back_on_the_presentation_lut_shape():
    film = read_bytes(dicom(FILM, photometric=None, PresentationLUTShape="INVERSE"), "film.dcm")
    assert film.photometric == "MONOCHROME1"
    film = read_bytes(dicom(FILM, photometric="MONOCHROME1", PresentationLUTShape="IDENTITY"), "film.dcm")
    assert film.photometric == "MONOCHROME1"
    assert "contradict" in film.notes[0]


def test_unusual_films_are_noted():
    notes = read_bytes(dicom(FILM, LossyImageCompression="01", BurnedInAnnotation="YES"), "film.dcm").notes
    assert "burned" in notes[0]
    assert "once compressed with loss" in notes[1]


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": None}, "no pixels"),
        ({"Rows": None}, "has no Rows"),
        ({"Rows": 0}, "not an image"),
        ({"Rows": 65535, "Columns": 65535}, "more than the 32000000"),
        ({"Rows": 40}, "at least 64"),
        ({"Rows": 97}, "cut short"),
        ({"PixelData": b""}, "no pixels"),
        ({"NumberOfFrames": "2"}, "2 frames"),
        ({"NumberOfFrames": "-1"}, "NumberOfFrames"),
        ({"photometric": "RGB"}, "RGB and has 1 samples"),
        ({"photometric": "RGB", "SamplesPerPixel": 3}, "cut short"),
        ({"photometric": "YBR_PARTIAL_422"}, "PhotometricInterpretation that is not read"),
        ({"photometric": "PALETTE COLOR"}, "incomplete palette"),
        ({"photometric": None}, "PhotometricInterpretation"),
        ({"SamplesPerPixel": 3}, "3 samples per pixel"),
        ({"BitsAllocated": 12}, "12 bits allocated"),
        ({"BitsAllocated": 32}, "32 bits allocated"),
        ({"BitsStored": 99, "HighBit": 98}, "99 stored"),
        ({"BitsStored": 1, "HighBit": 0}, "1 stored"),
        ({"HighBit": 10}, "high bit 10"),
        ({"HighBit": 16}, "high bit 16"),
        ({"PixelRepresentation": None}, "PixelRepresentation"),
        ({"PixelRepresentation": 7}, "PixelRepresentation"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "rescale"),
        ({"RescaleSlope": "1e400"}, "rescale"),
        ({"ModalityLUTSequence": [Dataset()]}, "Modality LUT"),
    ],
    ids=str,
)
def test_a_header_that_cannot_be_true_is_refused_before_decoding(elements, reason, monkeypatch):
    data = dicom(FILM, **elements)
    if not any(word in reason for word in ("rescale", "LUT", "palette", "cut short")):
        monkeypatch.setattr("kellgren.read.dicom.read_frame", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage) as caught:
        read_bytes(data, "film.dcm")
    assert reason in caught.value.reason


def test_a_ct_slice_is_no_knee_radiograph():
    with pytest.raises(NotAKnee, match="modality CT"):
        read_bytes(dicom(FILM, Modality="CT"), "film.dcm")


def test_a_deflated_file_is_inflated_up_to_what_a_film_needs(monkeypatch):
    data = dicom(FILM, syntax=DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(zlib, "decompress", lambda *_: pytest.fail("inflated without a bound"))
    np.testing.assert_array_equal(read_bytes(data, "film.dcm").pixels, FILM)
    bomb = dicom(FILM, PixelData=bytes(40 << 20), syntax=DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 100_000
    start = 144 + int.from_bytes(data[140:144], "little")  # behind the file meta group
    with pytest.raises(UnreadableImage, match="holds more than"):
        read_bytes(bomb, "film.dcm", limits=Limits(max_pixels=10_000))
    with pytest.raises(UnreadableImage, match="deflated DICOM file is damaged"):
        read_bytes(data[:start] + b"\xff" * 50 + data[start:], "film.dcm")
    with pytest.raises(UnreadableImage, match="cut short"):
        read_bytes(data[: len(data) // 2], "film.dcm")


@pytest.mark.parametrize(
    "tag", [b"\x28\x00\x00\x30", b"\x09\x00\x01\x10"], ids=["looked at", "not looked at"]
)
def test_deep_nesting_is_a_typed_error(tag):
    opening = tag + b"SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    whole = dicom(FILM)
    place = whole.index(b"\x28\x00\x02\x00US") if tag[0] == 0x28 else whole.index(b"\x10\x00\x10\x00PN")
    with pytest.raises(UnreadableImage, match="damaged"):
        read_bytes(whole[:place] + opening * 500 + whole[place:], "film.dcm")


def compressed(frame, syntax):
    ds = dataset(FILM, syntax=syntax)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return encode(ds)


def jpeg(rows, columns, marker=0xC3):
    """The head of a JPEG: an APP0 segment and a start of frame, no scan."""
    app = b"\xff\xe0\x00\x04ab"
    frame = (
        b"\xff"
        + bytes([marker])
        + b"\x00\x0b\x0c"
        + rows.to_bytes(2)
        + columns.to_bytes(2)
        + b"\x01\x01\x11\x00"
    )
    return b"\xff\xd8" + app + frame + b"\xff\xda"


def jpeg2000(rows, columns):
    siz = b"\x00\x29\x00\x00" + b"".join(v.to_bytes(4) for v in (columns + 3, rows + 5, 3, 5))
    return b"\xff\x4f\xff\x51" + siz + bytes(16) + b"\x00\x01\x0b\x01\x01" + bytes(9)


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (jpeg(96, 80), Codestream(96, 80, 1, 12)),
        (jpeg(96, 80, 0xF7), Codestream(96, 80, 1, 12)),
        (jpeg(96, 80, 0xC4), None),
        (jpeg2000(96, 80), Codestream(96, 80, 1, 12)),
        (bytes(12) + jpeg2000(96, 80), Codestream(96, 80, 1, 12)),
        (jpeg(96, 80)[:9], None),
        (jpeg2000(96, 80)[:12], None),
        (b"", None),
        (b"\xff\xd8\xff", None),
    ],
)
def test_a_code_stream_is_judged_by_its_header(stream, size):
    assert read_codestream(stream) == size


@pytest.mark.parametrize(
    ("frame", "syntax"),
    [
        (jpeg(60000, 60000), JPEGLosslessSV1),
        (jpeg2000(60000, 60000), JPEG2000Lossless),
        (b"junk", JPEGLSLossless),
    ],
)
def test_a_code_stream_of_another_size_is_refused(frame, syntax, monkeypatch):
    monkeypatch.setattr("kellgren.read.frames.get_decoder", lambda _: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match="not the size"):
        read_bytes(compressed(frame, syntax), "film.dcm")


def test_a_code_stream_that_claims_more_than_bytes_can_hold_is_refused():
    ds = dataset(FILM, syntax=JPEG2000Lossless, Rows=5000, Columns=5000)
    ds.PixelData = encapsulate([jpeg2000(5000, 5000)])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadableImage, match="too short for the size"):
        read_bytes(encode(ds), "film.dcm")


def test_a_missing_decoder_names_the_syntax_and_the_command(monkeypatch):
    class Missing:
        is_available = False

    monkeypatch.setattr("kellgren.read.frames.get_decoder", lambda _: Missing)
    monkeypatch.setattr("kellgren.read.frames.missing", lambda _: ("openjpeg",))
    monkeypatch.setenv("KELLGREN_EXPENDABLE", "1")  # in a child the decoder would be there
    with pytest.raises(UnreadableImage) as caught:
        read_bytes(compressed(jpeg(96, 80), JPEGLosslessSV1), "film.dcm")
    assert "JPEG Lossless" in caught.value.reason
    assert "1.2.840.10008.1.2.4.70" in caught.value.reason
    assert "pip install 'kellgren[codecs]'" in caught.value.reason


def test_a_code_stream_that_breaks_off_is_a_typed_error(capfd):
    # Pillow, which is always there, decodes JPEG 2000.
    with pytest.raises(UnreadableImage, match="no installed decoder could read"):
        read_bytes(compressed(jpeg2000(96, 80), JPEG2000Lossless), "film.dcm")
    assert capfd.readouterr() == ("", "")


def test_an_unknown_transfer_syntax_is_refused():
    with pytest.raises(UnreadableImage, match="MPEG2"):
        read_bytes(compressed(b"frame", UID("1.2.840.10008.1.2.4.100")), "film.dcm")


@pytest.mark.parametrize(
    ("syntax", "codec"), [(RLELossless, None), (JPEGLSLossless, "jpeg_ls"), (JPEG2000Lossless, "openjpeg")]
)
def test_compressed_films_give_their_values(syntax, codec):
    if codec:
        pytest.importorskip(codec, reason="needs the codecs extra")
    ds = dataset(FILM)
    ds.compress(syntax)
    np.testing.assert_array_equal(read_bytes(encode(ds), "film.dcm").pixels, FILM)


def test_no_patient_data_is_warned_logged_or_kept(recwarn, caplog, capfd):
    ds = dataset(FILM)
    ds.add_new("RescaleSlope", "LO", "SECRET")
    ds.add_new("PatientBirthDate", "LO", "SECRET 1951")
    ds.add_new("ImagerPixelSpacing", "LO", "SECRET")
    with pytest.raises(UnreadableImage) as caught:
        read_bytes(encode(ds), "film.dcm")
    del ds.RescaleSlope
    film = read_bytes(encode(ds), "film.dcm")
    assert film.notes == ("ImagerPixelSpacing is not usable and was left out",)
    seen = f"{caught.value!r} {caught.value.__context__!r} {film!r} {caplog.text} {capfd.readouterr()}"
    assert "secret" not in seen.lower()
    assert not recwarn.list


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, NATIVE["explicit"]])
def test_damaged_bytes_raise_nothing_but_our_own_errors(syntax):
    rng = np.random.default_rng(2)
    whole = dicom(FILM[:64, :64], syntax=syntax, ModalityLUTSequence=lut(np.arange(50), 0))
    outcomes = set()
    for _ in range(250):
        data = bytearray(whole[: rng.integers(132, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for position in rng.integers(132, min(len(data), 900) + 1, 4):
            if position < len(data):
                data[position] = rng.integers(256)
        try:
            read_bytes(bytes(data), "film")
        except KellgrenError as error:
            outcomes.add(type(error))
    assert UnreadableImage in outcomes


def test_limits_hold(tmp_path):
    path = write(tmp_path, "film.dcm", dicom(FILM))
    with pytest.raises(UnreadableImage, match="pixels"):
        read(path, limits=Limits(max_pixels=100))
