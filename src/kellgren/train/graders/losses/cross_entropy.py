"""Cross entropy, with soft ordinal targets or label smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.train.graders.losses.objective import mean_over_read, readable


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """-sum_k q_k log p_k with p = softmax(raw).

    The target is q = (1 - smoothing) soft + smoothing / K: label smoothing as in Szegedy 2016, section 7.

    Attributes:
        spread: Of the soft ordinal target, see `soft_ordinal`; 0 is one-hot.
        smoothing: Share of the target that is spread evenly over all classes.
    """

    spread: float = 0.0
    smoothing: float = 0.0

    @property
    def linear(self) -> bool:
        """Logits are the raw outputs."""
        return True

    def outputs(self, classes: int) -> int:
        """One a class."""
        return classes

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        classes = raw.shape[1]
        target = soft_ordinal(readable(grades), classes, self.spread)
        target = (1 - self.smoothing) * target + self.smoothing / classes
        losses = -(target * F.log_softmax(raw.float(), dim=1)).sum(dim=1)
        return mean_over_read(losses, grades)

    def logits(self, raw: Tensor) -> Tensor:
        """The same."""
        return raw


def soft_ordinal(grades: Tensor, classes: int, spread: float) -> Tensor:
    """Soft targets that spread over neighbouring grades.

    q_k proportional to exp(-(k - y)^2 / (2 spread^2)): the soft labels of Diaz & Marathe (CVPR 2019,
    eq. 4) with squared distance. With spread 0.5 the neighbours of y get 0.11 each.

    Args:
        grades: (N,) int64 in 0 .. classes-1.
        classes: Number of grades, C.
        spread: Standard deviation in grades; 0 gives one-hot targets.

    Returns:
        (N, C) float32, rows sum to 1.
    """
    if spread == 0:
        return F.one_hot(grades, classes).float()
    k = torch.arange(classes, device=grades.device)
    distance = (k[None, :] - grades[:, None]).float()
    return torch.softmax(-(distance**2) / (2 * spread**2), dim=1)
