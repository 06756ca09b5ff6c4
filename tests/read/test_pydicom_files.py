"""Every file that ships with pydicom for its tests: what is like a film is read, the rest has a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread

from kellgren.errors import KellgrenError, NotAKnee, UnreadableImage
from kellgren.read import Limits, Radiograph, read, read_bytes
from kellgren.read.metadata import Stated

FILES = Path(pydicom.data.__file__).parent / "test_files"

# Secondary captures of test patterns: colours, and sizes from 100 pixels.
READ = {
    "GDCMJ2K_TextGBR.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "image_dfl.dcm",
}
REASONS = {
    "JPEGLSNearLossless_08.dcm": "at least 64",
    "JPEGLSNearLossless_16.dcm": "at least 64",
    "SC_rgb_small_odd.dcm": "at least 64",
    "SC_rgb_rle_2frame.dcm": "2 frames; say which",
    "SC_rgb_rle_32bit.dcm": "32 bits allocated",
    "6154": "at least 64",
    "reportsi.dcm": "a structured report",
    "rtplan.dcm": "a treatment plan",
    "rtstruct.dcm": "a set of contours",
    "waveform_ecg.dcm": "an electrocardiogram",
    "DICOMDIR": "index of a medium",
    "rtplan.dump": "text",
}
OTHER_MODALITIES = {"CT", "MR", "US", "NM", "SEG", "RTDOSE"}


def files() -> list[Path]:
    skipped = {".py", ".txt", ".json", ".md", ".pyc"}
    return sorted(p for p in FILES.rglob("*") if p.is_file() and p.suffix not in skipped)


@pytest.fixture(autouse=True)
def _codecs():
    for module in ("gdcm", "jpeg_ls", "openjpeg"):
        pytest.importorskip(module, reason="needs the codecs extra")


def outcome(path: Path) -> Radiograph | KellgrenError:
    try:
        return read(path)
    except KellgrenError as error:
        return error


def test_each_file_is_read_or_has_the_right_reason(recwarn):
    outcomes = {path.name: outcome(path) for path in files()}
    films = {name: found for name, found in outcomes.items() if isinstance(found, Radiograph)}
    assert films.keys() == READ
    for name, film in films.items():
        assert np.isfinite(film.pixels).all(), name
        assert film.pixels.max() > film.pixels.min(), name
    reasons = {name: found.reason for name, found in outcomes.items() if isinstance(found, KellgrenError)}
    assert not [name for name, reason in reasons.items() if "damaged" in reason]
    for name, words in REASONS.items():
        assert words in reasons[name]
    for found in outcomes.values():
        if isinstance(found, NotAKnee):
            modality = found.reason.removeprefix("the DICOM file is of modality ").split(",")[0]
            assert modality in OTHER_MODALITIES
    # pydicom remarks on a JPEG whose colours are not those of its header; nothing else may be said.
    assert not [w for w in recwarn if "codestream" not in str(w.message)]


def as_radiograph(name: str) -> bytes:
    """The file with its modality made DX, the rest of its bytes unchanged."""
    data = (FILES / name).read_bytes()
    place = max(data.find(b"\x08\x00\x60\x00"), data.find(b"\x00\x08\x00\x60"))
    start = place + 8
    return data[:start] + b"DX" + data[start + 2 :]


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEG2000.dcm",
        "JPGExtended.dcm",
        "JPEG-lossy.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
        "CT_small.dcm",
        "examples_overlay.dcm",
    ],
)
def test_pixels_of_other_modalities_come_out_as_pydicom_decodes_them(name):
    film = read_bytes(as_radiograph(name), "film.dcm")
    if name in ("JPGExtended.dcm", "JPEG-lossy.dcm"):  # pydicom needs a GPL package; these are its references
        assert film.pixels[420, 140] == 244
        assert film.pixels[230, 120] == 95
        assert film.pixels.mean() == pytest.approx(14.37, abs=0.05)
        return
    ds = dcmread(FILES / name)
    expected = ds.pixel_array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    np.testing.assert_allclose(film.pixels, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_truncated.dcm", "cut short"),
        # pydicom keeps it to test parsing; the size in its code stream is overwritten.
        ("JPEG2000-embedded-sequence-delimiter.dcm", "not the size"),
        ("examples_ybr_color.dcm", "30 frames"),
        ("liver_1frame.dcm", "1 bits allocated"),
    ],
)
def test_what_is_truly_broken_or_no_single_film_says_so(name, reason):
    with pytest.raises(UnreadableImage, match=reason):
        read_bytes(as_radiograph(name), "film.dcm")


def test_a_chosen_frame_is_the_one_that_is_read():
    path = FILES / "SC_rgb_rle_2frame.dcm"
    first, second = (read(path, stated=Stated(frame=n)).pixels for n in (1, 2))
    frames = dcmread(path).pixel_array.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(first, frames[0], atol=1e-3)
    np.testing.assert_allclose(second, frames[1], atol=1e-3)
    video = as_radiograph("examples_ybr_color.dcm")
    one, other = (read_bytes(video, "film.dcm", stated=Stated(frame=n)).pixels for n in (1, 30))
    assert one.shape == other.shape == (240, 320)
    assert not np.array_equal(one, other)
    with pytest.raises(UnreadableImage, match="frame 31 is not there"):
        read_bytes(video, "film.dcm", stated=Stated(frame=31))


def test_a_palette_is_looked_up():
    ds = dcmread(FILES / "examples_palette.dcm")
    from pydicom.pixels import apply_color_lut

    film = read_bytes(as_radiograph("examples_palette.dcm"), "film.dcm", limits=Limits(min_side=8))
    colours = apply_color_lut(ds.pixel_array, ds).astype(np.float32)
    np.testing.assert_allclose(film.pixels, colours @ np.array([0.299, 0.587, 0.114], np.float32), rtol=1e-4)
