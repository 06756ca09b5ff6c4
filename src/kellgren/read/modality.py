"""From stored pixel values to modality values, and which pixels are padding (DICOM PS3.3 C.11.1, C.7.5.1)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from kellgren.errors import UnreadableImage
from kellgren.read.tags import integer, numbers


def apply_modality(stored: npt.NDArray[np.int32], dataset: Dataset, path: Path) -> npt.NDArray[np.float32]:
    """Apply the Modality LUT or else rescale slope and intercept (PS3.3 C.11.1.1).

    Args:
        stored: (H, W) stored values.
        dataset: The header.
        path: The file, for messages.

    Returns:
        (H, W) float32 modality values; the stored ones where the header has no transformation.

    Raises:
        UnreadableImage: The transformation is incomplete or maps everything to one value.
    """
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        return _look_up(stored, sequence[0], dataset, path)
    slope = numbers(dataset, "RescaleSlope") or (1.0,)
    intercept = numbers(dataset, "RescaleIntercept") or (0.0,)
    if not math.isfinite(slope[0]) or not math.isfinite(intercept[0]) or slope[0] == 0:
        raise UnreadableImage("the DICOM header has an unusable rescale slope or intercept", path=path)
    if slope[0] == 1 and intercept[0] == 0:
        return stored.astype(np.float32)
    # In double precision: a large intercept would eat the small differences in single precision.
    return (stored * slope[0] + intercept[0]).astype(np.float32)


def _look_up(
    stored: npt.NDArray[np.int32], item: Dataset, dataset: Dataset, path: Path
) -> npt.NDArray[np.float32]:
    """Map through LUT Data (0028,3006); values beyond its ends take the end entries."""
    descriptor = [int(v) for v in numbers(item, "LUTDescriptor")]
    data = item.get("LUTData")
    if len(descriptor) != 3 or data is None:
        raise UnreadableImage("the DICOM header has an incomplete Modality LUT", path=path)
    entries, first, bits = descriptor
    entries = entries or 1 << 16  # PS3.3 C.11.1.1: 0 stands for 65536
    # The first mapped value has the sign of the pixels (US or SS), which an explicit VR may have lost.
    if integer(dataset, "PixelRepresentation", path) == 1 and first >= 1 << 15:
        first -= 1 << 16
    if isinstance(data, bytes):
        order = ">" if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2" else "<"
        narrow = bits <= 8 and len(data) < 2 * entries
        table = np.frombuffer(data, np.uint8 if narrow else np.dtype(f"{order}u2"))
    else:
        table = np.asarray(data).astype(np.int64) & 0xFFFF
    if table.size < entries:
        raise UnreadableImage("the DICOM header has an incomplete Modality LUT", path=path)
    index = np.clip(stored.astype(np.int64) - first, 0, entries - 1)
    return table[:entries].astype(np.float32)[index]


def padding_mask(stored: npt.NDArray[np.int32], dataset: Dataset, path: Path) -> npt.NDArray[np.bool_] | None:
    """Mark the pixels that Pixel Padding Value (0028,0120), or it and its Range Limit, declare as padding.

    Args:
        stored: (H, W) stored values; padding is declared in these (PS3.3 C.7.5.1.1.2).
        dataset: The header.
        path: The file, for messages.

    Returns:
        (H, W) mask, or None where nothing is padded.
    """
    value = numbers(dataset, "PixelPaddingValue")
    if not value:
        return None
    limit = numbers(dataset, "PixelPaddingRangeLimit") or value
    ends = [int(value[0]), int(limit[0])]
    if integer(dataset, "PixelRepresentation", path) == 1:
        # Written as US although the pixels are signed: the same bits, read with their sign.
        bits = integer(dataset, "BitsAllocated", path)
        ends = [e - (1 << bits) if e >= 1 << (bits - 1) else e for e in ends]
    mask = (stored >= min(ends)) & (stored <= max(ends))
    return mask if mask.any() else None
