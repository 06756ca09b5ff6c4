"""Read a radiograph from DICOM, PNG, JPEG, TIFF or WebP; whatever cannot be read has a plain reason."""

from __future__ import annotations

from pathlib import Path

from kellgren.errors import UnreadableImage
from kellgren.read.dicom import read_dicom
from kellgren.read.files import Source, describe_unknown, find_images, is_image_name, load, sniff
from kellgren.read.limits import DEFAULT_LIMITS, Limits
from kellgren.read.metadata import NOTHING_STATED, Metadata, Stated, apply_stated, read_metadata
from kellgren.read.radiograph import Laterality, Radiograph, Spacing
from kellgren.read.raster import read_raster
from kellgren.vocabulary import Side

__all__ = [
    "DEFAULT_LIMITS",
    "Laterality",
    "Limits",
    "Metadata",
    "Radiograph",
    "Source",
    "Spacing",
    "Stated",
    "find_images",
    "is_image_name",
    "read",
    "read_bytes",
    "read_metadata",
]


def read(
    path: Path | str,
    *,
    side: Side | None = None,
    stated: Stated = NOTHING_STATED,
    limits: Limits = DEFAULT_LIMITS,
) -> Radiograph:
    """Read one film.

    Args:
        path: The file. Its kind is told by content, not by name.
        side: The user's word on which knee it shows; it decides over tag and name.
        stated: What else the user states of it, as in a row of a metadata table: frame, spacing, view, ...
        limits: Sizes that are checked before decoding.

    Returns:
        The modality pixels and the header facts that grading needs.

    Raises:
        UnreadableImage: The file is missing, empty, too large, damaged, not an image, or compressed in a
            way that no installed decoder reads.
        NotAKnee: The file says itself that it is no plain radiograph (CT, MR, ...).
    """
    path = Path(path)
    return read_bytes(load(path, limits), path, side=side, stated=stated, limits=limits)


def read_bytes(
    data: bytes,
    path: Path | str,
    *,
    side: Side | None = None,
    stated: Stated = NOTHING_STATED,
    limits: Limits = DEFAULT_LIMITS,
) -> Radiograph:
    """Read one film that is already in memory (an upload, a member of a zip).

    Args:
        data: The file's bytes.
        path: What the file is called; messages and the side by name use it, it is not opened.
        side: As for `read`.
        stated: As for `read`.
        limits: As for `read`.

    Returns:
        As `read`.

    Raises:
        UnreadableImage: As for `read`.
        NotAKnee: As for `read`.
    """
    path = Path(path)
    limits.check_bytes(len(data), path)
    head = data[:256]
    kind = sniff(head)
    if kind is None:
        raise UnreadableImage(
            describe_unknown(head), path=path, remedy="DICOM, PNG, JPEG, TIFF and WebP are read"
        )
    word = side or stated.side
    if kind == "DICOM":
        film = read_dicom(data, path, side=word, frame=stated.frame, limits=limits)
    else:
        film = read_raster(data, path, kind, side=word, limits=limits)
    return apply_stated(film, stated, side)
