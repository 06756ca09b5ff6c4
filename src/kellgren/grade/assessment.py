"""The result for one knee, from which every report, table and picture is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from kellgren.grade.explanation import Explanation
from kellgren.measure import JointSpace
from kellgren.vocabulary import Side, SideSource

Cell = str | int | float | bool | None
"""A value of a table: None is unknown."""


@dataclass(frozen=True, slots=True, repr=False)
class Grading:
    """One task of one knee.

    Attributes:
        task: Column name, e.g. `"KL"`.
        grade: Decided grade.
        probabilities: Of each grade; calibrated if `calibrated`.
        interval: Lowest and highest grade of the conformal interval, or None without one.
        calibrated: Whether the bundle calibrates this task.
    """

    task: str
    grade: int
    probabilities: tuple[float, ...]
    interval: tuple[int, int] | None
    calibrated: bool

    def __repr__(self) -> str:
        plausible = ""
        if self.interval is not None and self.interval[0] != self.interval[1]:
            plausible = f", plausible {self.interval[0]} to {self.interval[1]}"
        return f"Grading({self.task} {self.grade}{plausible})"

    @property
    def most_probable(self) -> int:
        """The most probable grade, the smaller of two equals: `grade` where the card decides by argmax."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def expected(self) -> float:
        """Expectation of the grade under the probabilities."""
        return math.fsum(grade * p for grade, p in enumerate(self.probabilities))


@dataclass(frozen=True, slots=True, repr=False)
class Assessment:
    """One graded knee; iterating gives its tasks, `knee["KL"]` a grading.

    Attributes:
        path: The file.
        knee: 1, 2 from the image's left to right.
        side: Which knee, if known.
        side_source: `tag`, `image`, `name`, `user` or None.
        box: x0, y0, x1, y1 in pixels of the stored image, origin top left.
        points: (6, 2) key points in pixels of the upright image: femur's left margin, notch, right margin,
            tibia's left margin, eminence, right margin, left and right being the image's.
        joint_space: Joint space width, or None where no joint line was recognised or the side is unknown.
        gradings: By task. Features that depend on the side are absent where the side is not known.
        reasons: Why a person must read this one; empty if nobody must.
        notes: What was assumed or dropped without changing the status: polarity turned, spacing withheld, ...
        model: Bundle, `name@version`.
        explanation: What the grade rests on; only when asked for.
    """

    path: Path
    knee: int
    side: Side | None
    side_source: SideSource | None
    box: tuple[float, float, float, float]
    points: npt.NDArray[np.float64]
    joint_space: JointSpace | None
    gradings: Mapping[str, Grading]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    model: str
    explanation: Explanation | None = None

    # bound by the package face, so that grading does not need reports (`kellgren.report.notebook`)
    to_dict: ClassVar[Callable[[Assessment], dict[str, Cell]]]
    _repr_html_: ClassVar[Callable[[Assessment], str]]

    def __repr__(self) -> str:
        side = {"R": "right knee", "L": "left knee", None: "knee of unknown side"}[self.side]
        kl = f", KL {self.gradings['KL'].grade}" if "KL" in self.gradings else ""
        return f"Assessment({side}{kl}{f', refer: {self.reason}' if self.refer else ''})"

    def __iter__(self) -> Iterator[str]:
        return iter(self.gradings)

    def __len__(self) -> int:
        return len(self.gradings)

    def __getitem__(self, task: str) -> Grading:
        return self.gradings[task]

    def __contains__(self, task: object) -> bool:
        return task in self.gradings

    @property
    def refer(self) -> bool:
        """Whether a person must read this knee."""
        return bool(self.reasons)

    @property
    def status(self) -> Literal["graded", "refer"]:
        """`graded`, or `refer`: graded, but a person must read it."""
        return "refer" if self.refer else "graded"

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)
