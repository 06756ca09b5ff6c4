"""Optional parts of the package: what each needs, and a plain word when it is missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from kellgren.errors import MissingExtra

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "codecs": ("pylibjpeg", "openjpeg", "jpeg_ls", "gdcm"),
    "study": ("matplotlib", "sklearn"),
    "train": ("torch", "torchvision", "timm", "onnx", "onnxscript", "safetensors", "yaml"),
}
"""Modules by extra, as in pyproject.toml."""


def missing(extra: str) -> tuple[str, ...]:
    """Modules of an extra that are not installed."""
    return tuple(module for module in MODULES[extra] if find_spec(module) is None)


def require(extra: str, purpose: str) -> None:
    """Raise unless an extra is installed.

    Raises:
        MissingExtra: Naming the pip command.
    """
    if missing(extra):
        raise MissingExtra(extra, purpose)
