"""File to radiograph: nothing is guessed from the pixels, and every failure has a reason.

In the order in which data pass:

    files, names              which files an argument means; how they are named and shown
    archive, containers       films in zip and tar archives
    grade_folders             split, grade and reader by folder names
    signatures, limits        what a file is by its first bytes; sizes that are checked before decoding
    raster                    PNG, JPEG, TIFF, WebP, JPEG 2000, AVIF, HEIF
    dicom                     DICOM, by the modules below
      elements, header, tags  data set, the elements that are looked at, their values
      pixel_layout, frames    how pixels lie in memory; one frame decoded
      syntaxes, codestream    transfer syntaxes; what a compressed image states of itself
      colour, lut, modality   colour to grey, lookup tables, stored to modality values
      appearance              tone curves and raw images
      spacing, laterality     millimetres and side
    metadata, tables          what a user states about films; tables as people save them
    radiograph                the result
    isolated, child           the same in a process of its own
    silence                   libraries that would print what files hold
"""

from __future__ import annotations

from pathlib import Path

from kellgren.read import silence
from kellgren.read.dicom import read_dicom
from kellgren.read.files import Listing, Source, list_images, load
from kellgren.read.laterality import stated_side
from kellgren.read.limits import DEFAULT_LIMITS, Limits
from kellgren.read.metadata import NOTHING_STATED, Metadata, Stated, apply_stated, read_metadata
from kellgren.read.radiograph import Laterality, Radiograph, Spacing
from kellgren.read.raster import read_raster
from kellgren.read.signatures import HEAD, sniff, unknown_kind

__all__ = [
    "DEFAULT_LIMITS",
    "Laterality",
    "Limits",
    "Listing",
    "Metadata",
    "Radiograph",
    "Source",
    "Spacing",
    "Stated",
    "list_images",
    "read",
    "read_bytes",
    "read_metadata",
]

silence.libraries()


def read(
    path: Path | str,
    *,
    side: str | None = None,
    stated: Stated = NOTHING_STATED,
    limits: Limits = DEFAULT_LIMITS,
) -> Radiograph:
    """Read one film.

    Args:
        path: The file. Its kind is identified by content, not by name.
        side: Which knee it shows, in any usual word (`R`, `left`); it decides over tag and name.
        stated: What else the user states of it, as in a row of a metadata table: frame, spacing, view, ...
        limits: Sizes that are checked before decoding.

    Returns:
        The modality pixels and the header facts that grading needs.

    Raises:
        UnreadableImage: The file is missing, empty, too large, damaged, not an image, or compressed in a
            way that no installed decoder reads.
        NotAKnee: The file says itself that it is no plain radiograph (CT, MR, ...).
        WrongUse: `side` is neither right nor left.
    """
    path = Path(path)
    return read_bytes(load(path, limits), path, side=side, stated=stated, limits=limits)


def read_bytes(
    data: bytes,
    path: Path | str,
    *,
    side: str | None = None,
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
        WrongUse: As for `read`.
    """
    path = Path(path)
    limits.check_bytes(len(data), path)
    head = data[:HEAD]
    kind = sniff(head)
    if kind is None:
        raise unknown_kind(head, path)
    user = stated_side(side)
    word = user or stated_side(stated.side)
    if kind == "DICOM":
        film = read_dicom(data, path, side=word, frame=stated.frame, limits=limits)
    else:
        film = read_raster(data, path, kind, side=word, limits=limits)
    return apply_stated(film, stated, user)
