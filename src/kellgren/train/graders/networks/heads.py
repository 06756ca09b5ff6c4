"""What every network has: heads by task, and what it can say about its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from kellgren.train.graders import losses
from kellgren.train.graders.recipe import Recipe

Outputs = dict[str, Tensor]
"""Raw head outputs by task, each (N, outputs)."""

Explained = tuple[dict[str, Tensor], dict[str, Tensor], Tensor]
"""Raw outputs (N, outputs) and maps (N, outputs, h, w) by task, and the embedding (N, D)."""


class KneeNet(nn.Module, ABC):
    """A network for knees.

    Attributes:
        tasks: What is graded, in the recipe's order; the heads of auxiliary questions are not among it.
        heads: By task and by name of auxiliary question.
    """

    tasks: tuple[str, ...]
    heads: nn.ModuleDict

    @property
    @abstractmethod
    def backbones(self) -> tuple[nn.Module, ...]:
        """The parts that start from initial weights; all else is head: fusions, gates and attention too."""

    @abstractmethod
    def forward(self, *views: Tensor) -> Outputs:
        """Raw outputs of all heads, auxiliary ones included.

        Args:
            views: The recipe's views in order, each (N, C, h, w).
        """

    @abstractmethod
    def explain(self, *views: Tensor) -> Explained:
        """Raw outputs of the tasks' heads, their maps, and the embedding.

        The mean of a task's map over positions is its raw output: exactly, given the gates that the knee
        itself opened. A network that is not linear after its last feature map has no maps, `{}`.
        """


class RankHead(nn.Module):
    """Head of CORAL (Cao 2020, section 3.3): one weight vector, a bias for each threshold.

    The shared weights keep P(grade > 0) >= P(grade > 1) >= ... whenever the biases are ordered.
    """

    def __init__(self, width: int, thresholds: int) -> None:
        super().__init__()
        self.shared = nn.Linear(width, 1, bias=False)
        self.bias = nn.Parameter(torch.arange(thresholds, 0, -1, dtype=torch.float32) / thresholds - 0.5)

    @property
    def weight(self) -> Tensor:
        """(thresholds, D): the shared weights in every row."""
        weight: Tensor = self.shared.weight.expand(len(self.bias), -1)
        return weight

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, thresholds)."""
        thresholds: Tensor = self.shared(features) + self.bias
        return thresholds


def heads_of(recipe: Recipe, width: int) -> nn.ModuleDict:
    """One linear head for each task and auxiliary question of a recipe, on features of (N, width)."""
    heads: dict[str, nn.Module] = {}
    for name in (*recipe.tasks, *recipe.auxiliary):
        loss, classes = recipe.loss_of(name), recipe.classes_of(name)
        outputs = losses.build(loss, classes).outputs(classes)
        heads[name] = RankHead(width, outputs) if loss.kind == "coral" else nn.Linear(width, outputs)
    return nn.ModuleDict(heads)


def maps_of(net: KneeNet, features: Tensor) -> dict[str, Tensor]:
    """Class activation maps (Zhou 2016): each task's head applied at every position.

    For y = W mean(features) + b, map = W features + b has the mean y: exact, nothing approximated.

    Args:
        net: Its heads are linear.
        features: (N, D, h, w).

    Returns:
        By task, (N, outputs, h, w).
    """
    maps = {}
    for task in net.tasks:
        head = net.heads[task]
        assert isinstance(head, nn.Linear | RankHead)  # noqa: S101 - for the type checker; see heads_of
        maps[task] = nn.functional.conv2d(features, head.weight[:, :, None, None], head.bias)
    return maps
