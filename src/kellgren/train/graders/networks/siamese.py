"""What Siamese networks share: one backbone for both halves of the joint, and ways to join their features.

    left patch  (N, C, h, w)  --- backbone --- mean over positions --- f_left  (N, D) --+
                                 (the same)                                             +-- fusion -- heads
    right patch, mirrored     --- backbone --- mean over positions --- f_right (N, D) --+

Mirroring the right patch, a step of its view, turns both joint margins to the same border of the patch, so
that one set of weights can read either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train.graders.networks.heads import Explained, KneeNet, Outputs, heads_of, maps_of
from kellgren.train.graders.recipe import Recipe


class Fusion(nn.Module, ABC):
    """How the features of both patches become one vector f: the sum of what each side contributes.

    Attributes:
        width: Length of f.
    """

    width: int

    @abstractmethod
    def contributions(
        self, pooled: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What each side contributes to f, linear in its features.

        Args:
            pooled: f_left and f_right, (N, D), which open gates where there are any.
            features: The same for f itself, or feature maps (N, D, h, w) for the maps of its parts.

        Returns:
            For left and right, (N, width) or (N, width, h, w).
        """


class Concatenation(Fusion):
    """f = f_left ++ f_right: each side has its own half of f (Tiulpin 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = 2 * width

    def contributions(
        self, pooled: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Zeros in the other side's half."""
        left, right = features
        nothing = torch.zeros_like(left)
        return torch.cat([left, nothing], dim=1), torch.cat([nothing, right], dim=1)


class Mean(Fusion):
    """f = (f_left + f_right) / 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def contributions(
        self, pooled: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """One half of each."""
        left, right = features
        return left / 2, right / 2


class SiameseNet(KneeNet):
    """One branch for two patches, a fusion, dropout and a linear head per task.

    Args:
        recipe: Gives tasks, auxiliary questions and dropout; has two views: left patch, mirrored right patch.
        branch: Maps (N, C, h, w) to (N, D, h', w'); both patches pass through it.
        fusion: Of what the two passes find.
    """

    def __init__(self, recipe: Recipe, branch: nn.Module, fusion: Fusion) -> None:
        super().__init__()
        if len(recipe.views) != 2:
            raise BadRecipe(
                f"{recipe.network.kind} looks at two views, the recipe has {len(recipe.views)}",
                remedy="give the left patch and the mirrored right patch",
            )
        self.tasks = tuple(recipe.tasks)
        self.branch = branch
        self.fusion = fusion
        self.dropout = nn.Dropout(recipe.network.dropout)
        self.heads = heads_of(recipe, fusion.width)

    @property
    def backbones(self) -> tuple[nn.Module, ...]:
        """The one branch that both patches share."""
        return (self.branch,)

    def forward(self, *views: Tensor) -> Outputs:
        """Raw outputs, (N, outputs) a task, of the left patch and the mirrored right one, (N, C, h, w) each.

        Every head has its own dropout: "inserted before each FC layer" (Wang 2021).
        """
        pooled = self._pooled(*self._features(*views))
        left, right = self.fusion.contributions(pooled, pooled)
        return {name: head(self.dropout(left + right)) for name, head in self.heads.items()}

    def explain(self, *views: Tensor) -> Explained:
        """Raw outputs; maps (N, outputs, h', 2 w') with the right half turned back; f (N, width)."""
        features = self._features(*views)
        pooled = self._pooled(*features)
        left, right = self.fusion.contributions(pooled, pooled)
        fused = left + right
        outputs = {task: self.heads[task](fused) for task in self.tasks}
        left_map, right_map = self.fusion.contributions(pooled, features)
        # The mean over both halves is half the sum of their means, hence the factor.
        side_by_side = 2 * torch.cat([left_map, right_map.flip(3)], dim=3)
        return outputs, maps_of(self, side_by_side), fused

    def _features(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        left, right = views
        return self.branch(left), self.branch(right)

    @staticmethod
    def _pooled(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left.mean(dim=(2, 3)), right.mean(dim=(2, 3))
