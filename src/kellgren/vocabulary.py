"""The field's words, once: tasks, grades, sides, compartments, and what a mirror does to them.

Grades follow Kellgren & Lawrence (Ann Rheum Dis 1957;16:494) and the OARSI atlas (Altman & Gold,
Osteoarthritis Cartilage 2007;15 Suppl A:A1). Missing readings are missing, never grade 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
"""Probabilities, scores, coordinates, figures."""

IntArray = npt.NDArray[np.integer[Any]]
"""Grades, class indices, row numbers."""

Image = npt.NDArray[np.float32]
"""A crop on its way into a network: (height, width), or (height, width, channels) where a step says so."""

Grey = npt.NDArray[np.uint16]
"""A standardised film or crop: (height, width), bone bright."""

CROP_SIZE: Final = 299
"""Side of a published single-knee crop, pixels: what recipes, checks and drawn knees start from."""

Side = Literal["R", "L"]
"""The patient's right or left knee."""

SideSource = Literal["tag", "image", "name", "user"]
"""Where the side is known from: DICOM tag, the image itself, the file's name, what the user states."""

MISSING: Final = -1
"""Integer code of a reading that was never made, in label arrays only; files leave the cell empty."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is graded.

    Attributes:
        name: Column name, e.g. `"JSN_M"`.
        classes: Number of ordered grades, 0 .. classes-1.
        title: What a person reads.
        mirrored: The task this one becomes when the image is flipped left to right.
    """

    name: str
    classes: int
    title: str
    mirrored: str


def _pair(lateral: str, medial: str, classes: int, title: str, places: tuple[str, str]) -> tuple[Task, Task]:
    return (
        Task(lateral, classes, title.format(places[0]), mirrored=medial),
        Task(medial, classes, title.format(places[1]), mirrored=lateral),
    )


_COMPARTMENTS = ("lateral", "medial")
_FEMUR = ("lateral femur", "medial femur")
_TIBIA = ("lateral tibia", "medial tibia")

KL: Final = Task("KL", 5, "Kellgren-Lawrence grade", mirrored="KL")
OA: Final = Task("OA", 2, "Radiographic osteoarthritis (KL >= 2)", mirrored="OA")
SIDE: Final = Task("SIDE", 2, "Lateral compartment on the image's left / right", mirrored="SIDE")
"""Not a reading: which way the knee faces in the image. A mirror exchanges its two classes."""

FEATURES: Final[tuple[Task, ...]] = (
    *_pair("FL", "FM", 4, "Osteophyte, {}", _FEMUR),
    *_pair("TL", "TM", 4, "Osteophyte, {}", _TIBIA),
    *_pair("JSN_L", "JSN_M", 4, "Joint space narrowing, {}", _COMPARTMENTS),
)
"""The six OARSI features of the published systems: FL FM TL TM JSN_L JSN_M, grades 0-3."""

FURTHER_FEATURES: Final[tuple[Task, ...]] = (
    *_pair("SC_FL", "SC_FM", 4, "Sclerosis, {}", _FEMUR),
    *_pair("SC_TL", "SC_TM", 4, "Sclerosis, {}", _TIBIA),
    *_pair("AT_TL", "AT_TM", 4, "Attrition, {}", _TIBIA),
    *_pair("CY_FL", "CY_FM", 2, "Cysts, {}", _FEMUR),
    *_pair("CY_TL", "CY_TM", 2, "Cysts, {}", _TIBIA),
    *_pair("CH_L", "CH_M", 2, "Chondrocalcinosis, {}", _COMPARTMENTS),
)
"""Further OARSI readings: sclerosis and attrition 0-3, cysts and chondrocalcinosis 0-1."""

TASKS: Final[dict[str, Task]] = {t.name: t for t in (KL, OA, *FEATURES, *FURTHER_FEATURES, SIDE)}
"""Every task by name, in the order in which columns are written."""

READINGS: Final[tuple[str, ...]] = ("KL", *(t.name for t in (*FEATURES, *FURTHER_FEATURES)))
"""The tasks that a human reads and a label table may hold (OA and SIDE follow from others)."""


def oa_from_kl(kl: int) -> int:
    """Radiographic OA by the usual definition, KL >= 2; a missing KL gives a missing OA."""
    return MISSING if kl == MISSING else int(kl >= 2)
