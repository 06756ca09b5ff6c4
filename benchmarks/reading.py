"""Time and memory of reading one large film: every transfer syntax, and what costs most.

    python benchmarks/reading.py [--rows 4280] [--columns 3520] [--only WORDS]

Each film is written once and read in a process of its own; memory is the largest resident set of that process
above the one before the film was opened, the file itself included. Needs the codecs extra.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

LARGEST = (5656, 5656)
"""Rows and columns of the largest film that is decoded, 32 million pixels."""

CHILD = """
import sys, time
from kellgren.read import read, read_bytes
from kellgren.read.syntaxes import decodable
decodable()
import simplejpeg, PIL.Image; PIL.Image.init()
def mebibytes(key):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key)) / 1024
before, clock, worked = mebibytes("VmRSS"), time.perf_counter(), time.process_time()
film = read(sys.argv[1])
clock, worked, most = time.perf_counter() - clock, time.process_time() - worked, mebibytes("VmHWM")
print(f"{clock:.2f} s ({worked:.2f} s of a processor), {most - before:.0f} MiB ({most:.0f} with the program)")
"""


def grey(rows: int, columns: int) -> np.ndarray:
    """(rows, columns) uint16 of 12 bits: blurred noise, as compressible as a radiograph."""
    rng = np.random.default_rng(0)
    small = rng.normal(size=(rows // 16 + 1, columns // 16 + 1)).astype(np.float32)
    smooth = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2), (columns, rows), interpolation=cv2.INTER_CUBIC)
    noise = cv2.randn(np.empty((rows, columns), np.float32), 0, 0.03)
    values = (smooth - smooth.min()) / np.ptp(smooth) + noise
    return (np.clip(values, 0, 1) * 4095).astype(np.uint16)


def dicom(values: np.ndarray, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    """A film that is not compressed yet."""
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    ds = FileDataset(
        "film",
        {},
        file_meta=FileMetaDataset(),
        preamble=bytes(128),
        is_implicit_VR=implicit,
        is_little_endian=little,
    )
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.Modality, ds.PhotometricInterpretation, ds.SamplesPerPixel = "DX", "MONOCHROME2", 1
    ds.Rows, ds.Columns = values.shape
    eight = values.dtype == np.uint8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (8, 8, 7) if eight else (16, 12, 11)
    ds.PixelRepresentation = 0
    ds.PixelData = (values.astype(">u2") if syntax == ExplicitVRBigEndian else values).tobytes()
    ds["PixelData"].VR = "OB" if eight else "OW"
    return ds


def films(rows: int, columns: int, folder: Path, only: str) -> Iterator[tuple[str, Path]]:
    """Name and file of each film, written when asked for."""
    values = grey(rows, columns)
    eight = (values >> 4).astype(np.uint8)
    plain = {
        "explicit": ExplicitVRLittleEndian,
        "implicit": ImplicitVRLittleEndian,
        "big endian": ExplicitVRBigEndian,
    }
    packed = {"RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}
    for name, syntax in (plain | packed | {"HTJ2K": HTJ2KLossless, "JPEG": JPEGBaseline8Bit}).items():
        if only not in name:
            continue
        path = folder / f"{name}.dcm"
        ds = dicom(eight if name == "JPEG" else values, syntax if name in plain else ExplicitVRLittleEndian)
        if name in packed:
            ds.compress(syntax)
        elif name == "JPEG":
            ds.file_meta.TransferSyntaxUID = syntax
            ds.PixelData = encapsulate([cv2.imencode(".jpg", eight)[1].tobytes()])
            ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        elif name == "HTJ2K":
            continue  # no encoder at hand
        ds.save_as(path)
        yield name, path
    colour = np.dstack([eight] * 3)[: 31_000_000 // 3 // columns]
    for suffix, picture in (
        ("png", values),
        ("tif", values),
        ("jpg", eight),
        ("webp", colour),
        ("jp2", values),
    ):
        if only in suffix:
            path = folder / f"film.{suffix}"
            Image.fromarray(picture).save(path)
            yield suffix, path
    large = grey(*LARGEST)
    extra: dict[str, dict[str, object]] = {
        "largest": {},
        "largest, rescale, padding, sigmoid": {
            "RescaleSlope": "1.5", "RescaleIntercept": "-1000", "PixelPaddingValue": 0,
            "VOILUTFunction": "SIGMOID", "WindowCenter": "2000", "WindowWidth": "3000",
        },
        "largest, raw": {
            "PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN",
            "PixelIntensityRelationshipSign": 1,
        },
        "largest, overlay bits": {"BitsStored": 10, "HighBit": 9},
    }  # fmt: skip
    for name, elements in extra.items():
        if only in name:
            ds = dicom(large)
            for keyword, value in elements.items():
                setattr(ds, keyword, value)
            path = folder / f"{name}.dcm"
            ds.save_as(path)
            yield name, path


def main() -> None:
    """Print a line per film."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4280)
    parser.add_argument("--columns", type=int, default=3520)
    parser.add_argument("--only", default="", help="films whose name holds this")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in films(asked.rows, asked.columns, Path(folder), asked.only):
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=False
            )
            answer = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
            print(f"{name:36s} {path.stat().st_size / 2**20:6.0f} MiB: {answer}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
