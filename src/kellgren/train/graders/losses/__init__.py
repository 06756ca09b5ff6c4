"""What a head is asked for, one file an idea: the number of its outputs, their loss, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from kellgren.errors import BadRecipe, nearest
from kellgren.train.graders.losses.cross_entropy import CrossEntropy, soft_ordinal
from kellgren.train.graders.losses.cumulative import Coral, Corn
from kellgren.train.graders.losses.focal import Focal
from kellgren.train.graders.losses.objective import Objective
from kellgren.train.graders.losses.ordinal_matrix import CHEN, OrdinalMatrix
from kellgren.train.graders.losses.regression import CrossEntropyMse
from kellgren.train.graders.recipe import Loss, Recipe
from kellgren.vocabulary import MISSING

__all__ = [
    "CHEN",
    "KINDS",
    "Coral",
    "Corn",
    "CrossEntropy",
    "CrossEntropyMse",
    "Focal",
    "Objective",
    "OrdinalMatrix",
    "auxiliary_grades",
    "build",
    "multi_task",
    "soft_ordinal",
]

KINDS: Final[dict[str, Callable[[Loss, int], Objective]]] = {
    "cross_entropy": lambda loss, classes: CrossEntropy(loss.spread if classes > 2 else 0.0, loss.smoothing),
    "focal": lambda loss, classes: Focal(classes, loss.gamma, loss.alpha),
    "ordinal_matrix": lambda loss, classes: OrdinalMatrix(classes, loss.matrix),
    "coral": lambda loss, classes: Coral(),
    "corn": lambda loss, classes: Corn(),
    "cross_entropy_mse": lambda loss, classes: CrossEntropyMse(loss.share),
}
"""Every objective by the name that a recipe uses; built from a recipe's `Loss` and the number of classes."""


def build(loss: Loss, classes: int) -> Objective:
    """The objective of a head.

    Args:
        loss: What the recipe says.
        classes: Number of grades. Tasks of two classes have no neighbours: `spread` is 0 for them.

    Raises:
        BadRecipe: Unknown kind, or settings that do not fit the number of classes.
    """
    if loss.kind not in KINDS:
        raise BadRecipe(f"loss.kind: unknown loss {loss.kind!r}", remedy=nearest(loss.kind, KINDS))
    return KINDS[loss.kind](loss, classes)


def multi_task(raw: Mapping[str, Tensor], grades: Mapping[str, Tensor], recipe: Recipe) -> Tensor:
    """Weighted sum over tasks and auxiliary questions; readings that are missing count in none.

    L = sum_t w_t L_t: the papers' sum of the tasks' losses, with weights.

    Args:
        raw: Head outputs by task and auxiliary name, (N, outputs).
        grades: By task, (N,) int64, `MISSING` where not read.
        recipe: Weights and losses.

    Returns:
        Scalar.
    """
    losses = [
        weight * build(recipe.loss_of(task), recipe.classes_of(task)).loss(raw[task], grades[task])
        for task, weight in recipe.tasks.items()
    ]
    for name, question in recipe.auxiliary.items():
        asked = auxiliary_grades(grades[question.of], question.classes)
        objective = build(question.loss, recipe.classes_of(name))
        losses.append(question.weight * objective.loss(raw[name], asked))
    return torch.stack(losses).sum()


def auxiliary_grades(grades: Tensor, classes: Mapping[int, int]) -> Tensor:
    """What an auxiliary question's answer is, `MISSING` where it is not asked (label masking).

    Args:
        grades: (N,) int64 readings of the task that it is about.
        classes: The class of each reading that counts.
    """
    answers = torch.full_like(grades, MISSING)
    for grade, answer in classes.items():
        answers = torch.where(grades == grade, torch.full_like(grades, answer), answers)
    return answers
