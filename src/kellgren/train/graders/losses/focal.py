"""Weighted focal loss: knees that are graded well already count little."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.errors import BadRecipe
from kellgren.train.graders.losses.objective import mean_over_read, readable


@dataclass(frozen=True, slots=True)
class Focal:
    """L = -alpha_y (1 - p_y)^gamma log p_y (Lin 2017, eq. 5; dual-stream ResNet-18, section 2.3 b).

    Attributes:
        classes: Number of classes.
        gamma: 0 is weighted cross entropy; the dual-stream paper chose 2.
        alpha: Weight of each class; none given means 1 each.

    Raises:
        BadRecipe: If there are weights, but not one a class.
    """

    classes: int
    gamma: float = 2.0
    alpha: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.alpha and len(self.alpha) != self.classes:
            raise BadRecipe(f"loss.alpha has {len(self.alpha)} weights for {self.classes} classes")

    @property
    def linear(self) -> bool:
        """Logits are the raw outputs."""
        return True

    def outputs(self, classes: int) -> int:
        """One a class."""
        return classes

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`. The mean is over knees, not over weights, as in the papers."""
        read = readable(grades)
        log_p = F.log_softmax(raw.float(), dim=1).gather(1, read[:, None])[:, 0]
        # 1 - p as expm1: for p next to 1 the difference would lose all its digits, and its root's slope is
        # infinite at 0 where gamma is below 1
        miss = (-torch.expm1(log_p)).clamp(min=1e-12)
        weight = torch.tensor(self.alpha or (1.0,) * self.classes, device=raw.device)[read]
        return mean_over_read(-weight * miss**self.gamma * log_p, grades)

    def logits(self, raw: Tensor) -> Tensor:
        """The same."""
        return raw
