"""Damaged bytes in a JPEG: its decoder goes on, but from there on all blocks are shifted in brightness.

Each block stores the difference of its mean from the block before (ITU-T T.81 F.1.1.5.1), so that one wrong
byte lifts or lowers everything after it, as far as the image's end. No decoder reports that as long as the
codes still add up. What is left to see is a step along the border of a row of blocks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_BLOCK: Final = 8

# Grey levels of a step, and the step against its own spread along the row. Of 600 undamaged training crops,
# saved with quality 50 to 95, none reaches both; of damaged ones whose grey levels are off by 3 on average, 9
# of 10 do, of those off by 8 or more 98 of 100 (`docs/reference/results/input-quality.md`).
_STEP: Final = 5.0
_SPREADS: Final = 1.5

# Both sides of a step must vary by so many grey levels: the edge of a black frame is no damage.
_TEXTURE: Final = 2.0

_FEWEST_COLUMNS: Final = 64
_PARTS: Final = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (0.0, 0.25), (0.75, 1.0))
"""Parts of a row that are looked at: the damage begins somewhere within a row of blocks."""


def is_torn(grey: npt.NDArray[np.uint8]) -> bool:
    """Whether a decoded JPEG shows a step of brightness along the border of a row of blocks.

    The step across a border is what the differences of the rows beside it do not explain; the median along
    the row is taken, which anatomy crossing the border does not move.

    Args:
        grey: (H, W) as decoded, before it is turned or resized.
    """
    height, width = grey.shape
    if width < _FEWEST_COLUMNS or height < 2 * _BLOCK:
        return False
    below = np.arange(_BLOCK, height - 1, _BLOCK)
    rows = [grey[below + shift].astype(np.float32) for shift in (-2, -1, 0, 1)]
    step = rows[2] - rows[1] - (rows[1] - rows[0] + rows[3] - rows[2]) / 2
    for start, end in _PARTS:
        part = slice(round(start * width), round(end * width))
        median = np.median(step[:, part], axis=1)
        spread = np.median(np.abs(step[:, part] - median[:, None]), axis=1) + 0.5
        texture = np.minimum(rows[1][:, part].std(axis=1), rows[2][:, part].std(axis=1))
        size = np.abs(median)
        if ((size > _STEP) & (size > _SPREADS * spread) & (texture > _TEXTURE)).any():
            return True
    return False
