"""From a film to the crops of single joints that graders take; an image may be one already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from kellgren.errors import NotAKnee
from kellgren.locate.cascade import Cascade, Joint
from kellgren.model import framing
from kellgren.vocabulary import FloatArray, Grey

InputKind = Literal["auto", "film", "crop"]

SQUARE: Final = 0.1
"""Largest relative difference of width and height at which `auto` may take an image for a crop."""

FILLS: Final = 0.7
"""Smallest share of a crop's width that its joint's box fills."""

LONGEST: Final = 4.0
"""Height of a film, relative to its width; whole-leg films have up to 3.5."""

WIDEST: Final = 12.0
"""Width of a film, relative to its height; a strip across a whole film has up to 10."""

_CUT_OFF: Final = 0.12
"""Share of a crop's width or height beyond the film's edge from which it counts."""

_RIM: Final = 0.05
"""How far above and below its key points per joint reaches, as a share of the crop's side."""

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
        cut_off: Whether the film's edge cuts the joint itself, so that a grade would miss part of it. A strip
            that shows both condyles and both plateaus does not; what it lacks above and below is filled
            with its mirror image.
    """

    pixels: Grey
    box: FloatArray
    joint: Joint
    is_image: bool
    beyond: float
    cut_off: bool = False


def joint_crops(film: Grey, kind: InputKind, localiser: Cascade, path: Path) -> tuple[JointCrop, ...]:
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
    if height > LONGEST * width or width > WIDEST * height:
        ratio = max(film.shape) / min(film.shape)
        raise NotAKnee(
            f"one side of the image is {ratio:.0f} times as long as the other, which no film is",
            path=path,
            remedy=_REMEDY,
        )
    joints = _find(film, localiser)
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


def _find(film: Grey, localiser: Cascade) -> tuple[Joint, ...]:
    """Find the joints of a film; those of a strip, which reach far beyond it, with its edges drawn out."""
    joints = localiser.find(film)
    height, width = film.shape
    if height >= width or (joints and not any(_beyond(film, joint.box)[1] > _CUT_OFF for joint in joints)):
        return joints
    border = height // 2
    drawn_out = localiser.find(np.pad(film, ((border, border), (0, 0)), mode="edge"))
    moved = tuple(
        Joint(joint.box - [0, border, 0, border], joint.score, joint.points - [0, border])
        for joint in drawn_out
    )
    return moved or joints


def _whole(film: Grey, localiser: Cascade) -> JointCrop:
    box = np.array([0.0, 0.0, film.shape[1], film.shape[0]])
    return JointCrop(film, box, localiser.on_crop(film), is_image=True, beyond=0.0)


def _cut(film: Grey, joint: Joint) -> JointCrop:
    pixels, box = framing.square(film, joint.box)
    across, along = _beyond(film, box)
    y, rim = joint.points[:, 1], _RIM * (box[2] - box[0])
    cut_off = across > _CUT_OFF or bool(y.min() < rim or y.max() > film.shape[0] - 1 - rim)
    if along > _CUT_OFF and not cut_off:
        pixels = _mirrored_beyond(film, box)
    return JointCrop(
        pixels, box, joint, is_image=False, beyond=1 - (1 - across) * (1 - along), cut_off=cut_off
    )


def _beyond(film: Grey, box: FloatArray) -> tuple[float, float]:
    """Shares of a box's width and of its height that lie beyond the film's edge."""
    height, width = film.shape
    shown = np.clip(box, 0, [width, height, width, height])
    shares = 1 - (shown[2:] - shown[:2]) / (box[2:] - box[:2])
    return float(shares[0]), float(shares[1])


def _mirrored_beyond(film: Grey, box: FloatArray) -> Grey:
    """A square crop, mirrored at the film's upper and lower edge and black beside it."""
    x0, y0, x1, y1 = (int(c) for c in box)
    height, width = film.shape
    rows = np.pad(
        film[:, max(0, x0) : min(width, x1)], ((max(0, -y0), max(0, y1 - height)), (0, 0)), "reflect"
    )
    top = y0 + max(0, -y0)
    return np.pad(rows[top : top + y1 - y0], ((0, 0), (max(0, -x0), max(0, x1 - width))))
