"""Model stage: the named, pure steps between a crop and a network's input.

A card lists the steps of each input by name with their parameters, and `apply` runs them. Training
and grading call this same function on the same crop, so there is no second implementation to drift.

Between steps an image is (H, W) float32 with bone bright; it lies in [0, 1] until `normalise`.
Each step is a function `step(image, **parameters) -> image` that leaves its argument unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.errors import BadBundle
from kellgren.vocabulary import CROP_SIZE, Image

StepSpec = Mapping[str, Any]
"""One line of a card: `{"step": NAME, ...parameters}`."""


def _to_8_bit(image: Image) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), dtype=np.uint8)


def _from_8_bit(image: npt.NDArray[Any]) -> Image:
    return image.astype(np.float32) / np.float32(255.0)


def percentile_range(image: Image, *, low: float, high: float) -> Image:
    """Stretch the given percentiles to 0 and 1 and clip beyond them.

    Args:
        image: (H, W).
        low: Lower percentile, 0 .. 100.
        high: Upper percentile, above `low`.

    Returns:
        (H, W) in [0, 1]; all zeros where both percentiles fall on one value.
    """
    bottom, top = np.percentile(image, (low, high)).astype(np.float32)
    if top <= bottom:
        return np.zeros_like(image)
    return np.asarray(np.clip((image - bottom) / (top - bottom), 0.0, 1.0), dtype=np.float32)


def invert(image: Image) -> Image:
    """Exchange bright and dark: 1 - x."""
    return np.float32(1.0) - image


def equalise(image: Image) -> Image:
    """Histogram equalisation on 256 levels (Wang 2021, data preprocessing; OA-MEN 2024, section 3)."""
    return _from_8_bit(cv2.equalizeHist(_to_8_bit(image)))


def clahe(image: Image, *, clip: float, tiles: int = 8) -> Image:
    """Contrast limited adaptive histogram equalisation (Zuiderveld 1994) on 256 levels.

    Args:
        image: (H, W).
        clip: Clip limit relative to a flat histogram, as in OpenCV; the dual-stream paper chose 2.0.
        tiles: Number of tiles along each side.
    """
    return _from_8_bit(cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(_to_8_bit(image)))


def gaussian_laplacian(image: Image, *, sigma: float = 1.0, weight: float = 1.0) -> Image:
    """Smooth with a Gaussian, then add the Laplacian's edges back (OA-MEN 2024, preprocessing).

    The sharpened image is G - weight * Laplacian(G): the Laplacian is negative on a bright ridge.

    Args:
        image: (H, W).
        sigma: Standard deviation of the Gaussian, pixels.
        weight: Share of the edges that is added; the paper prints none, 1 is the plain sum.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    edges = cv2.Laplacian(smooth, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REPLICATE)
    return np.clip(smooth - np.float32(weight) * edges, 0.0, 1.0)


def laplacian_sharpen(image: Image, *, sigma: float = 1.0, weight: float = 1.0) -> Image:
    """Add the Laplacian's edges of the smoothed image to the image itself (OA-MEN 2024, section 2.2).

    "Gaussian filter ... edge detection using the Laplacian operator ... combined with the original images":
    x - weight * Laplacian(G x). `gaussian_laplacian` adds the same edges to the smoothed image, which blurs.

    Args:
        image: (H, W), at the network's resolution: shrinking afterwards would undo it.
        sigma: Standard deviation of the Gaussian, pixels.
        weight: Share of the edges that is added; the paper prints none, 1 is the plain sum.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    edges = cv2.Laplacian(smooth, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REPLICATE)
    return np.clip(image - np.float32(weight) * edges, 0.0, 1.0)


def density_crop(image: Image, *, share: float) -> Image:
    """Cut the square whose pixel density is centred: the dual-stream paper's central region crop.

    The paper gives no formula. Here the centre is the intensity-weighted mean position of the pixels
    brighter than the median, and the square has side `share` times the shorter side, moved inside
    the image where it would cross the border.

    Args:
        image: (H, W).
        share: Side of the square relative to the shorter side, in (0, 1].
    """
    top, left, side = densest(image, share)
    return image[top : top + side, left : left + side]


def densest(image: Image, share: float) -> tuple[int, int, int]:
    """Top, left and side of the square that `density_crop` cuts, pixels."""
    height, width = image.shape
    side = max(1, round(share * min(height, width)))
    dense = np.where(image > np.median(image), image, 0.0)
    total = float(dense.sum())
    if total > 0:
        y = float(dense.sum(axis=1) @ np.arange(height)) / total
        x = float(dense.sum(axis=0) @ np.arange(width)) / total
    else:
        y, x = (height - 1) / 2, (width - 1) / 2
    top = min(max(round(y + 0.5 - side / 2), 0), height - side)
    left = min(max(round(x + 0.5 - side / 2), 0), width - side)
    return top, left, side


def mirror(image: Image) -> Image:
    """Flip left to right."""
    return image[:, ::-1]


def patch(image: Image, *, part: Literal["left", "right"], width: float = 0.5) -> Image:
    """Cut the left or right part at full height (Tiulpin 2018 and Wang 2021: the two compartments).

    Args:
        image: (H, W).
        part: Which border the patch touches.
        width: Width of the patch relative to the image, in (0, 1].
    """
    columns = max(1, round(width * image.shape[1]))
    return image[:, :columns] if part == "left" else image[:, -columns:]


def region(image: Image, *, top: float, left: float, height: float, width: float) -> Image:
    """Cut a fixed rectangle given in fractions of the image.

    Args:
        image: (H, W).
        top: Upper edge, 0 .. 1 of H.
        left: Left edge, 0 .. 1 of W.
        height: Height of the rectangle, 0 .. 1 of H.
        width: Width of the rectangle, 0 .. 1 of W.
    """
    rows, columns = image.shape
    y, x = round(top * rows), round(left * columns)
    return image[y : y + round(height * rows), x : x + round(width * columns)]


def resize(image: Image, *, height: int, width: int) -> Image:
    """Resize to (height, width): area averaging when it shrinks, bilinear when it grows."""
    if image.shape == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.float32)


def normalise(image: Image, *, mean: float, std: float) -> Image:
    """(x - mean) / std, the scale on which the network's weights were learned."""
    return (image - np.float32(mean)) / np.float32(std)


STEPS: Final[dict[str, Callable[..., Image]]] = {
    step.__name__: step
    for step in (
        percentile_range,
        invert,
        equalise,
        clahe,
        gaussian_laplacian,
        laplacian_sharpen,
        density_crop,
        mirror,
        patch,
        region,
        resize,
        normalise,
    )
}
"""Every step by the name that a card uses."""


def validate(steps: Sequence[StepSpec]) -> None:
    """Check that every step exists and its parameters fit.

    Raises:
        BadBundle: Naming the step and what is wrong with it.
    """
    for spec in steps:
        name = spec.get("step")
        if name not in STEPS:
            raise BadBundle(f"unknown step {name!r}", remedy=f"known steps: {', '.join(STEPS)}")
        parameters = {key: value for key, value in spec.items() if key != "step"}
        try:
            inspect.signature(STEPS[name]).bind(np.zeros((2, 2), np.float32), **parameters)
        except TypeError as error:
            raise BadBundle(f"step {name!r}: {error}") from error


def apply(image: Image, steps: Sequence[StepSpec]) -> Image:
    """Run the steps in order.

    Args:
        image: (H, W) float32 in [0, 1], bone bright.
        steps: As in a card; see `validate`.

    Returns:
        (h, w) float32, C-contiguous.
    """
    for spec in steps:
        image = STEPS[spec["step"]](image, **{key: value for key, value in spec.items() if key != "step"})
    return np.ascontiguousarray(image, dtype=np.float32)


def output_size(steps: Sequence[StepSpec]) -> tuple[int, int]:
    """Height and width that the steps make of a published crop."""
    height, width = apply(np.zeros((CROP_SIZE, CROP_SIZE), np.float32), steps).shape
    return height, width


def unit_range(pixels: npt.NDArray[np.uint16]) -> Image:
    """A film's 16-bit pixels as (H, W) float32 in [0, 1]: the starting point of `apply`."""
    return pixels.astype(np.float32) / np.float32(65535.0)


def mirrors(side: str | None, convention: str) -> bool:
    """Whether a knee of this side is mirrored before the steps.

    Args:
        side: `"R"`, `"L"` or None.
        convention: The card's `side_convention`: `"as_right"` mirrors left knees, `"none"` never does.
    """
    return convention == "as_right" and side == "L"
