"""Files of a phantom: PNG, and DICOM Digital X-Ray Image - For Presentation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from kellgren._version import __version__
from kellgren.simulate.crop import Phantom

Photometric = Literal["MONOCHROME1", "MONOCHROME2"]

_DATE: Final = "20000101"
"""Date of every simulated exposure: files must not change with the day they are written."""


def write_png(phantom: Phantom, path: Path, bits: Literal[8, 16] = 8) -> Path:
    """Write the pixels as grey PNG, bone bright.

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
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}; a grey PNG has 8 or 16 here")
    pixels = phantom.pixels if bits == 16 else (phantom.pixels >> 8).astype(np.uint8)
    # Encoded in memory because OpenCV's own writer reports a failure without its reason.
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    path.write_bytes(encoded.tobytes())
    return path


def write_dicom(
    phantom: Phantom,
    path: Path,
    *,
    photometric: Photometric = "MONOCHROME2",
    bits_stored: int = 12,
    slope: float = 1.0,
    intercept: float = 0.0,
    signed: bool = False,
    patient: str = "SIMULATED",
) -> Path:
    """Write an uncompressed DX For Presentation object (DICOM PS3.3 A.26) that says that it is simulated.

    UIDs derive from the pixels and the options, so the same phantom gives the same bytes; the knees of one
    `patient` share a study. With the defaults the object is valid; other `slope`, `intercept` or `signed`
    break rules of the DX Image module (C.8.11.3) on purpose, as films met in practice do.

    Args:
        phantom: What to write.
        path: File to write.
        photometric: `"MONOCHROME1"` stores bone dark, to be shown inverted.
        bits_stored: 8-16.
        slope: Rescale slope; the modality value is slope * stored + intercept.
        intercept: Rescale intercept.
        signed: Store two's complement, shifted so that the middle grey is 0.
        patient: Patient ID.

    Returns:
        `path`.

    Raises:
        ValueError: `photometric` or `bits_stored` is not one of the above.
        OSError: The file cannot be written.
    """
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"photometric is {photometric!r}; it must be MONOCHROME1 or MONOCHROME2")
    if not 8 <= bits_stored <= 16:
        raise ValueError(f"bits_stored is {bits_stored}; it must be 8 to 16")
    stored = _stored(phantom, photometric, bits_stored, signed)
    options = f"{photometric} {bits_stored} {slope} {intercept} {signed} {patient} {phantom.truth}"
    seed = hashlib.sha256(phantom.pixels.tobytes() + options.encode()).hexdigest()

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = _uid("instance", seed)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _add_study(ds, patient, seed)
    _add_anatomy(ds, phantom)
    _add_detector(ds, phantom.spacing_mm)
    _add_image(ds, stored, photometric, bits_stored, slope, intercept)
    ds.save_as(path, enforce_file_format=True)
    return path


def _uid(role: str, seed: str) -> UID:
    return UID(generate_uid(entropy_srcs=["kellgren simulate", role, seed]))


def _stored(phantom: Phantom, photometric: Photometric, bits: int, signed: bool) -> npt.NDArray[np.integer]:
    """Make the stored values before the rescale, as 8 or 16 bit integers."""
    grey = (phantom.pixels >> (16 - bits)).astype(np.int32)
    if photometric == "MONOCHROME1":
        grey = (1 << bits) - 1 - grey
    if signed:
        grey -= 1 << (bits - 1)
    width = 8 if bits == 8 else 16
    return grey.astype(np.dtype(f"<{'i' if signed else 'u'}{width // 8}"))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add_study(ds: Dataset, patient: str, seed: str) -> None:
    """Patient, study, series and equipment (C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1), the same for every file."""
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
    ds.Modality = "DX"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.Manufacturer = "kellgren"
    ds.ManufacturerModelName = "kellgren simulate"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = __version__


def _add_anatomy(ds: Dataset, phantom: Phantom) -> None:
    """DX Anatomy Imaged (C.8.11.2) and DX Positioning (C.8.11.5): an anteroposterior knee."""
    left = phantom.truth.side == "L"
    ds.BodyPartExamined = "KNEE"
    ds.ImageLaterality = phantom.truth.side
    ds.AnatomicRegionSequence = Sequence([_code("72696002", "SCT", "Knee")])
    ds.ViewPosition = "AP"
    ds.PositionerType = "NONE"
    ds.ViewCodeSequence = Sequence([_code("399348003", "SCT", "antero-posterior")])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    # Viewed as facing the patient: columns run to the patient's left, rows to the feet (C.7.6.1.1.1).
    ds.PatientOrientation = ["L", "F"]
    ds.ImageComments = f"Simulated {'left' if left else 'right'} knee, KL {phantom.truth.KL}; not a patient"


def _add_detector(ds: Dataset, spacing: float) -> None:
    """DX Detector (C.8.11.4): spacing in the detector's plane, and nothing that calibrates it."""
    ds.DetectorType = "DIRECT"
    ds.DetectorConfiguration = "AREA"
    ds.ImagerPixelSpacing = [spacing, spacing]


def _add_image(
    ds: Dataset,
    stored: npt.NDArray[np.integer],
    photometric: Photometric,
    bits: int,
    slope: float,
    intercept: float,
) -> None:
    """General Image, Image Pixel, DX Image and VOI LUT (C.7.6.1, C.7.6.3, C.8.11.3, C.11.2)."""
    inverted = photometric == "MONOCHROME1"
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.DerivationDescription = "Simulated"
    ds.AcquisitionContextSequence = Sequence()
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated = stored.dtype.itemsize * 8
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelIntensityRelationship = "LOG"
    # -1: larger stored values stand for less radiation.
    ds.PixelIntensityRelationshipSign = 1 if inverted else -1
    ds.RescaleSlope = f"{slope:g}"
    ds.RescaleIntercept = f"{intercept:g}"
    ds.RescaleType = "US"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    lowest = -(1 << (bits - 1)) if ds.PixelRepresentation else 0
    ds.WindowCenter = f"{slope * (lowest + (1 << (bits - 1))) + intercept:g}"
    ds.WindowWidth = f"{abs(slope) * (1 << bits):g}"
    ds.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
