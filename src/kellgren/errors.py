"""Everything that kellgren raises on purpose, in one hierarchy.

Each message says what was wrong with which file, and what to do about it. A caller that handles
`KellgrenError` handles every failure the package foresees; anything else is a bug worth reporting.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final


class KellgrenError(Exception):
    """A foreseen failure.

    Args:
        message: What is wrong, in plain words, without patient data.
        path: The file it concerns, if there is one.
        remedy: What the reader can do about it.
    """

    def __init__(self, message: str, *, path: Path | str | None = None, remedy: str | None = None) -> None:
        super().__init__(message, path, remedy)
        self.message = message
        self.path = Path(path) if path is not None else None
        self.remedy = remedy

    @property
    def reason(self) -> str:
        """The message and remedy without the path: what goes into the `reason` column."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path is not None else self.reason


class UnreadableImage(KellgrenError):
    """The file is not an image that can be decoded: empty, truncated, not an image, too large, no codec."""


class NotAKnee(KellgrenError):
    """The image was decoded, but holds no knee radiograph that can be graded."""


class BadDataset(KellgrenError):
    """A data set folder breaks its contract: missing labels, two grades for one knee, a shared patient."""


class BadMetadata(KellgrenError):
    """A table of what the user states about films cannot be used: a wrong column, value, or repeated film."""


class BadBundle(KellgrenError):
    """A model bundle is incomplete, damaged, or made by a version that this one cannot read."""


class BadRecipe(KellgrenError):
    """A training recipe has an unknown key or an impossible value."""


class MissingExtra(KellgrenError):
    """An optional part of the package is not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the '{extra}' extra", remedy=f"pip install 'kellgren[{extra}]'")
        self.extra = extra


EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "codecs": ("pylibjpeg", "openjpeg", "jpeg_ls", "gdcm"),
    "study": ("matplotlib", "sklearn"),
    "train": ("torch", "torchvision", "timm", "onnx", "onnxscript", "safetensors", "yaml"),
}
"""Modules of each optional part of the package, as in pyproject.toml."""


def missing(extra: str) -> tuple[str, ...]:
    """Modules of an extra that are not installed."""
    return tuple(module for module in EXTRAS[extra] if find_spec(module) is None)


def require(extra: str, purpose: str) -> None:
    """Raise unless an extra is installed.

    Raises:
        MissingExtra: Naming the pip command.
    """
    if missing(extra):
        raise MissingExtra(extra, purpose)
