"""kellgren grades knee osteoarthritis from radiographs.

import kellgren

grader = kellgren.load()
for knee in grader.grade("film.dcm"):
    print(knee.side, knee["KL"].grade, knee["KL"].probabilities, knee["KL"].interval, knee.refer)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kellgren._version import __version__
from kellgren.errors import (
    BadBundle,
    BadDataset,
    BadMetadata,
    BadRecipe,
    KellgrenError,
    MissingExtra,
    NotAKnee,
    UnreadableImage,
)

# onnxruntime 1.32 sends telemetry unless told otherwise before it is imported; grading never uses the network
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from kellgren.grade.assessment import Assessment, Grading
    from kellgren.grade.grader import Grader, load

_LAZY = ("Assessment", "Grader", "Grading", "load")

__all__ = [
    "Assessment",
    "BadBundle",
    "BadDataset",
    "BadMetadata",
    "BadRecipe",
    "Grader",
    "Grading",
    "KellgrenError",
    "MissingExtra",
    "NotAKnee",
    "UnreadableImage",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    """Load grading on first use, so that `kellgren --help` and `import kellgren` stay quick."""
    if name in _LAZY:
        from kellgren.grade import assessment, grader

        return getattr(grader if name in ("Grader", "load") else assessment, name)
    raise AttributeError(f"module 'kellgren' has no attribute {name!r}")
