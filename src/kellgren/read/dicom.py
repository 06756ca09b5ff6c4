"""DICOM to a radiograph: the header is judged before its pixels are decoded, and nothing is guessed.

The order of the standard's pipeline is kept (PS3.4 N.2): stored values, modality transformation, tone
curve where there is one; the inversion of MONOCHROME1 comes last and is the film stage's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kellgren.errors import KellgrenError, NotAKnee, UnreadableImage
from kellgren.read.appearance import Photometric, apply_tone_curve, from_intensity
from kellgren.read.colour import apply_palette, to_grey
from kellgren.read.frames import count_frames, ends_processes, read_frame
from kellgren.read.header import Parsed, parse
from kellgren.read.isolated import read_apart
from kellgren.read.laterality import decide_laterality, pose_flags, side_from_name, view_flags
from kellgren.read.limits import Limits
from kellgren.read.modality import apply_modality, padding_mask
from kellgren.read.pixel_layout import GREY, PALETTE, read_pixel_layout
from kellgren.read.radiograph import Radiograph
from kellgren.read.spacing import read_spacing
from kellgren.read.tags import Header
from kellgren.vocabulary import Side

# Modalities whose images are no projection radiographs of a knee, whatever they show (PS3.3 C.7.3.1.1.1).
_OTHER_MODALITIES: Final = frozenset(
    {
        "CT", "MR", "US", "NM", "PT", "OPT", "OP", "OAM", "OCT", "ES", "GM", "SM", "XC", "ECG", "EPS", "HD",
        "SEG", "IVUS", "BMD", "MG", "IO", "PX", "RTDOSE", "RTPLAN", "RTRECORD",
    }
)  # fmt: skip

# Objects that hold no image: by modality, or by the class of the index of a medium.
_WITHOUT_IMAGE: Final = {
    "SR": "a structured report",
    "DOC": "a document",
    "KO": "a key object selection",
    "PR": "a presentation state",
    "REG": "a registration",
    "RTSTRUCT": "a set of contours",
    "RTPLAN": "a treatment plan",
    "ECG": "an electrocardiogram",
}
_DIRECTORY: Final = "1.2.840.10008.1.3.10"


def read_dicom(
    data: bytes, path: Path, *, side: Side | None = None, frame: int | None = None, limits: Limits
) -> Radiograph:
    """Decode a DICOM radiograph.

    Args:
        data: The whole file, with or without preamble.
        path: Its name, for messages and the side.
        side: What the user states on the side.
        frame: Which frame of a multi-frame object, from 1; None takes the only one.
        limits: Sizes, checked on the header before the pixels are decoded.

    Returns:
        The radiograph with modality pixel values, or with those of the tone curve that the header holds.

    Raises:
        UnreadableImage: Damaged, self-contradicting, with several frames and none chosen, without
            pixels, too large, or compressed without an installed decoder.
        NotAKnee: The header names a modality that is no plain radiograph.
    """
    try:
        return _read(data, path, side, frame, limits)
    except KellgrenError:
        raise
    except MemoryError:
        raise UnreadableImage("there is not enough memory to read the image", path=path) from None
    # A wall: malformed files make pydicom and its plug-ins raise almost anything (ValueError,
    # AttributeError, TypeError, struct.error, RecursionError for nested sequences, RuntimeError).
    # Their texts may quote patient data, so only the type is kept.
    except Exception as error:  # noqa: BLE001
        kind = type(error).__name__
    raise UnreadableImage(f"the DICOM file is damaged ({kind})", path=path)


def _read(data: bytes, path: Path, side: Side | None, wanted: int | None, limits: Limits) -> Radiograph:
    flags: list[str] = []
    parsed = parse(data, path, limits)
    notes = parsed.header.notes
    _check_kind(parsed)
    _note_remarks(parsed.header, notes)
    layout = read_pixel_layout(parsed.header, limits, notes)
    layout = count_frames(parsed, layout, notes)
    frame = _choose_frame(layout.frames, wanted, path)
    if ends_processes(parsed.syntax):
        return read_apart(data, path, side, wanted, limits)
    header = parsed.header.of_frame(frame)
    pixels, layout = read_frame(parsed, layout, frame, notes, flags)
    bits, padding = layout.stored, None
    polarity: Photometric | None = None
    if layout.photometric == PALETTE:
        values, bits = apply_palette(pixels, header, notes, flags)
    elif layout.photometric in GREY:
        padding = padding_mask(pixels, header, layout)
        values = apply_modality(pixels, header, layout)
        polarity = "MONOCHROME1" if layout.photometric == "MONOCHROME1" else "MONOCHROME2"
        values, polarity = from_intensity(values, header, polarity, bits, notes, flags)
        values = apply_tone_curve(values, header, notes)
    else:
        values = to_grey(pixels, layout, notes, flags)
    spacing = read_spacing(header, notes, flags)
    flags += view_flags(header.texts("PatientOrientation"), header.text("ViewPosition"))
    poses = (item.text("CodeValue") for item in header.items("PatientOrientationCodeSequence"))
    flags += pose_flags([code for code in poses if code])
    return Radiograph(
        path=path,
        pixels=values,
        bits=bits,
        photometric=polarity,
        spacing=spacing,
        laterality=decide_laterality(
            image_tag=header.text("ImageLaterality") or header.text("FrameLaterality"),
            series_tag=header.text("Laterality"),
            name=side_from_name(path),
            user=side,
        ),
        padding=padding,
        format="DICOM",
        notes=tuple(notes),
        flags=tuple(flags),
    )


def _check_kind(parsed: Parsed) -> None:
    """Refuse objects that are no plain radiograph."""
    header = parsed.header
    path, modality = header.path, header.text("Modality")
    if parsed.pixels is None or not len(parsed.pixels):
        if parsed.floating:
            raise UnreadableImage("the DICOM file has floating-point pixels, no radiograph", path=path)
        what = _WITHOUT_IMAGE.get(modality or "")
        if parsed.sop_class == _DIRECTORY:
            what = "the index of a medium (DICOMDIR)"
        if what is not None:
            raise UnreadableImage(f"the DICOM file is {what}, not an image", path=path)
        if modality not in _OTHER_MODALITIES:
            raise UnreadableImage("the DICOM file holds no pixels", path=path, remedy="name the image itself")
    if modality in _OTHER_MODALITIES:
        raise NotAKnee(f"the DICOM file is of modality {modality}, not a plain radiograph", path=path)


def _note_remarks(header: Header, notes: list[str]) -> None:
    """Note what makes a radiograph unusual without making its grade doubtful by itself."""
    if header.text("BurnedInAnnotation") == "YES":
        notes.append("the header says that text is burned into the pixels")
    if header.text("LossyImageCompression") == "01":
        notes.append("the header says that the image was once compressed with loss")


def _choose_frame(frames: int, wanted: int | None, path: Path) -> int:
    """Index of the frame to read; the first of several is as good as any other, so none is taken unasked."""
    if wanted is None and frames == 1:
        return 0
    if wanted is None:
        raise UnreadableImage(
            f"the DICOM file holds {frames} frames",
            path=path,
            remedy="say which in the column frame of a metadata table (--metadata)",
        )
    if not 1 <= wanted <= frames:
        raise UnreadableImage(f"the DICOM file holds {frames} frames, frame {wanted} is not there", path=path)
    return wanted - 1
