"""The steps that follow augmentation, on batches of tensors: bit for bit what `kellgren.model.steps` does.

Training must finish thousands of augmented images on the device that the network computes on; grading runs
`kellgren.model.steps` on one image at a time. Each function here is the step of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

from torch import Tensor

from kellgren.model.steps import Step


def region(images: Tensor, *, top: float, left: float, height: float, width: float) -> Tensor:
    """Cut a fixed rectangle given in fractions of the image; see `kellgren.model.steps.region`."""
    rows, columns = images.shape[-2:]
    y, x = min(round(top * rows), rows - 1), min(round(left * columns), columns - 1)
    return images[..., y : y + max(1, round(height * rows)), x : x + max(1, round(width * columns))]


def patch(images: Tensor, *, part: Literal["left", "right"], width: float = 0.5) -> Tensor:
    """Cut the left or right part at full height; see `kellgren.model.steps.patch`."""
    columns = max(1, round(width * images.shape[-1]))
    return images[..., :columns] if part == "left" else images[..., -columns:]


def mirror(images: Tensor) -> Tensor:
    """Flip left to right."""
    return images.flip(-1)


def normalise(images: Tensor, *, mean: float, std: float) -> Tensor:
    """(x - mean) / std."""
    # tensors on both sides: dividing by a Python number may multiply by its rounded inverse
    return (images - images.new_tensor(mean)) / images.new_tensor(std)


STEPS: Final[dict[str, Callable[..., Tensor]]] = {
    step.__name__: step for step in (region, patch, mirror, normalise)
}
"""The same names as in `kellgren.train.graders.recipe.FINISHING`."""


def apply(images: Tensor, steps: Sequence[Step], *, channels: int = 1) -> Tensor:
    """Run the steps in order.

    Args:
        images: (N, 1, H, W) float32 in [0, 1], bone bright.
        steps: `View.finish`.
        channels: How many equal channels come out: 1 or 3.

    Returns:
        (N, channels, h, w) float32; a view of `images` where nothing had to be computed.
    """
    for step in steps:
        images = STEPS[step.step](images, **step.parameters)
    return images.expand(-1, channels, -1, -1) if channels > 1 else images
