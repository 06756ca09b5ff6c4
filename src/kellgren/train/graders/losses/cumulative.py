"""CORAL and CORN: K - 1 questions "is the grade above k?" instead of K classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.train.graders.losses.objective import mean_over_read, readable
from kellgren.vocabulary import MISSING

_LEAST = 1e-6  # of a probability, so that its logarithm is finite


@dataclass(frozen=True, slots=True)
class Coral:
    """Consistent rank logits (Cao, Mirjalili & Raschka, Pattern Recognit Lett 2020;140:325, eq. 4).

    L = -sum_k [ log sigma(z_k) 1{y > k} + log(1 - sigma(z_k)) 1{y <= k} ], z_k = w x + b_k with one w for all
    thresholds, which is what keeps P(y > k) falling in k (`networks.heads.RankHead`).
    """

    @property
    def linear(self) -> bool:
        """Classes are differences of sigmoids."""
        return False

    def outputs(self, classes: int) -> int:
        """One a threshold."""
        return classes - 1

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        z = raw.float()
        above = (readable(grades)[:, None] > torch.arange(z.shape[1], device=z.device)).float()
        losses = -(F.logsigmoid(z) * above + F.logsigmoid(-z) * (1 - above)).sum(dim=1)
        return mean_over_read(losses, grades)

    def logits(self, raw: Tensor) -> Tensor:
        """Log P(y = k) = log [ P(y > k-1) - P(y > k) ].

        Where the thresholds' order is broken a difference is negative; it counts as the least probability.
        """
        return _log_classes(torch.sigmoid(raw.float()))


@dataclass(frozen=True, slots=True)
class Corn:
    """Conditional ordinal regression (Shi, Cao & Raschka, Pattern Anal Appl 2023;26:941, eq. 6).

    Each output is conditional, f_k = P(y > k | y > k-1), and learned on the knees with y > k-1 alone. The
    mean is over all answers to questions that arise, as published.
    """

    @property
    def linear(self) -> bool:
        """Classes are products of sigmoids."""
        return False

    def outputs(self, classes: int) -> int:
        """One a threshold."""
        return classes - 1

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`; the mean is over the questions that arise."""
        z = raw.float()
        k = torch.arange(z.shape[1], device=z.device)
        asked = (grades[:, None] >= k) & (grades != MISSING)[:, None]  # y > k-1
        above = (grades[:, None] > k).float()
        losses = -(F.logsigmoid(z) * above + F.logsigmoid(-z) * (1 - above))
        return (losses * asked).sum() / asked.sum().clamp(min=1)

    def logits(self, raw: Tensor) -> Tensor:
        """Log P(y = k), by the chain rule P(y > k) = f_0 ... f_k: falling in k whatever the outputs are."""
        return _log_classes(torch.cumprod(torch.sigmoid(raw.float()), dim=1))


def _log_classes(above: Tensor) -> Tensor:
    """(N, K-1) P(y > k) -> (N, K) log P(y = k), normalised."""
    one = torch.ones_like(above[:, :1])
    edges = torch.cat([one, above, one - 1], dim=1)
    return (edges[:, :-1] - edges[:, 1:]).clamp(min=_LEAST).log().log_softmax(dim=1)
