"""Test-time views: one crop looked at several times, so that the answer does not hang on how it was cut.

A grade near a border changes with the framing: two cuts of one film, a fiftieth of the side apart, disagree
in one knee of nine. The mean over a few framings is nearly the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from kellgren.steps import Image, mirror


@dataclass(frozen=True, slots=True)
class View:
    """One look at a crop.

    Attributes:
        mirrored: Flipped left to right.
        size: Side of what is seen, relative to the crop's.
        right: How far its centre lies to the right of the crop's, as a share of the crop's width.
        down: How far below, as a share of its height.
    """

    mirrored: bool
    size: float = 1.0
    right: float = 0.0
    down: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether it shows the crop as it was cut."""
        return (self.size, self.right, self.down) == (1.0, 0.0, 0.0)


FRAMINGS: Final = (
    (0.95, 0.02, 0.0),
    (1.05, 0.0, 0.02),
    (0.95, 0.0, 0.02),
    (1.05, 0.02, 0.0),
    (0.95, -0.02, 0.0),
    (1.05, 0.0, -0.02),
    (0.95, 0.0, -0.02),
    (1.05, -0.02, 0.0),
)
"""Size, right and down of the other framings: as far from the plain one as the localiser is off."""

TTA: Final = ("flip", "framing")
"""What a card's `tta` may list. `flip`: mirrored as well. `framing`: `FRAMINGS` too."""


def views(tta: Sequence[str], *, mirrored: bool) -> list[View]:
    """The views that a card lists, the plain one first.

    With both kinds, the crop as cut is seen both ways, and the framings in turn: twice as it is, twice
    mirrored. Seeing each both ways costs twice as much and changes nothing that was measurable.

    Args:
        tta: The card's.
        mirrored: Whether the side convention mirrors this knee.
    """
    flips = "flip" in tta
    seen = [View(mirrored), View(not mirrored)] if flips else [View(mirrored)]
    for i, framing in enumerate(FRAMINGS if "framing" in tta else ()):
        seen.append(View(mirrored != (flips and i % 4 > 1), *framing))
    return seen


def look(image: Image, view: View) -> Image:
    """What a view shows, at the crop's own size.

    Args:
        image: (H, W) float32; beyond its border the border goes on.
        view: The view.
    """
    if not view.plain:
        height, width = image.shape
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        centre = middle + np.array([view.right * width, view.down * height])
        matrix = np.hstack([np.eye(2) / view.size, (middle - centre / view.size)[:, None]])
        image = np.asarray(
            cv2.warpAffine(
                image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ),
            dtype=np.float32,
        )
    return mirror(image) if view.mirrored else image
