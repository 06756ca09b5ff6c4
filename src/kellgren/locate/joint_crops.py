"""From a film to the crops of single joints that graders take; an image may be one already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.errors import NotAKnee
from kellgren.locate.cascade import Cascade, Joint
from kellgren.model import framing

InputKind = Literal["auto", "film", "crop"]

SQUARE: Final = 0.1
"""Largest relative difference of width and height at which `auto` may take an image for a crop."""

FILLS: Final = 0.7
"""Smallest share of a crop's width that its joint's box fills."""

LONGEST: Final = 4.0
"""Longer side of a film, relative to the shorter; whole-leg films have up to 3.5."""

_CUT_OFF: Final = 0.12
_REMEDY: Final = "cut out a square around each joint and use --input crop"


@dataclass(frozen=True, slots=True)
class JointCrop:
    """One joint, ready to be graded.

    Attributes:
        pixels: (S, S) uint16 crop at the film's own resolution; (H, W) where the image is itself a crop.
        box: (4,) x0, y0, x1, y1 of the crop in film pixels.
        joint: What the localiser found, in film pixels.
        is_image: Whether the image was a crop already.
        beyond: Share of the crop that lies beyond the film's edge.
    """

    pixels: npt.NDArray[np.uint16]
    box: npt.NDArray[np.float64]
    joint: Joint
    is_image: bool
    beyond: float

    @property
    def cut_off(self) -> bool:
        """Whether so much lies beyond the film's edge that a grade would miss it."""
        return self.beyond > _CUT_OFF


def joint_crops(
    film: npt.NDArray[np.uint16], kind: InputKind, localiser: Cascade, path: Path
) -> tuple[JointCrop, ...]:
    """Find the joints of an image and cut them out.

    Args:
        film: (H, W) uint16, bone bright.
        kind: `crop`: the image is one joint, whatever the localiser says; `film`: find the joints; `auto`:
            an image that is nearly square and filled by one joint is a crop, everything else a film.
        localiser: Finds joints.
        path: For messages.

    Returns:
        At least one joint, from the image's left to right.

    Raises:
        NotAKnee: No knee joint in front view was found.
    """
    if kind == "crop":
        return (_whole(film, localiser),)
    height, width = film.shape
    if max(film.shape) > LONGEST * min(film.shape):
        ratio = max(film.shape) / min(film.shape)
        raise NotAKnee(
            f"the image is {ratio:.0f} times as long as it is wide, which no film is",
            path=path,
            remedy=_REMEDY,
        )
    joints = localiser.find(film)
    if kind == "auto" and abs(width - height) <= SQUARE * max(width, height) and len(joints) <= 1:
        if joints and joints[0].box[2] - joints[0].box[0] >= FILLS * width:
            return (_whole(film, localiser),)
        if not joints:
            whole = _whole(film, localiser)
            if whole.joint.score >= localiser.settings.accept:
                return (whole,)
    if not joints:
        raise NotAKnee("no knee joint in front view was found", path=path, remedy=_REMEDY)
    return tuple(_cut(film, joint) for joint in joints)


def _whole(film: npt.NDArray[np.uint16], localiser: Cascade) -> JointCrop:
    box = np.array([0.0, 0.0, film.shape[1], film.shape[0]])
    return JointCrop(film, box, localiser.on_crop(film), is_image=True, beyond=0.0)


def _cut(film: npt.NDArray[np.uint16], joint: Joint) -> JointCrop:
    pixels, box = framing.square(film, joint.box)
    height, width = film.shape
    shown = np.clip(box, 0, [width, height, width, height])
    inside = float((shown[2] - shown[0]) * (shown[3] - shown[1])) / pixels.size
    return JointCrop(pixels, box, joint, is_image=False, beyond=1 - inside)
