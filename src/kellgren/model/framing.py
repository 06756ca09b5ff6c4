"""Framing: from a located joint to the images that graders take; all cutting of pixels.

Every view is cut from the film at its own resolution; the model stage resizes it (`kellgren.model.steps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from kellgren.model.steps import Step
from kellgren.vocabulary import FloatArray, Grey

Level = TypeVar("Level", bound=np.generic)

View = Literal["joint", "main_joint", "left_patch", "right_patch", "clahe", "film", "window"]
"""What an input shows. `joint`: the crop as it was located, or a fixed part of it. `main_joint`: the band
around the joint space, which step `region` cuts. `left_patch`, `right_patch`: one half of the joint as the
network sees it, a left knee mirrored first where the side convention says so. `clahe`: the joint, locally
equalised, beside a plain one. `film` and `window`: a localiser's two levels."""

HEIGHT_BEYOND: Final = 0.2
"""What Wang et al. add above and below the outermost key points, in joint widths."""


def square(film: Grey, box: FloatArray) -> tuple[Grey, FloatArray]:
    """Cut out a joint framed as the published crops.

    Args:
        film: (H, W) grey.
        box: (4,) x0, y0, x1, y1 in film pixels; rounded to whole ones.

    Returns:
        (S, S), 0 where the box passes the film's edge, and the (4,) box that is really shown.
    """
    return _cut(film, box, square=True)


def main_joint(film: Grey, box: FloatArray, points: FloatArray) -> tuple[Grey, FloatArray]:
    """Cut out the main joint of Wang et al. 2021 ("Data processing").

    It is as wide as the joint's box and reaches from the lowest to the highest of the six key points, each
    extended by 0.2 of the joint width; the width is the span of the key points' abscissas.

    Args:
        film: (H, W) grey.
        box: (4,) the located joint.
        points: (6, 2) its key points, film pixels.

    Returns:
        (h, w) and the (4,) box that is shown.
    """
    beyond = HEIGHT_BEYOND * float(np.ptp(points[:, 0]))
    top, bottom = float(points[:, 1].min()) - beyond, float(points[:, 1].max()) + beyond
    return _cut(film, np.array([box[0], top, box[2], bottom]), square=False)


def window(image: npt.NDArray[Level], left: int, top: int, width: int, height: int) -> npt.NDArray[Level]:
    """Part of an image, (height, width), 0 where it passes the edge.

    Args:
        image: (H, W).
        left: First column, pixels; may be negative.
        top: First row.
        width: Columns of the part.
        height: Rows of the part.
    """
    x0, y0 = max(0, left), max(0, top)
    inner = image[y0 : max(0, top + height), x0 : max(0, left + width)]
    if inner.shape == (height, width):
        return inner
    whole = np.zeros((height, width), image.dtype)
    whole[y0 - top : y0 - top + inner.shape[0], x0 - left : x0 - left + inner.shape[1]] = inner
    return whole


def view_of(steps: Sequence[Step]) -> View:
    """What steps show of a crop, by the patch that they cut out of it or the equalisation that they do."""
    turned = False
    for step in steps:
        turned ^= step.step == "mirror"
        if step.step == "patch":
            left = (step.parameters["part"] == "left") != turned
            return "left_patch" if left else "right_patch"
    return "clahe" if any(step.step == "clahe" for step in steps) else "joint"


def check_view(view: View, steps: Sequence[Step]) -> None:
    """Compare what an input is said to show with its steps.

    Raises:
        ValueError: If the steps show something else.
    """
    shown = view_of(steps)
    if view in ("film", "window"):
        if steps:
            raise ValueError(f"a {view} has no steps")
    elif view in ("joint", "main_joint"):
        if shown.endswith("patch"):
            raise ValueError(f"the view is {view}, but the steps cut out a {shown}")
        if view == "main_joint" and all(step.step != "region" for step in steps):
            raise ValueError("the view is main_joint, but no region is cut out of the crop")
    elif view != shown:
        raise ValueError(f"the view is {view}, but the steps show {shown}")


def _cut(film: Grey, box: FloatArray, *, square: bool) -> tuple[Grey, FloatArray]:
    x0, y0 = (int(c) for c in np.round(box[:2]))
    width, height = (max(1, round(float(s))) for s in box[2:] - box[:2])
    if square:
        width = height = max(1, round(float(box[2] - box[0] + box[3] - box[1]) / 2))
    return window(film, x0, y0, width, height), np.array([x0, y0, x0 + width, y0 + height], dtype=np.float64)
