"""From stored pixel values to modality values, and which pixels are padding (DICOM PS3.3 C.11.1, C.7.5.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kellgren.errors import UnreadableImage
from kellgren.read.bands import bands, in_bands
from kellgren.read.lut import read_lut
from kellgren.read.pixel_layout import PixelLayout
from kellgren.read.tags import Header


def apply_modality(stored: npt.NDArray[Any], header: Header, layout: PixelLayout) -> npt.NDArray[np.float32]:
    """Apply the Modality LUT or else rescale slope and intercept (PS3.3 C.11.1.1).

    Args:
        stored: (H, W) stored values.
        header: The header.
        layout: The layout, for the sign of the table's first input.

    Returns:
        (H, W) float32 modality values; the stored ones where the header has no transformation.

    Raises:
        UnreadableImage: The transformation is incomplete or maps everything to one value.
    """
    sequence = header.items("ModalityLUTSequence")
    if sequence:
        table = read_lut(sequence[0], "LUTDescriptor", "LUTData", signed=layout.signed, name="Modality LUT")
        outputs = table.values.astype(np.float32)
        return in_bands(stored, lambda band: outputs[table.index(band)])
    slope = header.numbers("RescaleSlope") or (1.0,)
    intercept = header.numbers("RescaleIntercept") or (0.0,)
    # Not finite, or beyond single precision for some stored value.
    if not (abs(slope[0]) * 65536 + abs(intercept[0]) < np.finfo(np.float32).max) or slope[0] == 0:
        raise UnreadableImage("the DICOM header has an unusable rescale slope or intercept", path=header.path)
    if slope[0] == 1 and intercept[0] == 0:
        return stored.astype(np.float32)
    # In double precision: a large intercept would eat the small differences in single precision.
    return in_bands(stored, lambda band: band * slope[0] + intercept[0])


def padding_mask(
    stored: npt.NDArray[Any], header: Header, layout: PixelLayout
) -> npt.NDArray[np.bool_] | None:
    """Mark the pixels that Pixel Padding Value (0028,0120), or it and its Range Limit, declare as padding.

    Args:
        stored: (H, W) stored values; padding is declared in these (PS3.3 C.7.5.1.1.2).
        header: The header.
        layout: The layout, for the sign of the value.

    Returns:
        (H, W) mask, or None where nothing is padded.
    """
    value = header.numbers("PixelPaddingValue")
    if not value:
        return None
    limit = header.numbers("PixelPaddingRangeLimit") or value
    ends = [int(value[0]), int(limit[0])]
    whole, half = 1 << layout.allocated, 1 << (layout.allocated - 1)
    # Written as US although the pixels are signed, or the reverse: the same bits, read with the pixels' sign.
    if layout.signed:
        ends = [e - whole if e >= half else e for e in ends]
    else:
        ends = [e + whole if e < 0 else e for e in ends]
    mask = np.empty(stored.shape, np.bool_)
    for rows in bands(stored):
        mask[rows] = (stored[rows] >= min(ends)) & (stored[rows] <= max(ends))
    return mask if mask.any() else None
