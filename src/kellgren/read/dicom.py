"""DICOM to a radiograph: the header is judged before its pixels are decoded, and nothing is guessed.

The order of the standard's pipeline is kept (PS3.4 N.2): the modality transformation is applied here;
VOI windows and LUTs are hints for a viewer and are left alone; the inversion of MONOCHROME1 comes last
and is the film stage's business.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from kellgren.errors import KellgrenError, NotAKnee, UnreadableImage
from kellgren.read.codestream import codestream_size
from kellgren.read.laterality import decide_laterality, side_from_name
from kellgren.read.limits import Limits, without_warnings
from kellgren.read.modality import apply_modality, padding_mask
from kellgren.read.radiograph import Radiograph
from kellgren.read.spacing import read_spacing
from kellgren.read.syntaxes import COMPRESSED, NATIVE, RLE
from kellgren.read.tags import integer, numbers, text
from kellgren.vocabulary import Side

Photometric = Literal["MONOCHROME1", "MONOCHROME2"]

_PREAMBLE: Final = bytes(128) + b"DICM"

# Everything that is looked at. Names, dates and identifiers are never taken into memory.
_TAGS: Final[list[BaseTag]] = [
    Tag(keyword)
    for keyword in (
        "SOPClassUID",
        "Modality",
        "PresentationIntentType",
        "EstimatedRadiographicMagnificationFactor",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "Laterality",
        "ImageLaterality",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "PixelSpacing",
        "PixelSpacingCalibrationType",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "BurnedInAnnotation",
        "RescaleIntercept",
        "RescaleSlope",
        "ModalityLUTSequence",
        "PresentationLUTShape",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "PixelData",
    )
]

# Modalities whose images are no projection radiographs, whatever they show (PS3.3 C.7.3.1.1.1).
_OTHER_MODALITIES: Final = frozenset(
    {"CT", "MR", "US", "NM", "PT", "OPT", "OP", "ES", "GM", "SM", "XC", "ECG", "SEG", "IVUS", "BMD"}
)


def read_dicom(data: bytes, path: Path, *, side: Side | None = None, limits: Limits) -> Radiograph:
    """Decode a DICOM radiograph.

    Args:
        data: The whole file, with or without preamble.
        path: Its name, for messages and the side.
        side: The user's word on the side.
        limits: Sizes, checked on the header before the pixels are decoded.

    Returns:
        The radiograph with modality pixel values.

    Raises:
        UnreadableImage: Damaged, self-contradicting, multi-frame, colour, without pixels, too large, or
            compressed without an installed decoder.
        NotAKnee: The header names a modality that is no plain radiograph.
    """
    try:
        with without_warnings():
            return _read(data, path, side, limits)
    except KellgrenError:
        raise
    # A wall: malformed files make pydicom and its plug-ins raise almost anything (InvalidDicomError,
    # ValueError, AttributeError, TypeError, struct.error, RecursionError for nested sequences,
    # MemoryError, RuntimeError). Their texts may quote patient data, so only the type is kept.
    except Exception as error:  # noqa: BLE001
        kind = type(error).__name__
    raise UnreadableImage(f"the DICOM file is damaged ({kind})", path=path)


def _read(data: bytes, path: Path, side: Side | None, limits: Limits) -> Radiograph:
    notes: list[str] = []
    dataset = _parse(data, path)
    _check_kind(dataset, path, notes)
    photometric = _photometric(dataset, path, notes)
    _check_layout(dataset, path, limits)
    _check_pixel_data(dataset, path)
    # pydicom cuts off what old files keep in the bits above the stored ones (overlays, PS3.5 8.1.2).
    stored = _decode(dataset, path).astype(np.int32)
    if stored.shape != (integer(dataset, "Rows", path), integer(dataset, "Columns", path)):
        raise UnreadableImage("the decoded image has not the size that the header states", path=path)
    return Radiograph(
        path=path,
        pixels=apply_modality(stored, dataset, path),
        bits=integer(dataset, "BitsStored", path),
        photometric=photometric,
        spacing=read_spacing(dataset, notes),
        laterality=decide_laterality(
            image_tag=text(dataset, "ImageLaterality"),
            series_tag=text(dataset, "Laterality"),
            name=side_from_name(path),
            user=side,
        ),
        padding=padding_mask(stored, dataset, path),
        format="DICOM",
        notes=tuple(notes),
    )


def _decode(dataset: Dataset, path: Path) -> npt.NDArray[Any]:
    """Decode the pixels, telling a damaged file from a decoder that cannot do it."""
    try:
        return pixel_array(dataset)
    except RuntimeError:  # pydicom: all plug-ins that are installed for this syntax have failed
        syntax = dataset.file_meta.TransferSyntaxUID
        raise UnreadableImage(
            f"no installed decoder could read the pixels ({syntax.name}, {syntax})",
            path=path,
            remedy="the file may be damaged, or try pip install 'kellgren[codecs]'",
        ) from None


def _parse(data: bytes, path: Path) -> Dataset:
    """Parse the header, having made sure that doing so inflates nothing."""
    if data[128:132] != b"DICM" and data.startswith(b"\x02\x00"):
        data = _PREAMBLE + data  # only the preamble was left out
    syntax: str | None = None
    if data[128:132] == b"DICM":
        # The file meta group is never compressed (PS3.10 7.1), the rest may be, and pydicom would
        # inflate it without a bound.
        stream = BytesIO(data)
        stream.seek(len(_PREAMBLE))
        meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        syntax = text(meta, "TransferSyntaxUID")
    if syntax is not None and syntax not in (*NATIVE, *COMPRESSED):
        raise UnreadableImage(
            f"the transfer syntax {UID(syntax).name} is not read",
            path=path,
            remedy="convert the file to Explicit VR Little Endian",
        )
    dataset = dcmread(BytesIO(data), force=True, specific_tags=_TAGS)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
    return dataset


def _check_kind(dataset: Dataset, path: Path, notes: list[str]) -> None:
    """Refuse objects that are no single plain radiograph, and note what makes a radiograph unusual."""
    modality = text(dataset, "Modality")
    if modality in _OTHER_MODALITIES:
        raise NotAKnee(f"the DICOM file is of modality {modality}, not a plain radiograph", path=path)
    if not dataset.get("PixelData"):
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise UnreadableImage("the DICOM file has floating-point pixels, no radiograph", path=path)
        raise UnreadableImage("the DICOM file holds no pixels", path=path, remedy="name the image itself")
    frames = numbers(dataset, "NumberOfFrames")
    if frames and frames[0] != 1:
        raise UnreadableImage(
            f"the DICOM file holds {frames[0]:.0f} frames", path=path, remedy="export one frame as a file"
        )
    if text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        notes.append("a raw image (FOR PROCESSING), not the one that was meant to be looked at")
    if text(dataset, "BurnedInAnnotation") == "YES":
        notes.append("the header says that text is burned into the pixels")


def _photometric(dataset: Dataset, path: Path, notes: list[str]) -> Photometric:
    """Which end of the scale is white, by Photometric Interpretation, or else Presentation LUT Shape."""
    stated = text(dataset, "PhotometricInterpretation")
    # INVERSE goes with MONOCHROME1, IDENTITY with MONOCHROME2 (PS3.3 C.8.11.3.1).
    by_shape = {"INVERSE": "MONOCHROME1", "IDENTITY": "MONOCHROME2"}.get(
        text(dataset, "PresentationLUTShape") or ""
    )
    if stated is None and by_shape is not None:
        notes.append("PhotometricInterpretation is missing; PresentationLUTShape was used")
        dataset.PhotometricInterpretation = stated = by_shape
    elif stated is not None and by_shape is not None and stated != by_shape:
        notes.append("PhotometricInterpretation and PresentationLUTShape contradict each other")
    if stated == "MONOCHROME1":
        return "MONOCHROME1"
    if stated == "MONOCHROME2":
        return "MONOCHROME2"
    if stated is None:
        raise UnreadableImage("the DICOM header has no PhotometricInterpretation", path=path)
    raise UnreadableImage(
        "the DICOM image is not a grey one",
        path=path,
        remedy="name the original radiograph, not a copy in colour",
    )


def _check_layout(dataset: Dataset, path: Path, limits: Limits) -> None:
    """Check every number that a decoder is going to believe (PS3.5 8.1, PS3.3 C.7.6.3)."""
    limits.check_size(integer(dataset, "Rows", path), integer(dataset, "Columns", path), path)
    if integer(dataset, "SamplesPerPixel", path) != 1:
        raise UnreadableImage(
            "the DICOM image has several samples per pixel, it is not a grey one", path=path
        )
    allocated = integer(dataset, "BitsAllocated", path)
    stored = integer(dataset, "BitsStored", path)
    high = integer(dataset, "HighBit", path)
    if allocated not in (8, 16) or not 8 <= stored <= allocated or high != stored - 1:
        raise UnreadableImage(
            f"the pixel layout is not read: {allocated} bits allocated, {stored} stored, high bit {high}",
            path=path,
            remedy="8 to 16 stored bits in 8 or 16 allocated ones are read",
        )
    if integer(dataset, "PixelRepresentation", path) not in (0, 1):
        raise UnreadableImage("the DICOM header has an unusable PixelRepresentation", path=path)


def _check_pixel_data(dataset: Dataset, path: Path) -> None:
    """Make sure, before decoding, that the pixels are all there, or that a decoder is."""
    rows, columns = integer(dataset, "Rows", path), integer(dataset, "Columns", path)
    syntax = dataset.file_meta.TransferSyntaxUID
    pixels: bytes = dataset.PixelData
    if syntax in NATIVE:
        needed = rows * columns * integer(dataset, "BitsAllocated", path) // 8
        if len(pixels) < needed:
            raise UnreadableImage(
                f"the pixel data is cut short: {len(pixels)} of {needed} bytes are there", path=path
            )
        return
    if syntax != RLE:
        size = codestream_size(get_frame(pixels, 0, number_of_frames=1))
        if size is None or size != (rows, columns):
            raise UnreadableImage("the compressed image has not the size that the header states", path=path)
    if not get_decoder(syntax).is_available:
        raise UnreadableImage(
            f"no decoder is installed for the transfer syntax {syntax.name} ({syntax})",
            path=path,
            remedy="pip install 'kellgren[codecs]'",
        )
