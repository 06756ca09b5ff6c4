"""Small made-up films as files: nothing in them comes from a radiograph."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

NATIVE = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
}


def knee(rows: int = 96, columns: int = 80, *, top: int = 4095, seed: int = 0) -> npt.NDArray[np.int64]:
    """Bone-bright (rows, columns) values 0 .. top: a leg with bone, a dark joint space and noise.

    The two halves differ, so that a flip is seen.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns] / np.array([rows, columns]).reshape(2, 1, 1)
    leg = 1 / (1 + np.exp((np.abs(x - 0.5) - 0.42) * 40))
    bone = 1 / (1 + np.exp((np.abs(x - 0.48) - 0.3) * 60))
    space = np.exp(-(((y - 0.5) / 0.03) ** 2))
    film = 0.05 + 0.35 * leg + 0.45 * bone * (1 - 0.6 * space) + 0.05 * x * leg
    film += rng.normal(0, 0.01, film.shape)
    return np.rint(np.clip(film, 0, 1) * top).astype(np.int64)


def dataset(
    stored: npt.NDArray[Any],
    *,
    bits: int = 12,
    signed: bool = False,
    photometric: str | None = "MONOCHROME2",
    syntax: UID = ExplicitVRLittleEndian,
    **elements: Any,
) -> Dataset:
    """A digital X-ray object with (rows, columns) stored values; `elements` replace or add, None deletes."""
    allocated = 8 if bits <= 8 else 16
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.8.498.1")
    ds.Modality = "DX"
    ds.PatientName = "Secret^Name"
    ds.PatientID = "SECRET-ID"
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    ds.add_new("PixelData", "OB" if allocated == 8 else "OW", b"")
    ds.PixelData = stored.astype(f"{order}{'i' if signed else 'u'}{allocated // 8}").tobytes()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    for keyword in [
        k for k, v in {**elements, "PhotometricInterpretation": photometric}.items() if v is None
    ]:
        delattr(ds, keyword)
    return ds


def encode(ds: Dataset, *, preamble: bool = True) -> bytes:
    """The data set as a file."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()[0 if preamble else 132 :]


def dicom(stored: npt.NDArray[Any], **options: Any) -> bytes:
    """`encode(dataset(...))`."""
    return encode(dataset(stored, **options))


def raster(image: Image.Image | npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """An image, or array of one, as a file."""
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def write(folder: Path, name: str, data: bytes) -> Path:
    """Put a file into a folder."""
    path = folder / name
    path.write_bytes(data)
    return path
