"""Typed access to single DICOM elements, which in real files may be absent, empty or of the wrong type."""

from __future__ import annotations

from pathlib import Path
from typing import SupportsFloat

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from kellgren.errors import UnreadableImage


def integer(dataset: Dataset, keyword: str, path: Path) -> int:
    """Return a required whole number.

    Raises:
        UnreadableImage: The element is absent, empty, or no single whole number.
    """
    value = dataset.get(keyword)
    if isinstance(value, int):
        return int(value)
    state = "has no" if value is None else "has an unusable"
    raise UnreadableImage(f"the DICOM header {state} {keyword}", path=path)


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return a code string in upper case, the first one where there are several, or None."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if value else None
    return str(value).strip().upper() or None if value is not None else None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a numeric element; empty where it is absent or empty.

    Raises:
        ValueError: A value is no number.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        return ()
    if isinstance(value, MultiValue | list | tuple):
        return tuple(float(v) for v in value)
    if isinstance(value, SupportsFloat | str):
        return (float(value),)
    raise ValueError(keyword)
