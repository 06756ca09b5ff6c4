"""What every objective can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from kellgren.vocabulary import MISSING


class Objective(Protocol):
    """What a head is asked for."""

    @property
    def linear(self) -> bool:
        """Whether class logits are the raw outputs themselves, so that maps of these are maps of those."""

    def outputs(self, classes: int) -> int:
        """Number of outputs that a head of so many classes has."""

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """Mean loss over the knees that were read; zero, with zero gradient, where none was.

        Args:
            raw: (N, outputs).
            grades: (N,) int64, `MISSING` where not read.
        """

    def logits(self, raw: Tensor) -> Tensor:
        """(N, outputs) -> (N, classes), whose softmax are the probabilities of the classes."""


def mean_over_read(losses: Tensor, grades: Tensor) -> Tensor:
    """Mean of (N,) losses over the knees that were read.

    Losses of the others must be finite; they count as nothing and get no gradient.
    """
    read = grades != MISSING
    return (losses * read).sum() / read.sum().clamp(min=1)


def readable(grades: Tensor) -> Tensor:
    """Grades that can index: missing ones become 0, whose loss `mean_over_read` leaves out."""
    return grades.clamp(min=0)
