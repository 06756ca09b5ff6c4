"""Model stage: the named, pure steps between a crop and a network's input.

A card lists the steps of each input by name with their parameters, and `apply` runs them. Training
and grading call this same function on the same crop, so there is no second implementation to drift.

Between steps an image is (H, W) float32 with bone bright; it lies in [0, 1] until `normalise`.
Each step is a function `step(image, **parameters) -> image` that leaves its argument unchanged. The bounds
of its parameters stand in its signature; `Step` checks them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from kellgren.errors import BadBundle
from kellgren.vocabulary import CROP_SIZE, Image

Parameter = float | int | str

Percentile = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(gt=0, le=1)]
Place = Annotated[float, Field(ge=0, lt=1)]
Sigma = Annotated[float, Field(ge=0.1, le=10)]
Weight = Annotated[float, Field(ge=0, le=10)]
Size = Annotated[int, Field(ge=1, le=2048)]

_ROUNDING: Final = 1e-3
"""How far a fixed rectangle's rounded fractions may reach beyond the image."""

MOST_STEPS: Final = 16
"""Most steps of one input."""


def _to_8_bit(image: Image) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), dtype=np.uint8)


def _from_8_bit(image: npt.NDArray[Any]) -> Image:
    return image.astype(np.float32) / np.float32(255.0)


def percentile_range(image: Image, *, low: Percentile, high: Percentile) -> Image:
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


def clahe(
    image: Image,
    *,
    clip: Annotated[float, Field(gt=0, le=100)],
    tiles: Annotated[int, Field(ge=1, le=32)] = 8,
) -> Image:
    """Contrast limited adaptive histogram equalisation (Zuiderveld 1994) on 256 levels.

    Args:
        image: (H, W).
        clip: Clip limit relative to a flat histogram, as in OpenCV; the dual-stream paper chose 2.0.
        tiles: Number of tiles along each side.
    """
    return _from_8_bit(cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(_to_8_bit(image)))


def gaussian_laplacian(image: Image, *, sigma: Sigma = 1.0, weight: Weight = 1.0) -> Image:
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


def laplacian_sharpen(image: Image, *, sigma: Sigma = 1.0, weight: Weight = 1.0) -> Image:
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


def density_crop(image: Image, *, share: Share) -> Image:
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


def patch(image: Image, *, part: Literal["left", "right"], width: Share = 0.5) -> Image:
    """Cut the left or right part at full height (Tiulpin 2018 and Wang 2021: the two compartments).

    Args:
        image: (H, W).
        part: Which border the patch touches.
        width: Width of the patch relative to the image, in (0, 1].
    """
    columns = max(1, round(width * image.shape[1]))
    return image[:, :columns] if part == "left" else image[:, -columns:]


def region(image: Image, *, top: Place, left: Place, height: Share, width: Share) -> Image:
    """Cut a fixed rectangle given in fractions of the image, at least one pixel of it.

    Args:
        image: (H, W).
        top: Upper edge, 0 .. 1 of H.
        left: Left edge, 0 .. 1 of W.
        height: Height of the rectangle, 0 .. 1 of H.
        width: Width of the rectangle, 0 .. 1 of W.
    """
    rows, columns = image.shape
    y, x = min(round(top * rows), rows - 1), min(round(left * columns), columns - 1)
    return image[y : y + max(1, round(height * rows)), x : x + max(1, round(width * columns))]


def resize(image: Image, *, height: Size, width: Size) -> Image:
    """Resize to (height, width): area averaging when it shrinks, bilinear when it grows."""
    if image.shape == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.float32)


def normalise(
    image: Image,
    *,
    mean: Annotated[float, Field(ge=-1000, le=1000)],
    std: Annotated[float, Field(ge=1e-3, le=1000)],
) -> Image:
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


def _parameters_of(step: Callable[..., Image]) -> type[BaseModel]:
    """A type that checks a step's parameters by its signature."""
    hints = typing.get_type_hints(step, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in list(inspect.signature(step).parameters.items())[1:]
    }
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(step.__name__, __config__=config, **fields)


_PARAMETERS: Final = {name: _parameters_of(step) for name, step in STEPS.items()}


class Step(BaseModel):
    """One line of a card or recipe: `{"step": NAME, ...parameters}`, known and within its bounds.

    Attributes:
        step: Name of the step, a key of `STEPS`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Parameter] = Field(init=False)

    step: str

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters that are stated; the others have their defaults."""
        return self.__pydantic_extra__

    @model_validator(mode="after")
    def _check(self) -> Step:
        if self.step not in STEPS:
            raise ValueError(f"unknown step {self.step[:40]!r}; known steps: {', '.join(STEPS)}")
        try:
            _PARAMETERS[self.step].model_validate(self.parameters)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(key)[:40] for key in first["loc"])
            raise ValueError(f"step {self.step!r}: {place}: {first['msg']}") from error
        values = {name: value for name, value in self.parameters.items() if isinstance(value, int | float)}
        if self.step == "percentile_range" and values["low"] >= values["high"]:
            raise ValueError("step 'percentile_range': low is not below high")
        rectangle = [values.get(name, 0.0) for name in ("top", "height", "left", "width")]
        if self.step == "region" and max(sum(rectangle[:2]), sum(rectangle[2:])) > 1 + _ROUNDING:
            raise ValueError("step 'region': the rectangle reaches beyond the image")
        return self

    def __call__(self, image: Image) -> Image:
        """Run the step: (H, W) -> (h, w)."""
        return STEPS[self.step](image, **self.parameters)


def parse(lines: Iterable[object]) -> tuple[Step, ...]:
    """Steps as a card or a recipe lists them.

    Args:
        lines: Each `{"step": NAME, ...parameters}`, or a `Step` already.

    Raises:
        BadBundle: Naming the step and what is wrong with it.
    """
    try:
        return tuple(Step.model_validate(line) for line in lines)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"{key}: " for key in first["loc"])
        raise BadBundle(f"a step: {place}{first['msg'].removeprefix('Value error, ')}") from error


def apply(image: Image, steps: Sequence[Step]) -> Image:
    """Run the steps in order.

    Args:
        image: (H, W) float32 in [0, 1], bone bright.
        steps: As in a card.

    Returns:
        (h, w) float32, C-contiguous.
    """
    for step in steps:
        image = step(image)
    return np.ascontiguousarray(image, dtype=np.float32)


def output_size(steps: Sequence[Step]) -> tuple[int, int]:
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
