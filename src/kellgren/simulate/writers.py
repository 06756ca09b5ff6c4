"""Files of a phantom: PNG, and DICOM as digital radiography, computed radiography and secondary capture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from kellgren._version import __version__
from kellgren.simulate.crop import Phantom
from kellgren.simulate.film import SimulatedFilm

Photometric = Literal["MONOCHROME1", "MONOCHROME2"]

Kind = Literal["dx", "dx-processing", "cr", "sc"]
"""DX For Presentation (DICOM PS3.3 A.26), DX For Processing, CR (A.2), Secondary Capture (A.8.1)."""

_CLASSES: Final[dict[Kind, UID]] = {
    "dx": DigitalXRayImageStorageForPresentation,
    "dx-processing": DigitalXRayImageStorageForProcessing,
    "cr": ComputedRadiographyImageStorage,
    "sc": SecondaryCaptureImageStorage,
}

_DATE: Final = "20000101"
"""Date of every simulated exposure: files must not change with the day they are written."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What one DICOM file is to be: the options of `write_dicom`."""

    kind: Kind
    photometric: Photometric
    bits: int
    slope: float
    intercept: float
    signed: bool
    patient: str
    side_tag: bool
    spacing_tag: bool


def write_png(phantom: Phantom | SimulatedFilm, path: Path, bits: Literal[8, 16] = 8) -> Path:
    """Write the pixels as grey PNG as the phantom shows them.

    Args:
        phantom: What to write.
        path: File to write.
        bits: 8 or 16 per pixel.

    Returns:
        `path`.

    Raises:
        ValueError: `bits` is neither 8 nor 16.
        OSError: The file cannot be written.
    """
    return write_grey(phantom.pixels, path, bits)


def write_grey(grey: npt.NDArray[np.uint16], path: Path, bits: Literal[8, 16] = 8) -> Path:
    """Write (H, W) grey values of 16 bits as PNG; see `write_png`."""
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}; a grey PNG has 8 or 16 here")
    pixels = grey if bits == 16 else (grey >> 8).astype(np.uint8)
    # Small examples are kept small; films are written quickly.
    effort = 9 if pixels.size < 1_000_000 else 3
    # Encoded in memory because OpenCV's own writer reports a failure without its reason.
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, effort])
    path.write_bytes(encoded.tobytes())
    return path


def write_dicom(
    phantom: Phantom | SimulatedFilm,
    path: Path,
    *,
    kind: Kind = "dx",
    photometric: Photometric = "MONOCHROME2",
    bits_stored: int = 12,
    slope: float = 1.0,
    intercept: float = 0.0,
    signed: bool = False,
    patient: str = "SIMULATED",
    side_tag: bool = True,
    spacing_tag: bool = True,
) -> Path:
    """Write an uncompressed DICOM object that says that it is simulated.

    UIDs derive from the pixels and the options, so the same phantom gives the same bytes; the knees of one
    `patient` share a study. With the default `slope`, `intercept` and `signed` every kind is valid
    (dciodvfy finds no error); others break rules of the DX Image module (C.8.11.3) on purpose, as films met
    in practice do.

    Args:
        phantom: What to write.
        path: File to write.
        kind: Which object.
        photometric: `"MONOCHROME1"` stores bone dark, to be shown inverted.
        bits_stored: 8-16.
        slope: Rescale slope; the modality value is slope * stored + intercept.
        intercept: Rescale intercept.
        signed: Store two's complement, shifted so that the middle grey is 0.
        patient: Patient ID.
        side_tag: State the side. DX cannot do without (ImageLaterality is type 1).
        spacing_tag: State the pixel spacing. DX cannot do without (ImagerPixelSpacing is type 1).

    Returns:
        `path`.

    Raises:
        ValueError: `kind`, `photometric` or `bits_stored` is not one of the above, or a DX object is asked
            for without side or spacing.
        OSError: The file cannot be written.
    """
    if kind not in _CLASSES:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(_CLASSES)}")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"photometric is {photometric!r}; it must be MONOCHROME1 or MONOCHROME2")
    if not 8 <= bits_stored <= 16:
        raise ValueError(f"bits_stored is {bits_stored}; it must be 8 to 16")
    if kind.startswith("dx") and not (side_tag and spacing_tag):
        raise ValueError("a DX object must be written with its side and spacing; CR and SC need not")
    order = _Order(kind, photometric, bits_stored, slope, intercept, signed, patient, side_tag, spacing_tag)
    stored = _stored(phantom, order)
    seed = hashlib.sha256(stored.tobytes() + f"{order} {_comment(phantom)}".encode()).hexdigest()

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _CLASSES[kind]
    meta.MediaStorageSOPInstanceUID = _uid("instance", seed)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _add_study(ds, order, seed)
    _add_anatomy(ds, phantom, order)
    _add_detector(ds, phantom, order)
    _add_image(ds, stored, order)
    ds.save_as(path, enforce_file_format=True)
    return path


def _uid(role: str, seed: str) -> UID:
    return UID(generate_uid(entropy_srcs=["kellgren simulate", role, seed]))


def _sides(phantom: Phantom | SimulatedFilm) -> str:
    """Code of laterality: R, L, or B for both."""
    if isinstance(phantom, Phantom):
        return phantom.truth.side
    return phantom.sides[0] if len(phantom.sides) == 1 else "B"


def _comment(phantom: Phantom | SimulatedFilm) -> str:
    if isinstance(phantom, Phantom):
        side = "left" if phantom.truth.side == "L" else "right"
        return f"Simulated {side} knee, KL {phantom.truth.KL}; not a patient"
    return f"Simulated film of {len(phantom.knees)} knees, view {phantom.view}; not a patient"


def _stored(phantom: Phantom | SimulatedFilm, order: _Order) -> npt.NDArray[np.integer]:
    """Make the stored values before the rescale, as 8 or 16 bit integers."""
    grey = (phantom.pixels >> (16 - order.bits)).astype(np.int32)
    if order.photometric == "MONOCHROME1":
        grey = (1 << order.bits) - 1 - grey
    if order.signed:
        grey -= 1 << (order.bits - 1)
    width = 8 if order.bits == 8 else 16
    return grey.astype(np.dtype(f"<{'i' if order.signed else 'u'}{width // 8}"))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add_study(ds: Dataset, order: _Order, seed: str) -> None:
    """Patient, study, series and equipment (C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1), the same for every file."""
    patient = order.patient
    ds.PatientName = f"SIMULATED^{patient}"
    ds.PatientID = patient
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.PatientComments = "Simulated by software; not a person"
    ds.StudyInstanceUID = _uid("study", patient if patient != "SIMULATED" else seed)
    ds.SeriesInstanceUID = _uid("series", seed)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = _DATE
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "000000"
    ds.StudyID = "1"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Simulated knee"
    ds.Modality = {"cr": "CR", "sc": "OT"}.get(order.kind, "DX")
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    if order.kind.startswith("dx"):
        ds.PresentationIntentType = "FOR PRESENTATION" if order.kind == "dx" else "FOR PROCESSING"
    if order.kind == "sc":
        # Secondary Capture Equipment (C.8.6.1): digitised film.
        ds.ConversionType = "DF"
        ds.SecondaryCaptureDeviceManufacturer = "kellgren"
    ds.Manufacturer = "kellgren"
    ds.ManufacturerModelName = "kellgren simulate"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = __version__


def _add_anatomy(ds: Dataset, phantom: Phantom | SimulatedFilm, order: _Order) -> None:
    """DX Anatomy Imaged and Positioning (C.8.11.2, C.8.11.5), CR and General Series (C.8.1.1, C.7.3.1)."""
    side = _sides(phantom)
    lateral = isinstance(phantom, SimulatedFilm) and phantom.view == "lateral"
    if order.kind != "sc":
        ds.BodyPartExamined = "KNEE"
        ds.ViewPosition = ("LL" if side == "L" else "RL") if lateral else "AP"
    if order.kind.startswith("dx"):
        ds.ImageLaterality = side
        ds.AnatomicRegionSequence = Sequence([_code("72696002", "SCT", "Knee")])
        ds.PositionerType = "NONE"
        view = ("399067008", "lateral") if lateral else ("399348003", "antero-posterior")
        ds.ViewCodeSequence = Sequence([_code(view[0], "SCT", view[1])])
        ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    else:
        # Type 2C: must be there, and may be empty.
        ds.Laterality = side if order.side_tag and side != "B" else ""
    # Viewed as facing the patient: columns run to the patient's left, rows to the feet (C.7.6.1.1.1).
    front = "P" if side == "L" else "A"
    ds.PatientOrientation = ([front, "F"] if lateral else ["L", "F"]) if order.side_tag else ""
    ds.ImageComments = _comment(phantom)


def _add_detector(ds: Dataset, phantom: Phantom | SimulatedFilm, order: _Order) -> None:
    """DX Detector (C.8.11.4), CR Image (C.8.1.2), SC Image (C.8.6.2): spacing of the detector only."""
    spacing = [f"{phantom.spacing_mm:g}"] * 2
    if order.kind.startswith("dx"):
        ds.DetectorType = "DIRECT"
        ds.DetectorConfiguration = "AREA"
    if order.spacing_tag and order.kind == "sc":
        ds.NominalScannedPixelSpacing = spacing
    elif order.spacing_tag:
        ds.ImagerPixelSpacing = spacing
    if isinstance(phantom, SimulatedFilm) and order.kind.startswith("dx"):
        ds.EstimatedRadiographicMagnificationFactor = f"{phantom.magnification:g}"


def _add_image(ds: Dataset, stored: npt.NDArray[np.integer], order: _Order) -> None:
    """General Image, Image Pixel, DX Image and VOI LUT (C.7.6.1, C.7.6.3, C.8.11.3, C.11.2)."""
    inverted, bits, plain = order.photometric == "MONOCHROME1", order.bits, order.kind in ("cr", "sc")
    ds.ImageType = ["DERIVED", "PRIMARY"] if plain else ["DERIVED", "PRIMARY", ""]
    ds.DerivationDescription = "Simulated"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = order.photometric
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated = stored.dtype.itemsize * 8
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    if not plain:
        ds.AcquisitionContextSequence = Sequence()
        ds.PixelIntensityRelationship = "LOG"
        # -1: larger stored values stand for less radiation.
        ds.PixelIntensityRelationshipSign = 1 if inverted else -1
        ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    if not plain or (order.slope, order.intercept) != (1, 0):
        ds.RescaleSlope = f"{order.slope:g}"
        ds.RescaleIntercept = f"{order.intercept:g}"
        ds.RescaleType = "US"
    if order.kind == "dx-processing":
        return  # not made to be looked at: no window
    lowest = -(1 << (bits - 1)) if ds.PixelRepresentation else 0
    ds.WindowCenter = f"{order.slope * (lowest + (1 << (bits - 1))) + order.intercept:g}"
    ds.WindowWidth = f"{abs(order.slope) * (1 << bits):g}"
