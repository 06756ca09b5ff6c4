"""Grading: a file in, one assessment a knee out.

This is the way of a radiograph in one place: read, standardise, locate, crop, orient, predict, decide,
measure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np

from kellgren import locate, measure
from kellgren.errors import NotAKnee
from kellgren.grade import polarity
from kellgren.grade import side as knee_side
from kellgren.grade.assessment import Assessment, Grading, Overview
from kellgren.grade.side import Orientation
from kellgren.locate import Framed, InputKind
from kellgren.measure import JointSpace
from kellgren.model import bundle as bundles
from kellgren.model import decision, steps
from kellgren.model.predict import Model, Prediction, oriented_tasks
from kellgren.parallel import processors
from kellgren.read import DEFAULT_LIMITS, Limits, Metadata, Radiograph, Stated, read_bytes
from kellgren.read.files import load as load_bytes
from kellgren.read.metadata import NOTHING_STATED
from kellgren.standardise import Film
from kellgren.vocabulary import Side

_OVERVIEW: Final = 640
"""Longer side of the film in a picture, pixels."""


class Reader(Protocol):
    """What `kellgren.read.read_bytes` is."""

    def __call__(  # noqa: D102
        self, data: bytes, path: Path | str, *, side: Side | None, stated: Stated, limits: Limits
    ) -> Radiograph: ...


class Grader:
    """Grades films with one bundle. Safe to use from several threads at once.

    Args:
        bundle: The opened bundle.
        localiser: Finds the knees on films; the packaged one by default.
        threads: Threads for one network evaluation; grade several films at once instead for throughput.
        limits: Sizes that are checked before a file is decoded.
        reader: How a file's bytes become a radiograph: in this process, or `IsolatedReader.read_bytes`.

    Raises:
        BadBundle: If the bundle cannot be used.
    """

    def __init__(
        self,
        bundle: bundles.Bundle,
        *,
        localiser: locate.Cascade | None = None,
        threads: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        reader: Reader = read_bytes,
    ) -> None:
        count = processors() if threads is None else threads
        self.model = Model(bundle, threads=count)
        self.localiser = locate.load(threads=count) if localiser is None else localiser
        self.limits = limits
        self._read = reader

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
        metadata: Metadata | Stated | None = None,
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of one file.

        Args:
            path: DICOM, PNG, JPEG, TIFF or WebP file.
            input: `crop`: the image is one tibiofemoral joint; `film`: find the knees first; `auto`: tell
                which from the image.
            side: The user's word on which knee it is.
            metadata: What else the user states: of this file, or a table with a row about it.
            explain: Also keep class activation maps and what the network saw.

        Returns:
            One assessment a knee, from the image's left to right.

        Raises:
            UnreadableImage: The file cannot be decoded.
            NotAKnee: There is nothing to grade; the message says why.
        """
        data = load_bytes(Path(path), self.limits)
        return self.grade_bytes(data, path, input=input, side=side, metadata=metadata, explain=explain)

    def grade_bytes(
        self,
        data: bytes,
        path: Path | str,
        *,
        input: InputKind = "auto",  # noqa: A002
        side: Side | None = None,
        metadata: Metadata | Stated | None = None,
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of a file that is already in memory; `path` is what it is called.

        Arguments, result and errors are those of `grade`.
        """
        stated = _stated(metadata, path)
        film = self._read(data, path, side=side, stated=stated, limits=self.limits)
        return self.grade_radiograph(film, input=input, explain=explain)

    def grade_radiograph(
        self,
        radiograph: Radiograph,
        *,
        input: InputKind = "auto",  # noqa: A002
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of a radiograph that was read already.

        Result and errors are those of `grade`.
        """
        film, joints = polarity.settle(
            radiograph,
            lambda pixels: locate.frame(pixels, input, self.localiser, radiograph.path),
            measure.packaged(),
        )
        stated = film.laterality
        known = stated.side if len(joints) == 1 else None
        predictions = [self.model.predict(joint.pixels, known, maps=explain) for joint in joints]
        if len(joints) == 1:
            sides: tuple[Orientation, ...] = (knee_side.one(stated, predictions[0].side),)
        else:
            sides = knee_side.several(stated, [prediction.side for prediction in predictions])
        assessments = []
        for i, (joint, side) in enumerate(zip(joints, sides, strict=True)):
            if side.side != predictions[i].side and side.side is not None:  # known from the other knee
                predictions[i] = self.model.predict(joint.pixels, side.side, maps=explain)
            assessment = self._assess(film, joint, side, predictions[i], radiograph.path)
            extra = self._pictures(film, joint, predictions[i]) if explain else {}
            assessments.append(replace(assessment, knee=i + 1, **extra))
        return assessments

    def _assess(
        self, film: Film, joint: Framed, side: Orientation, prediction: Prediction, path: Path
    ) -> Assessment:
        gradings = self._decide(prediction, oriented=prediction.side is not None)
        space, remarks = _measure(film, joint, side.side)
        x0, y0, x1, y1 = (float(c) for c in joint.box)
        return Assessment(
            path=path,
            knee=1,
            side=side.side,
            side_source=side.source,
            box=(x0, y0, x1, y1),
            points=joint.joint.points,
            joint_space=space,
            gradings=gradings,
            reasons=(*film.flags, *side.reasons, *self._reasons(joint, side, prediction, gradings)),
            notes=(*film.notes, *remarks),
            model=self.title,
        )

    def _decide(self, prediction: Prediction, *, oriented: bool) -> dict[str, Grading]:
        card = self.model.card
        hidden = () if oriented or card.side_convention == "none" else oriented_tasks(card.tasks)
        gradings = {}
        for task, probabilities in prediction.probabilities.items():
            if task == "SIDE" or task in hidden:
                continue
            row = probabilities[None]
            decided = decision.decide(row, card.decision.get(task, "argmax"))
            interval = None
            if task in card.calibration.interval:
                low, high = decision.interval(row, decided, card.calibration.interval[task].threshold)
                interval = (int(low[0]), int(high[0]))
            gradings[task] = Grading(
                task,
                int(decided[0]),
                tuple(float(p) for p in probabilities),
                interval,
                task in card.calibration.calibrators,
            )
        return gradings

    def _reasons(
        self,
        joint: Framed,
        side: Orientation,
        prediction: Prediction,
        gradings: Mapping[str, Grading],
    ) -> tuple[str, ...]:
        """What the networks have to say against themselves."""
        calibration = self.model.card.calibration
        reasons = []
        if joint.joint.score < self.localiser.settings.accept:
            reasons.append("the localiser does not recognise a knee joint in front view")
        if joint.cut_off:
            reasons.append("the film's edge cuts the joint off")
        agreement = prediction.side_agreement
        if side.source not in (None, "image") and agreement is not None:
            if agreement < 1 - calibration.side_certainty:
                reasons.append(f"side {side.side} by {side.source}, but the image looks like the other knee")
            elif agreement < (calibration.side_doubt or 0.0):
                reasons.append(
                    "neither a right nor a left knee is to be recognised: is it a front view of a joint?"
                )
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

    def _pictures(self, film: Film, joint: Framed, prediction: Prediction) -> dict[str, Any]:
        """What `--explain` shows of film, crop, network input and maps."""
        scale = min(1.0, _OVERVIEW / max(film.pixels.shape))
        small = cv2.resize(film.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        overview = Overview(
            film=locate.eight_bit(np.asarray(small, dtype=np.uint16)),
            film_scale=scale,
            crop=locate.eight_bit(joint.pixels),
            crop_box=joint.box,
            is_image=joint.is_image,
        )
        return {
            "maps": prediction.maps,
            "maps_frame": prediction.frame,
            "maps_share": prediction.maps_share,
            "overview": overview,
            "view": self.model.view(joint.pixels, prediction),
        }


def _measure(film: Film, joint: Framed, side: Side | None) -> tuple[JointSpace | None, tuple[str, ...]]:
    """Joint space width of one knee, or why there is none."""
    if side is None:
        return None, ("no joint space width: the side is unknown",)
    crop = steps.unit_range(joint.pixels)
    if steps.mirrors(side, "as_right"):
        crop = steps.mirror(crop)
    spacing = film.spacing
    try:
        if spacing is None:
            return measure.joint_space(crop), ()
        return measure.joint_space(crop, (spacing.row, spacing.column), spacing.source), ()
    except NotAKnee as error:
        return None, (error.reason,)


def _stated(metadata: Metadata | Stated | None, path: Path | str) -> Stated:
    """What the user states about one file."""
    found = metadata.find(path) if isinstance(metadata, Metadata) else metadata
    return found or NOTHING_STATED


def load(model: str | os.PathLike[str] = bundles.DEFAULT, *, threads: int | None = None) -> Grader:
    """A grader with a packaged bundle, or one in a folder or zip.

    Args:
        model: Name or path of the bundle.
        threads: Threads for one network evaluation; all available ones by default.

    Raises:
        BadBundle: If there is no such bundle or it cannot be used.
    """
    return Grader(bundles.load(model), threads=threads)
