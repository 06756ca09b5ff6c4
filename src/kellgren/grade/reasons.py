"""Why a person must read a knee: every gate is called here, each a measured quantity and its threshold."""

from __future__ import annotations

from collections.abc import Mapping

from kellgren.grade.assessment import Grading
from kellgren.grade.gates import gate
from kellgren.grade.side import Orientation
from kellgren.locate import JointCrop
from kellgren.measure import JointSpace
from kellgren.model.card import Calibration
from kellgren.model.predict import Prediction


def reasons(
    crop: JointCrop,
    orientation: Orientation,
    prediction: Prediction,
    gradings: Mapping[str, Grading],
    space: JointSpace | None,
    calibration: Calibration,
    *,
    accept: float,
) -> tuple[str, ...]:
    """Reasons against a knee's grade, from its side, the networks' own answers and the image's quality.

    Args:
        crop: The joint as it was located.
        orientation: Its side.
        prediction: The network's answer.
        gradings: The decided grades, by task.
        space: Its joint space; None where the side is unknown or no joint line was recognised.
        calibration: Thresholds of the bundle.
        accept: Score from which the localiser accepts a joint.
    """
    line = None if space is None else space.contour
    answers = (
        orientation.reasons,
        _located(crop, accept),
        _agrees(orientation, prediction.side_agreement, calibration),
        _typical(prediction.distance, calibration.atypical),
        _certain(gradings.get("KL"), calibration.refer_grades),
        gate(crop, line, line_sought=orientation.side is not None),
    )
    return tuple(reason for given in answers for reason in given)


def _located(crop: JointCrop, accept: float) -> list[str]:
    given = []
    if not crop.joint.score >= accept:
        given.append("the localiser does not recognise a knee joint in front view")
    if crop.cut_off:
        given.append("the film's edge cuts the joint off")
    return given


def _agrees(orientation: Orientation, agreement: float | None, calibration: Calibration) -> list[str]:
    """Whether all looks together contradict the side, or show none."""
    if orientation.side is None or agreement is None:
        return []
    contradicted, doubt = 1 - calibration.side_certainty, calibration.side_doubt or 0.0
    if orientation.source == "image":
        return ["the side read from the image is unsure"] if agreement < max(contradicted, doubt) else []
    if agreement < contradicted:
        stated = f"side {orientation.side} by {orientation.source}"
        return [f"{stated}, but the image looks like the other knee"]
    if agreement < doubt:
        return ["the image shows neither a right nor a left knee: is it a front view of a joint?"]
    return []


def _typical(distance: float | None, atypical: float | None) -> list[str]:
    if atypical is None or distance is None or distance <= atypical:
        return []
    return ["unlike the knee crops that the model was fitted on"]


def _certain(kl: Grading | None, refer_grades: int | None) -> list[str]:
    if refer_grades is None or kl is None or kl.interval is None:
        return []
    low, high = kl.interval
    return [f"unsure: KL {low} to {high} are all plausible"] if high - low + 1 >= refer_grades else []
