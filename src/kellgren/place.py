"""Where on its crop each input of a network lies, and the maps with it.

Inputs are cut from the crop by steps: a band across the joint, its left and its mirrored right half, the
square where the picture is dense. A map that is to be read on the crop must go back the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.bundle import Card
from kellgren.errors import BadBundle
from kellgren.steps import STEPS, Image, StepSpec, density_square, mirror

_CUTS: Final = ("patch", "region")


@dataclass(frozen=True, slots=True)
class Place:
    """The rectangle of a crop that an input shows.

    Attributes:
        left: Edge, pixels of the crop from its left border.
        top: Edge, pixels from its upper border.
        right: Edge, beyond `left`.
        bottom: Edge, beyond `top`.
        turned: Whether the input's own steps mirror it.
    """

    left: float
    top: float
    right: float
    bottom: float
    turned: bool

    def holds(self, other: Place) -> bool:
        """Whether the middle of the other place lies in this one."""
        x, y = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left < x < self.right and self.top < y < self.bottom


def trace(image: Image, specs: Sequence[StepSpec]) -> Place:
    """What remains of an image behind its steps.

    Args:
        image: (H, W) float32 in [0, 1]; `density_crop` asks its brightness.
        specs: As in a card.
    """
    left, top, (bottom, right) = 0.0, 0.0, map(float, image.shape)
    turned = False
    for spec in specs:
        name, (height, width) = spec["step"], image.shape
        if name == "mirror":
            turned = not turned
        cut = None
        if name == "density_crop":
            y, x, side = density_square(image, share=spec["share"])
            cut = (y, x, side, side)
        elif name in _CUTS:
            index = np.arange(height * width).reshape(height, width)
            kept = STEPS[name](index, **{key: value for key, value in spec.items() if key != "step"})
            cut = (*divmod(int(kept[0, 0]), width), *kept.shape)
        if cut is not None:
            y, x, rows, columns = cut
            x = width - x - columns if turned else x
            across, down = (right - left) / width, (bottom - top) / height
            left, top = left + x * across, top + y * down
            right, bottom = left + columns * across, top + rows * down
        image = STEPS[name](image, **{key: value for key, value in spec.items() if key != "step"})
    return Place(left, top, right, bottom, turned)


def places(card: Card, image: Image, *, mirrored: bool) -> tuple[Place, ...]:
    """Where the inputs of a bundle lie on a crop.

    Args:
        card: The bundle's.
        image: (H, W) the crop in its own orientation, float32 in [0, 1].
        mirrored: Whether the side convention mirrors the crop before the steps.

    Returns:
        One place an input, in pixels of the crop in its own orientation.
    """
    width = image.shape[1]
    seen = mirror(image) if mirrored else image
    found = [trace(seen, entry.steps) for entry in card.inputs]
    if mirrored:
        found = [Place(width - p.right, p.top, width - p.left, p.bottom, p.turned) for p in found]
    return tuple(found)


def parts(inputs: Sequence[Place]) -> tuple[int, ...]:
    """Which inputs the maps are made of, from the crop's left to its right.

    Inputs that show one place (a crop and its CLAHE twin) have one map together, in the frame of the first.
    Those of different places (both halves of a joint) have theirs side by side, each turned upright: see
    `kellgren.learn.networks.siamese`.

    Args:
        inputs: As `places` gives them.

    Returns:
        Indices of inputs: the first alone, or all.
    """
    if all(inputs[0].holds(other) for other in inputs):
        return (0,)
    return tuple(sorted(range(len(inputs)), key=lambda i: inputs[i].left + inputs[i].right))


def spread(maps: npt.NDArray[np.float32], inputs: Sequence[Place], shape: tuple[int, int]) -> Image:
    """Lay maps on the crop that they are of.

    Every cell of a map stands for an equal part of its input, as Grad-CAM is drawn everywhere. That is right
    to about half a cell for padded networks; without padding the outer cells look further inward.

    Args:
        maps: (C, h, w) in the crop's own orientation, as `kellgren.predict.Prediction` has them.
        inputs: As `places` gives them.
        shape: (H, W) of the crop.

    Returns:
        (C, H, W) float32, nan where the network sees nothing of the crop.

    Raises:
        BadBundle: If the inputs show different places, and the maps cannot be theirs side by side.
    """
    chosen = [inputs[i] for i in parts(inputs)]
    if maps.shape[2] % len(chosen):
        raise BadBundle(f"maps of {maps.shape[2]} columns are not {len(chosen)} inputs' side by side")
    total = np.zeros((len(maps), *shape), np.float32)
    count = np.zeros(shape, np.float32)
    for place, piece in zip(chosen, np.split(maps, len(chosen), axis=2), strict=True):
        # maps of several places were turned upright by the network; that of one is as its input shows it
        upright = piece[..., ::-1] if place.turned and len(chosen) == 1 else piece
        x0, x1, y0, y1 = (round(edge) for edge in (place.left, place.right, place.top, place.bottom))
        total[:, y0:y1, x0:x1] += _enlarged(upright, (y1 - y0, x1 - x0))
        count[y0:y1, x0:x1] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.float32(np.nan))


def shown(tensors: Sequence[Image], inputs: Sequence[Place]) -> Image:
    """What the network sees of a crop in one picture, in the frame of its maps.

    Args:
        tensors: (h, w) of each input.
        inputs: As `places` gives them.

    Returns:
        (h, w'): the first input, or those of different places side by side, upright.
    """
    chosen = parts(inputs)
    if len(chosen) == 1:
        return tensors[0]
    return np.concatenate([mirror(tensors[i]) if inputs[i].turned else tensors[i] for i in chosen], axis=1)


def _enlarged(maps: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    height, width = shape
    large = [
        cv2.resize(np.ascontiguousarray(m), (width, height), interpolation=cv2.INTER_CUBIC) for m in maps
    ]
    return np.stack(large).astype(np.float32)
