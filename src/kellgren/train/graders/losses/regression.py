"""Antony's joint loss: the grade as a class and as a number."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from kellgren.train.graders.losses.objective import mean_over_read, readable


@dataclass(frozen=True, slots=True)
class CrossEntropyMse:
    """L = CE(softmax(raw[:K]), y) + share (raw[K] - y)^2 (Antony 2017, section 3.2: "multi-objective").

    Attributes:
        share: Weight of the squared error against cross entropy. The paper says "weighted ratio" and prints
            none; 1 is ours.
    """

    share: float = 1.0

    @property
    def linear(self) -> bool:
        """There is an output more than classes."""
        return False

    def outputs(self, classes: int) -> int:
        """One a class, and the number."""
        return classes + 1

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        values, read = raw.float(), readable(grades)
        classes = F.cross_entropy(values[:, :-1], read, reduction="none")
        number = (values[:, -1] - read) ** 2
        return mean_over_read(classes + self.share * number, grades)

    def logits(self, raw: Tensor) -> Tensor:
        """Those of the classes; the number is an aid in training, as in the paper's table of accuracies."""
        return raw[:, :-1]
