"""Radiographs that are in memory already: grey arrays and pydicom data sets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from kellgren.errors import UnreadableImage, WrongUse
from kellgren.read.laterality import decide_laterality
from kellgren.read.limits import DEFAULT_LIMITS, Limits
from kellgren.read.radiograph import Radiograph
from kellgren.vocabulary import Side

_NAME = Path("array")


def from_array(pixels: npt.NDArray[Any], *, side: Side | None, limits: Limits = DEFAULT_LIMITS) -> Radiograph:
    """A radiograph from grey values.

    Args:
        pixels: (H, W) integers or finite floats in any linear scale; 8 bits if they are bytes, else 16.
        side: What the user states on which knee it shows.
        limits: Sizes.

    Raises:
        WrongUse: The array is not two-dimensional, not of numbers, or holds infinity or NaN.
        UnreadableImage: It is too small or too large.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in "uif":
        shape = " x ".join(map(str, pixels.shape))
        raise WrongUse(f"an array of {shape} {pixels.dtype} is no grey image", remedy="give (height, width)")
    limits.check_size(pixels.shape[0], pixels.shape[1], _NAME)
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise WrongUse("the array holds infinity or NaN")
    bits = 8 if pixels.dtype == np.uint8 else 16
    return Radiograph(_NAME, values, bits, None, None, decide_laterality(user=side), None, "ARRAY")


def encoded(dataset: Dataset) -> bytes:
    """A pydicom data set as the file that it would be.

    Raises:
        UnreadableImage: It cannot be encoded.
    """
    file = io.BytesIO()
    try:
        dcmwrite(file, dataset)
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
        raise UnreadableImage(
            f"the data set cannot be encoded ({type(error).__name__})", remedy="give it a TransferSyntaxUID"
        ) from error
    return file.getvalue()
