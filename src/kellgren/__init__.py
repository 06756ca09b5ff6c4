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
    CannotWrite,
    KellgrenError,
    MissingExtra,
    NotAKnee,
    UnreadableImage,
    WrongUse,
)

# onnxruntime 1.32 sends telemetry unless told otherwise before it is imported; grading never uses the network
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from kellgren.grade.assessment import Assessment, Grading
    from kellgren.grade.grader import Grader, load
    from kellgren.report.notebook import to_frame

__all__ = [
    "Assessment",
    "BadBundle",
    "BadDataset",
    "BadMetadata",
    "BadRecipe",
    "CannotWrite",
    "Grader",
    "Grading",
    "KellgrenError",
    "MissingExtra",
    "NotAKnee",
    "UnreadableImage",
    "WrongUse",
    "__version__",
    "load",
    "to_frame",
]


def __getattr__(name: str) -> Any:
    """Load grading on first use, so that `kellgren --help` and `import kellgren` stay quick."""
    if name not in __all__:
        raise AttributeError(f"module 'kellgren' has no attribute {name!r}")
    from kellgren.grade import assessment, grader
    from kellgren.report import notebook

    # an assessment shows itself here, where reports are known; grading does not import them
    assessment.Assessment.to_dict = notebook.to_dict
    assessment.Assessment._repr_html_ = notebook.to_html
    homes = {"Grader": grader, "load": grader, "to_frame": notebook}
    return getattr(homes.get(name, assessment), name)


def __dir__() -> list[str]:
    return sorted(__all__)
