"""Grading: a file in, one assessment a knee out.

This is the way of a radiograph in one place: read, standardise, (locate and crop,) predict, decide.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kellgren import bundle as bundles
from kellgren import calibrate
from kellgren.errors import NotAKnee
from kellgren.predict import Model, Prediction, oriented_tasks
from kellgren.read import DEFAULT_LIMITS, Limits, Radiograph, read, read_bytes
from kellgren.standardise import Film, standardise
from kellgren.vocabulary import Side, SideSource

InputKind = Literal["auto", "film", "crop"]

SQUARE: float = 0.1
"""Largest relative difference of width and height of an image that `auto` takes for a crop."""


@dataclass(frozen=True, slots=True)
class Grading:
    """One task of one knee.

    Attributes:
        task: Column name, e.g. `"KL"`.
        grade: Decided grade.
        probabilities: Of each grade; calibrated if `calibrated`.
        interval: Lowest and highest grade of the conformal interval, or None without one.
        calibrated: Whether the bundle has a temperature for this task.
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
class Assessment:
    """One graded knee.

    Attributes:
        path: The file.
        knee: 1, 2 from the image's left to right.
        side: Which knee, if known.
        side_source: `tag`, `image`, `name`, `user` or None.
        box: x0, y0, x1, y1 in pixels of the stored image, origin top left.
        gradings: By task. Features that depend on the side are absent where the side is not known.
        reasons: Why a person must read this one; empty if nobody must.
        notes: Remarks that do not by themselves ask for a reader.
        model: Bundle, `name@version`.
        maps: By task, (C, h, w) share of each place in the logit; only when asked for.
        view: (h, w) what the network saw of the crop, 0..1, in the crop's own orientation; with `maps`.
    """

    path: Path
    knee: int
    side: Side | None
    side_source: SideSource | None
    box: tuple[float, float, float, float]
    gradings: Mapping[str, Grading]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    model: str
    maps: Mapping[str, npt.NDArray[np.float32]] | None = None
    view: npt.NDArray[np.float32] | None = None

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


class Grader:
    """Grades films with one bundle. Safe to use from several threads at once.

    Args:
        bundle: The opened bundle.
        threads: Threads for one network evaluation; grade several films at once instead for throughput.
        limits: Sizes that are checked before a file is decoded.

    Raises:
        BadBundle: If the bundle cannot be used.
    """

    def __init__(
        self, bundle: bundles.Bundle, *, threads: int | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.model = Model(bundle, threads=processors() if threads is None else threads)
        self.limits = limits

    @property
    def title(self) -> str:
        """The bundle's `name@version`."""
        return self.model.card.title

    def grade(
        self,
        path: Path | str,
        *,
        input: InputKind = "auto",  # noqa: A002 - the contract's word
        side: Side | None = None,
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of one file.

        Args:
            path: DICOM, PNG, JPEG, TIFF or WebP file.
            input: `crop`: the image is one tibiofemoral joint; `film`: find the knees first; `auto`: tell
                which from the image.
            side: The user's word on which knee it is.
            explain: Also keep class activation maps and what the network saw.

        Returns:
            One assessment a knee, from the image's left to right.

        Raises:
            UnreadableImage: The file cannot be decoded.
            NotAKnee: There is nothing to grade; the message says why.
        """
        return self._grade(read(path, side=side, limits=self.limits), input, explain=explain)

    def grade_bytes(
        self,
        data: bytes,
        path: Path | str,
        *,
        input: InputKind = "auto",  # noqa: A002
        side: Side | None = None,
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of a file that is already in memory; `path` is what it is called.

        Arguments, result and errors are those of `grade`.
        """
        return self._grade(read_bytes(data, path, side=side, limits=self.limits), input, explain=explain)

    def _grade(self, radiograph: Radiograph, kind: InputKind, *, explain: bool) -> list[Assessment]:
        film = standardise(radiograph)
        _require_crop(film, radiograph.path, kind)
        return [self._assess(film, radiograph.path, explain=explain)]

    def _assess(self, film: Film, path: Path, *, explain: bool) -> Assessment:
        laterality = film.laterality
        prediction = self.model.predict(film.pixels, laterality.side, maps=explain)
        side, source = laterality.side, laterality.source
        if side is None and laterality.conflict is None and prediction.side is not None:
            side, source = prediction.side, "image"
        gradings = self._decide(prediction, oriented=prediction.side is not None)
        height, width = film.pixels.shape
        return Assessment(
            path=path,
            knee=1,
            side=side,
            side_source=source,
            box=(0.0, 0.0, float(width), float(height)),
            gradings=gradings,
            reasons=self._reasons(film, prediction, gradings),
            notes=film.notes,
            model=self.title,
            maps=prediction.maps if explain else None,
            view=self._view(film) if explain else None,
        )

    def _decide(self, prediction: Prediction, *, oriented: bool) -> dict[str, Grading]:
        card = self.model.card
        hidden = () if oriented or card.side_convention == "none" else oriented_tasks(card.tasks)
        gradings = {}
        for task, probabilities in prediction.probabilities.items():
            if task == "SIDE" or task in hidden:
                continue
            row = probabilities[None]
            decided = calibrate.decide(row, card.decision.get(task, "argmax"))
            interval = None
            if task in card.calibration.interval:
                low, high = calibrate.interval(row, decided, card.calibration.interval[task].threshold)
                interval = (int(low[0]), int(high[0]))
            gradings[task] = Grading(
                task,
                int(decided[0]),
                tuple(float(p) for p in probabilities),
                interval,
                task in card.calibration.temperature,
            )
        return gradings

    def _reasons(
        self, film: Film, prediction: Prediction, gradings: Mapping[str, Grading]
    ) -> tuple[str, ...]:
        calibration = self.model.card.calibration
        reasons = []
        if film.laterality.conflict:
            reasons.append(film.laterality.conflict)
        elif film.laterality.side is not None:
            agreement = prediction.side_agreement
            if agreement is not None and agreement < 1 - calibration.side_certainty:
                reasons.append(
                    f"side {film.laterality.side} by {film.laterality.source}, "
                    "but the image looks like the other knee"
                )
            elif agreement is not None and agreement < (calibration.side_doubt or 0.0):
                reasons.append(
                    "neither a right nor a left knee is to be recognised: is it a front view of a joint?"
                )
        elif prediction.side is None:
            reasons.append("side unknown: lateral and medial cannot be told apart; name it with --side")
        if (
            calibration.atypical is not None
            and prediction.distance is not None
            and prediction.distance > calibration.atypical
        ):
            reasons.append("unlike the knee crops that the model was fitted on")
        if calibration.refer_grades is not None and "KL" in gradings and gradings["KL"].interval is not None:
            low, high = gradings["KL"].interval
            if high - low + 1 >= calibration.refer_grades:
                reasons.append(f"unsure: KL {low} to {high} are all plausible")
        return tuple(reasons)

    def _view(self, film: Film) -> npt.NDArray[np.float32] | None:
        """What the first input of the network showed, scaled to 0..1, in the crop's own orientation."""
        if not self.model.card.inputs:
            return None
        entry = self.model.card.inputs[0]
        shown = self.model.tensors(film.pixels, mirrored=False)[entry.name][0, 0]
        low, high = float(shown.min()), float(shown.max())
        return np.asarray((shown - low) / max(high - low, 1e-6), dtype=np.float32)


def _require_crop(film: Film, path: Path, kind: InputKind) -> None:
    """Refuse whole films for as long as there is nothing that finds the knees on them."""
    height, width = film.pixels.shape
    remedy = "cut out a square around each joint and use --input crop"
    if kind == "film":
        raise NotAKnee("this version cannot find knees on a whole film yet", path=path, remedy=remedy)
    if kind == "auto" and abs(width - height) > SQUARE * max(width, height):
        raise NotAKnee(
            f"{width} x {height} pixels looks like a whole film, not a square crop of one joint, "
            "and this version cannot find knees on whole films yet",
            path=path,
            remedy=remedy,
        )


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load(model: str | os.PathLike[str] = bundles.DEFAULT, *, threads: int | None = None) -> Grader:
    """A grader with a packaged bundle, or one in a folder or zip.

    Args:
        model: Name or path of the bundle.
        threads: Threads for one network evaluation; all available ones by default.

    Raises:
        BadBundle: If there is no such bundle or it cannot be used.
    """
    return Grader(bundles.load(model), threads=threads)
