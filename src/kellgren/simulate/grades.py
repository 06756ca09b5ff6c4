"""Grades of a simulated knee: readings that fit together as readers find them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

PREVALENCE: Final = (0.40, 0.18, 0.26, 0.13, 0.03)
"""Share of KL 0-4 among drawn knees where none is asked for: about that of a baseline cohort."""

_OSTEOPHYTES: Final[dict[int, dict[str, tuple[float, ...]]]] = {
    2: {
        "FL": (0.55, 0.33, 0.09, 0.03),
        "FM": (0.50, 0.35, 0.11, 0.04),
        "TL": (0.57, 0.35, 0.06, 0.02),
        "TM": (0.30, 0.60, 0.08, 0.02),
    },
    3: {
        "FL": (0.42, 0.27, 0.19, 0.12),
        "FM": (0.22, 0.30, 0.25, 0.23),
        "TL": (0.42, 0.37, 0.13, 0.08),
        "TM": (0.14, 0.54, 0.22, 0.10),
    },
    4: {
        "FL": (0.15, 0.17, 0.28, 0.40),
        "FM": (0.08, 0.12, 0.25, 0.55),
        "TL": (0.20, 0.28, 0.22, 0.30),
        "TM": (0.08, 0.24, 0.32, 0.36),
    },
}
"""Chance of each osteophyte grade 0-3 at the four margins, by KL grade."""

_MEDIAL_SHARE: Final = 0.75
"""Share of narrowed knees in which the medial compartment is the narrowed one."""


@dataclass(frozen=True, slots=True)
class Grades:
    """What is drawn into one knee.

    Attributes:
        KL: Kellgren-Lawrence grade, 0-4.
        FL: Osteophyte at the lateral femur, 0-3.
        FM: Osteophyte at the medial femur, 0-3.
        TL: Osteophyte at the lateral tibia, 0-3.
        TM: Osteophyte at the medial tibia, 0-3.
        JSN_L: Lateral joint space narrowing, 0-3.
        JSN_M: Medial joint space narrowing, 0-3.
        SC_L: Subchondral sclerosis of the lateral compartment, 0-3 (drawn, not a label).
        SC_M: Subchondral sclerosis of the medial compartment, 0-3 (drawn, not a label).
    """

    KL: int
    FL: int = 0
    FM: int = 0
    TL: int = 0
    TM: int = 0
    JSN_L: int = 0
    JSN_M: int = 0
    SC_L: int = 0
    SC_M: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            highest = 4 if name == "KL" else 3
            value = getattr(self, name)
            if not 0 <= value <= highest:
                raise ValueError(f"{name} is {value}; it must be 0 to {highest}")


def draw_grades(rng: np.random.Generator, KL: int | None = None) -> Grades:
    """Draw the readings of one knee so that they define its KL grade (Kellgren & Lawrence 1957).

    KL 0: nothing. KL 1: one doubtful (grade 1) osteophyte, possibly doubtful narrowing. KL 2: a definite
    osteophyte, narrowing at most 1. KL 3: narrowing 2 on one side with osteophytes and mild sclerosis.
    KL 4: narrowing 3, large osteophytes, sclerosis. The chances are rounded from a baseline cohort's.

    Args:
        rng: Source of randomness.
        KL: Grade 0-4; drawn by `PREVALENCE` if None.

    Raises:
        ValueError: `KL` is outside 0-4.
    """
    if KL is None:
        KL = int(rng.choice(5, p=PREVALENCE))
    if KL not in range(5):
        raise ValueError(f"KL is {KL}; it must be 0 to 4")
    if KL == 0:
        return Grades(0)
    narrowing = {1: int(rng.random() < 0.35), 2: int(rng.random() < 0.6), 3: 2, 4: 3}[KL]
    sclerosis = max(0, narrowing - int(rng.random() < 0.5))
    medial = bool(rng.random() < _MEDIAL_SHARE)
    if KL == 1:
        site = str(rng.choice(["TM", "TL", "FL", "FM"], p=[0.5, 0.2, 0.17, 0.13]))
        spurs = {site: 1}
    else:
        spurs = {s: int(rng.choice(4, p=p)) for s, p in _OSTEOPHYTES[KL].items()}
        # The osteophyte that makes the grade sits where the joint is worn.
        site = ("TM" if medial else "TL") if KL < 4 else ("FM" if medial else "FL")
        spurs[site] = max(spurs[site], 3 if KL == 4 else 1)
    return Grades(
        KL,
        **spurs,
        JSN_L=0 if medial else narrowing,
        JSN_M=narrowing if medial else 0,
        SC_L=0 if medial else sclerosis,
        SC_M=sclerosis if medial else 0,
    )
