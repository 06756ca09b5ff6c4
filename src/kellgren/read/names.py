"""File names: where their suffix begins, and which of them are names of images."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final

IMAGE_SUFFIXES: Final = frozenset(
    {
        ".dcm", ".dicom", ".dic", ".ima", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp",
        ".jp2", ".j2k", ".jpx", ".jpf", ".heic", ".heif", ".avif", ".jxl", ".bmp", ".gif",
    }
)  # fmt: skip
"""Suffixes of images, of those too that are named in an error and not read."""

# File IDs on media (PS3.10 8.2) and instance UIDs: no suffix, or one that is a number.
_DICOM_NAME: Final = re.compile(r"[A-Za-z_-]*\d[\w-]*|[\w.-]*\.\d+", re.ASCII)
_INDEX: Final = "DICOMDIR"


def image_stem(name: PurePath | str) -> str:
    """Return a file's name without its suffix, if that is one of an image: the end of a UID is none."""
    path = PurePath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def is_image_name(name: PurePath | str) -> bool:
    """Whether a file is named as images are: by a suffix, or as DICOM files on media or by UID are."""
    path = PurePath(name)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    return path.name != _INDEX and _DICOM_NAME.fullmatch(path.name) is not None
