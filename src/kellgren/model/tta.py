"""Test-time augmentation: one crop seen several times, so that the answer does not depend on how it was cut.

A grade near a border changes with the framing: two cuts of one film, a fiftieth of the side apart, disagree
in one knee of nine. The mean over a few framings is nearly the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from kellgren.model.steps import mirror
from kellgren.vocabulary import Image


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a crop.

    Attributes:
        mirrored: Flipped left to right, before anything else: a left knee is seen as a right one would be.
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
"""Size, right and down of the other framings: as far from the plain one as the localiser usually errs."""

TestTimeLook = Literal["flip", "framing"]
"""What a card's `tta` may list. `flip`: mirrored as well. `framing`: `FRAMINGS` too."""


def looks(tta: Sequence[str], *, mirrored: bool) -> list[Look]:
    """The looks that a card lists, the plain one first.

    With both kinds, the crop as cut is seen both ways, and the framings in turn: twice as it is, twice
    mirrored. Seeing each both ways costs twice as much and changes nothing that was measurable.

    Args:
        tta: The card's.
        mirrored: Whether the side convention mirrors this knee.
    """
    flips = "flip" in tta
    seen = [Look(mirrored), Look(not mirrored)] if flips else [Look(mirrored)]
    for i, framing in enumerate(FRAMINGS if "framing" in tta else ()):
        seen.append(Look(mirrored != (flips and i % 4 > 1), *framing))
    return seen


def see(image: Image, look: Look) -> Image:
    """What a look shows, at the crop's own size.

    Args:
        image: (H, W) float32; beyond its border the border goes on.
        look: How it is looked at.
    """
    if look.mirrored:
        image = mirror(image)
    if look.plain:
        return image
    height, width = image.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    centre = middle + np.array([look.right * width, look.down * height])
    matrix = np.hstack([np.eye(2) / look.size, (middle - centre / look.size)[:, None]])
    seen = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(seen, dtype=np.float32)
