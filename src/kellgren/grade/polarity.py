"""Polarity: whether bone is bright as the file says, judged by where a joint line is seen.

Margins are a weak witness: collimation may be painted in any grey, straight, askew, soft or round. The
joint-line network is a good one: on joints seen the right way round it scores well above 0.5, on their
negatives below 0.4 (`docs/reference/results/input-quality.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kellgren.errors import NotAKnee
from kellgren.locate import JointCrop
from kellgren.measure import LEAST_SCORE, ContourModel
from kellgren.model import steps
from kellgren.read import Radiograph
from kellgren.standardise import Film, standardise
from kellgren.vocabulary import Grey

AHEAD: Final = 0.08
"""By how much the better polarity's joint line must be the surer one."""

ALONE: Final = 0.42
"""A joint line as sure as this needs no rival: no negative of 900 training images had one above 0.37."""

SEEN: Final = 0.25
"""A joint line less sure than this is none: what is amiss with the image is not its polarity."""

UNCLEAR: Final = "it is not clear whether bone is bright or dark: name the polarity in a metadata table"


def settle(
    radiograph: Radiograph, frame: Callable[[Grey], tuple[JointCrop, ...]], contour: ContourModel
) -> tuple[Film, tuple[JointCrop, ...]]:
    """Standardise a radiograph and find its joints, in the polarity in which there is a joint.

    A header that the margins do not contradict stands, at no cost, as long as joints are found. A film in
    doubt keeps its polarity where a joint line is recognised; otherwise its negative is looked at too, and
    the one with the surer joint line is taken. Against a header, and where neither is surer, the film
    carries a flag.

    Args:
        radiograph: What `read` gave.
        frame: Finds and cuts out the joints of a film's pixels.
        contour: The joint-line model.

    Returns:
        The film and its joints.

    Raises:
        NotAKnee: In neither polarity is there a joint.
    """
    film = standardise(radiograph)
    try:
        joints = frame(film.pixels)
    except NotAKnee:
        if film.polarity_source == "user":
            raise
        other = _negative(radiograph, film)
        other_joints = frame(other.pixels)
        if _certainty(other_joints, contour) < LEAST_SCORE:
            raise
        return other, other_joints
    if not film.polarity_doubt:
        return film, joints
    certainty = _certainty(joints, contour)
    if certainty >= LEAST_SCORE:
        return film, joints
    other = _negative(radiograph, film)
    try:
        other_joints = frame(other.pixels)
    except NotAKnee:
        if certainty >= ALONE:
            return film, joints
        return replace(film, flags=(*film.flags, UNCLEAR)), joints
    other_certainty = _certainty(other_joints, contour)
    if other_certainty - certainty > AHEAD:
        return other, other_joints
    if other_certainty >= SEEN and certainty - other_certainty < AHEAD:
        return replace(film, flags=(*film.flags, UNCLEAR)), joints
    return film, joints


def _negative(radiograph: Radiograph, film: Film) -> Film:
    return standardise(radiograph, inverted=not film.inverted)


def _certainty(joints: tuple[JointCrop, ...], contour: ContourModel) -> float:
    """Score of the surest joint line, 0..1, whichever knee it is: the side is not yet known."""
    best = 0.0
    for joint in joints:
        crop = steps.unit_range(joint.pixels)
        for view in (crop, steps.mirror(crop)):
            best = max(best, contour.find(view).score)
            if best >= LEAST_SCORE:
                return best
    return best
