"""Frames and colours by what the pixel data hold, where the header is wrong or silent."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from films import dataset, encode, raster
from kellgren.errors import UnreadableImage
from kellgren.read import Stated, read_bytes

KNEE = np.add.outer(np.arange(96, dtype=np.uint16) * 20, np.arange(80, dtype=np.uint16) * 9)
OTHER = KNEE[::-1].copy()


def several(count, **elements):
    ds = dataset(KNEE, **elements)
    ds.PixelData = b"".join((KNEE if i % 2 == 0 else OTHER).tobytes() for i in range(count))
    return encode(ds)


@pytest.mark.parametrize("stated", [{}, {"NumberOfFrames": "1"}, {"NumberOfFrames": "0"}])
@pytest.mark.parametrize("count", [2, 3])
def test_frames_that_are_not_counted(stated, count):
    data = several(count, **stated)
    with pytest.raises(UnreadableImage, match=f"holds {count} frames"):
        read_bytes(data, "film.dcm")
    film = read_bytes(data, "film.dcm", stated=Stated(frame=2))
    np.testing.assert_array_equal(film.pixels, OTHER)
    assert any("the pixel data hold" in note for note in film.notes)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit])
@pytest.mark.parametrize("split", [False, True])
def test_compressed_frames_that_are_not_counted(syntax, split):
    frames = []
    for image in (KNEE, OTHER):
        ds = dataset(image)
        if syntax == JPEGBaseline8Bit:
            frames.append(raster((image >> 4).astype(np.uint8), "JPEG"))
            continue
        ds.compress(syntax)
        frames.append(next(generate_frames(ds.PixelData, number_of_frames=1)))
    pieces = frames
    if split and syntax != RLELossless:
        pieces = [
            part for frame in frames for part in (frame[: len(frame) // 4 * 2], frame[len(frame) // 4 * 2 :])
        ]
    eight = syntax == JPEGBaseline8Bit
    ds = dataset((KNEE >> 4).astype(np.uint8), bits=8) if eight else dataset(KNEE)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(pieces, has_bot=False)
    ds["PixelData"].is_undefined_length = True
    data = encode(ds)
    with pytest.raises(UnreadableImage, match="holds 2 frames"):
        read_bytes(data, "film.dcm")
    film = read_bytes(data, "film.dcm", stated=Stated(frame=2))
    np.testing.assert_allclose(film.pixels, OTHER >> 4 if eight else OTHER, atol=3 if eight else 0)


@pytest.mark.parametrize("frames", ["0", "1", "", None])
def test_one_frame_however_it_is_counted(frames):
    film = read_bytes(encode(dataset(KNEE, NumberOfFrames=frames)), "film.dcm")
    np.testing.assert_array_equal(film.pixels, KNEE)
    assert ("NumberOfFrames is 0; 1 was assumed" in film.notes) == (frames == "0")


@pytest.mark.parametrize("extra", [2, 100, 1000])
def test_bytes_after_the_last_frame_are_noted(extra):
    ds = dataset(KNEE)
    ds.PixelData = KNEE.tobytes() + bytes(extra)
    film = read_bytes(encode(ds), "film.dcm")
    np.testing.assert_array_equal(film.pixels, KNEE)
    assert film.notes == (f"{extra} bytes after the last frame were left out",)


def colour(image, **elements):
    eight = (KNEE >> 4).astype(np.uint8)
    ds = dataset(eight, bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    ds.PixelData = image.tobytes()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return encode(ds)


EIGHT = (KNEE >> 4).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("tint", [(1, 1, 1), (1, 0.5, 0.2), (0.2, 0.9, 0.4)])
def test_a_missing_planar_configuration_is_seen(planar, tint):
    planes = [(EIGHT * share).astype(np.uint8) for share in tint]
    image = np.stack(planes, axis=0 if planar else -1)
    expected = read_bytes(colour(image, PlanarConfiguration=planar), "film.dcm")
    film = read_bytes(colour(image), "film.dcm")
    np.testing.assert_array_equal(film.pixels, expected.pixels)
    assert f"PlanarConfiguration is missing; {planar} was assumed" in film.notes


def test_a_missing_planar_configuration_of_noise_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (96, 80, 3)).astype(np.uint8)
    with pytest.raises(UnreadableImage, match="PlanarConfiguration"):
        read_bytes(colour(noise), "film.dcm")


def test_whole_chroma_that_is_called_halved():
    image = np.dstack([EIGHT, np.full_like(EIGHT, 128), np.full_like(EIGHT, 128)])
    words = {"PlanarConfiguration": 0}
    expected = read_bytes(colour(image, PhotometricInterpretation="YBR_FULL", **words), "film.dcm")
    film = read_bytes(colour(image, PhotometricInterpretation="YBR_FULL_422", **words), "film.dcm")
    np.testing.assert_array_equal(film.pixels, expected.pixels)
    assert any("YBR_FULL_422" in note for note in film.notes)


@pytest.mark.parametrize(("bits", "allocated"), [(12, 16), (16, 16), (10, 16)])
def test_a_missing_high_bit(bits, allocated):
    image = (KNEE.astype(int) * ((1 << bits) - 1) // 4095).astype(np.uint16)
    ds = dataset(image, bits=bits)
    del ds.HighBit
    film = read_bytes(encode(ds), "film.dcm")
    np.testing.assert_array_equal(film.pixels, image)
    assert f"HighBit is missing; {bits - 1} was assumed" in film.notes


@pytest.mark.parametrize(
    ("keyword", "raw"),
    [("PixelSpacing", b"0,143\\0,143"), ("ImagerPixelSpacing", b"0,2\\0,2 "), ("RescaleSlope", b"1,5 ")],
)
def test_decimal_commas_are_noted(keyword, raw):
    placeholder = {"PixelSpacing": [0.123, 0.456], "ImagerPixelSpacing": [0.1, 0.4], "RescaleSlope": "9.25"}
    data = encode(dataset(KNEE, RescaleIntercept="0", **{keyword: placeholder[keyword]}))
    old = {"PixelSpacing": b"0.123\\0.456", "ImagerPixelSpacing": b"0.1\\0.4 ", "RescaleSlope": b"9.25"}[
        keyword
    ]
    assert data.count(old) == 1
    film = read_bytes(data.replace(old, raw), "film.dcm")
    assert f"{keyword} has a decimal comma" in film.notes
    if keyword == "RescaleSlope":
        np.testing.assert_allclose(film.pixels, KNEE * 1.5)
    else:
        assert film.spacing is not None
        assert film.spacing.row == float(raw.split(b"\\")[0].replace(b",", b"."))


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.1.98", "1.2.840.113619.5.2"])
def test_unknown_transfer_syntaxes_are_told_by_uid(uid):
    ds = dataset(KNEE)
    data = encode(ds)
    old = b"UI\x14\x001.2.840.10008.1.2.1\0"
    new = uid.encode() + b"\0" * (len(uid) % 2)
    data = data.replace(old, b"UI" + len(new).to_bytes(2, "little") + new, 1)
    with pytest.raises(UnreadableImage, match=uid.replace(".", r"\.")):
        read_bytes(data, "film.dcm")
