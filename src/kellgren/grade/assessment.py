"""What is found out about one knee: the result that every report, table and picture is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kellgren.measure import JointSpace
from kellgren.model.activation_maps import Box
from kellgren.vocabulary import Side, SideSource


@dataclass(frozen=True, slots=True)
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

    @property
    def expected(self) -> float:
        """Expectation of the grade under the probabilities."""
        return math.fsum(grade * p for grade, p in enumerate(self.probabilities))


@dataclass(frozen=True, slots=True)
class Overview:
    """The film that a knee was found on, and the knee's crop, as pictures.

    Attributes:
        film: (h, w) uint8, reduced.
        film_scale: Size of `film` against the stored image's.
        crop: (s, t) uint8 at the film's own resolution.
        crop_box: (4,) x0, y0, x1, y1 of the crop in pixels of the stored image.
        is_image: Whether the image was a crop already.
    """

    film: npt.NDArray[np.uint8]
    film_scale: float
    crop: npt.NDArray[np.uint8]
    crop_box: npt.NDArray[np.float64]
    is_image: bool


@dataclass(frozen=True, slots=True)
class Assessment:
    """One graded knee.

    Attributes:
        path: The file.
        knee: 1, 2 from the image's left to right.
        side: Which knee, if known.
        side_source: `tag`, `image`, `name`, `user` or None.
        box: x0, y0, x1, y1 in pixels of the stored image, origin top left.
        points: (6, 2) key points in pixels of the stored image: femur's left margin, notch, right margin,
            tibia's left margin, eminence, right margin, left and right being the image's.
        joint_space: Joint space width, or None where no joint line was recognised or the side is unknown.
        gradings: By task. Features that depend on the side are absent where the side is not known.
        reasons: Why a person must read this one; empty if nobody must.
        notes: Remarks that do not by themselves ask for a reader.
        model: Bundle, `name@version`.
        maps: By task, (C, h, w) share of each place in the logit; only when asked for.
        maps_frame: The part of the crop that the maps cover, in shares of its width and height.
        maps_share: By task, the share of the vote whose maps these are (`kellgren.model.predict.Prediction`).
        view: (h, w) the part of the crop that the maps cover, 0..1, in the crop's own orientation, as the
            network saw it, or as it was cut where several views or networks saw it; with `maps`.
        overview: The film and the crop, for a picture; with `maps`.
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
    maps: Mapping[str, npt.NDArray[np.float32]] | None = None
    maps_frame: Box | None = None
    maps_share: Mapping[str, float] | None = None
    view: npt.NDArray[np.float32] | None = None
    overview: Overview | None = None

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
