"""One simulated knee in every form a DICOM file can have: the same film, the same grade."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from films import NATIVE, dataset, encode
from kellgren.model import bundle
from kellgren.model.predict import Model
from kellgren.read import read_bytes
from kellgren.standardise import standardise

BITS = (8, 10, 12, 14, 16)
GREY = list(itertools.product(("MONOCHROME2", "MONOCHROME1"), BITS, (False, True)))
PLAIN = {**NATIVE, "deflated": DeflatedExplicitVRLittleEndian}
LOSSLESS = {
    "RLE": RLELossless,
    "JPEG lossless": JPEGLossless,
    "JPEG lossless SV1": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
LOSSY = {
    "JPEG baseline": (JPEGBaseline8Bit, 8),
    "JPEG extended": (JPEGExtended12Bit, 12),
    "JPEG-LS near-lossless": (JPEGLSNearLossless, 12),
    "JPEG 2000 lossy": (JPEG2000, 12),
}
ENCODERS = {
    RLELossless: ("pydicom", None),
    JPEGLSLossless: ("pyjpegls", "jpeg_ls"),
    JPEGLSNearLossless: ("pyjpegls", "jpeg_ls"),
    JPEG2000Lossless: ("pylibjpeg", "openjpeg"),
    JPEG2000: ("pylibjpeg", "openjpeg"),
}
"""What writes a syntax in pydicom, and the module that it needs; GDCM writes the others."""
LOSSY_TOLERANCE = 0.05
"""Largest difference of any probability after one compression with loss at an ordinary quality."""


@pytest.fixture(scope="module")
def knee(phantoms):
    """(H, W) bone-bright values 0..255: every depth from 8 to 16 bits holds them exactly."""
    # An even number of bytes: GDCM cannot compress others.
    return (phantoms["R"].pixels[:298, :298] >> 8).astype(np.int64)


@pytest.fixture(scope="module")
def graded():
    """Probabilities of a file, the network run once for each film that differs."""
    model = Model(bundle.load("joint"), threads=1)
    known: dict[bytes, dict[str, np.ndarray]] = {}

    def grade(data: bytes) -> dict[str, np.ndarray]:
        film = standardise(read_bytes(data, "film.dcm", side="R"))
        key = film.pixels.tobytes()
        if key not in known:
            known[key] = dict(model.predict(film.pixels, "R").probabilities)
        return known[key]

    grade.films = known
    return grade


@pytest.fixture(scope="module")
def truth(knee, graded):
    return graded(encode(as_grey(knee, "MONOCHROME2", 8, False)))


def as_grey(knee, photometric, bits, signed, syntax=ExplicitVRLittleEndian) -> Dataset:
    stored = knee << (bits - 8)
    if photometric == "MONOCHROME1":
        stored = (255 << (bits - 8)) - stored
    if signed:
        stored = stored - (1 << (bits - 1))
    return dataset(stored, bits=bits, signed=signed, photometric=photometric, syntax=syntax)


def converted(ds: Dataset, syntax: UID, folder) -> bytes:
    """The file as GDCM compresses it."""
    gdcm = pytest.importorskip("gdcm", reason="needs the codecs extra")
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    plain.write_bytes(encode(ds))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return packed.read_bytes()


def compressed(ds: Dataset, syntax: UID, folder, **options: Any) -> bytes:
    """The file compressed by pydicom's encoders, or by GDCM where it has none."""
    if syntax not in ENCODERS:
        return converted(ds, syntax, folder)
    plugin, module = ENCODERS[syntax]
    if module:
        pytest.importorskip(module, reason="needs the codecs extra")
    ds.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False, **options)
    return encode(ds)


def assert_same(probabilities, truth):
    assert probabilities.keys() == truth.keys()
    for task, expected in truth.items():
        np.testing.assert_allclose(probabilities[task], expected, atol=1e-3, err_msg=task)


@pytest.mark.parametrize("syntax", PLAIN)
def test_every_uncompressed_form_gives_the_same_grade(knee, graded, truth, syntax):
    for photometric, bits, signed in GREY:
        data = encode(as_grey(knee, photometric, bits, signed, PLAIN[syntax]))
        assert_same(graded(data), truth)
    assert len(graded.films) <= 4  # MONOCHROME1 rounds its halves the other way


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_compression_gives_the_same_grade(knee, graded, truth, syntax, tmp_path):
    for photometric, bits, signed in GREY:
        data = compressed(as_grey(knee, photometric, bits, signed), LOSSLESS[syntax], tmp_path)
        expected = as_grey(knee, photometric, bits, signed)
        np.testing.assert_array_equal(
            read_bytes(data, "film.dcm").pixels,
            read_bytes(encode(expected), "film.dcm").pixels,
            err_msg=f"{photometric} {bits} {signed}",
        )
        assert_same(graded(data), truth)


def as_rgb(knee, *, planar=0, bits=8) -> Dataset:
    channels = np.stack([knee << (bits - 8)] * 3, axis=0 if planar else -1)
    ds = as_grey(knee, "MONOCHROME2", bits, False)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", planar
    ds.PixelData = channels.astype("<u1" if bits == 8 else "<u2").tobytes()
    return ds


def as_ybr(knee, photometric) -> Dataset:
    ds = as_rgb(knee)
    ds.PhotometricInterpretation = photometric
    y = knee.astype(np.uint8)
    if photometric == "YBR_FULL":
        ds.PixelData = np.stack([y, np.full_like(y, 128), np.full_like(y, 128)], axis=-1).tobytes()
    else:  # pairs of pixels: Y1 Y2 Cb Cr
        grey = np.full((y.size // 2, 2), 128, np.uint8)
        ds.PixelData = np.concatenate([y.reshape(-1, 2), grey], axis=1).tobytes()
    return ds


def as_palette(knee, *, entry_bits=16, first=0) -> Dataset:
    """Indices run backwards, so that a reader that takes them for grey values is found out."""
    ds = as_grey(255 - knee + first, "MONOCHROME2", 8, False)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    width = "<u1" if entry_bits == 8 else "<u2"
    table = (np.arange(255, -1, -1) << (entry_bits - 8)).astype(width).tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, first, entry_bits])
        setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    return ds


@pytest.mark.parametrize(
    "form",
    [
        as_rgb,
        lambda knee: as_rgb(knee, planar=1),
        lambda knee: as_rgb(knee, bits=16),
        lambda knee: as_ybr(knee, "YBR_FULL"),
        lambda knee: as_ybr(knee, "YBR_FULL_422"),
        as_palette,
        lambda knee: as_palette(knee, entry_bits=8),
    ],
    ids=["RGB", "RGB by plane", "RGB 16", "YBR_FULL", "YBR_FULL_422", "palette 16", "palette 8"],
)
@pytest.mark.parametrize("syntax", ["explicit", "big endian", "RLE", "JPEG-LS", "JPEG 2000", "JPEG lossless"])
def test_a_grey_film_stored_in_colour_gives_the_same_grade(
    knee, graded, truth, form, syntax, tmp_path, request
):
    ds = form(knee)
    kind = ds.PhotometricInterpretation
    if syntax != "explicit" and (kind != "RGB" or (syntax in LOSSLESS and ds.PlanarConfiguration)):
        pytest.skip("the encoders at hand do not write it")
    if syntax == "big endian":
        if ds.BitsAllocated == 16:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = NATIVE[syntax]
        data = encode(ds)
    elif syntax in LOSSLESS:
        data = compressed(ds, LOSSLESS[syntax], tmp_path)
    else:
        data = encode(ds)
    film = read_bytes(data, "film.dcm")
    assert "a grey image stored in colour" in film.notes
    assert film.flags == ()
    assert_same(graded(data), truth)


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_compression_with_loss_keeps_the_grade(knee, graded, truth, kind, photometric, tmp_path):
    syntax, bits = LOSSY[kind]
    options = {JPEGLSNearLossless: {"jls_error": 8}, JPEG2000: {"j2k_cr": [4]}}.get(syntax, {})
    data = compressed(as_grey(knee, photometric, bits, False), syntax, tmp_path, **options)
    found = graded(data)
    assert found["KL"].argmax() == truth["KL"].argmax()
    for task, expected in truth.items():
        np.testing.assert_allclose(found[task], expected, atol=LOSSY_TOLERANCE, err_msg=task)
    original = read_bytes(encode(as_grey(knee, photometric, bits, False)), "film.dcm").pixels
    assert 0 < np.abs(read_bytes(data, "film.dcm").pixels - original).max() < 0.2 * 2**bits
