"""Chen's ordinal loss: the further an answer is from the reading, the more its probability costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.errors import BadRecipe
from kellgren.train.graders.losses.objective import mean_over_read, readable

CHEN: Final = (
    (1.0, 3.0, 5.0, 7.0, 9.0),
    (3.0, 1.0, 3.0, 5.0, 7.0),
    (5.0, 3.0, 1.0, 3.0, 5.0),
    (7.0, 5.0, 3.0, 1.0, 3.0),
    (9.0, 7.0, 5.0, 3.0, 1.0),
)
"""The ordinal matrix that Chen 2019 found best for KL: row the reading, column the answer."""


@dataclass(frozen=True, slots=True)
class OrdinalMatrix:
    """L = sum_j (w_yj p_j)^2 with w = matrix + 1, and 0 on the diagonal, p = softmax(raw).

    Chen et al., Comput Med Imaging Graph 2019;75:84, in the form in which their code trains it (repository
    GradingKneeOA, weighted_loss): the probabilities times the costs, squared and summed, mean over knees.

    Attributes:
        classes: Number of classes.
        matrix: A row a reading; none given means `CHEN`'s rule, 1 + 2 |y - j|, for any number of classes.

    Raises:
        BadRecipe: If the matrix is not classes x classes.
    """

    classes: int
    matrix: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.matrix and {len(self.matrix), *map(len, self.matrix)} != {self.classes}:
            raise BadRecipe(f"loss.matrix is not {self.classes} x {self.classes}")

    @property
    def linear(self) -> bool:
        """Logits are the raw outputs."""
        return True

    def outputs(self, classes: int) -> int:
        """One a class."""
        return classes

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        cost = self._costs(raw.device)[readable(grades)]
        p = F.softmax(raw.float(), dim=1)
        return mean_over_read(((cost * p) ** 2).sum(dim=1), grades)

    def logits(self, raw: Tensor) -> Tensor:
        """The same."""
        return raw

    def _costs(self, device: torch.device) -> Tensor:
        """(K, K): what each answer costs for each reading."""
        k = torch.arange(self.classes, device=device)
        if self.matrix:
            penalty = torch.tensor(self.matrix, device=device)
        else:
            penalty = 1.0 + 2.0 * (k[:, None] - k[None, :]).abs()
        return (penalty + 1.0).fill_diagonal_(0.0)
