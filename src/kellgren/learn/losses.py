"""Targets and losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.vocabulary import MISSING


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


def masked_cross_entropy(logits: Tensor, grades: Tensor, spread: float) -> Tensor:
    """Mean cross entropy against `soft_ordinal` targets over the knees that were read.

    Args:
        logits: (N, C).
        grades: (N,) int64, `MISSING` (-1) where not read.
        spread: See `soft_ordinal`.

    Returns:
        Scalar; zero (with zero gradient) when nothing was read.
    """
    read = grades != MISSING
    target = soft_ordinal(grades.clamp(min=0), logits.shape[1], spread)
    loss = -(target * F.log_softmax(logits.float(), dim=1)).sum(dim=1)
    return (loss * read).sum() / read.sum().clamp(min=1)


def multi_task(
    logits: Mapping[str, Tensor], grades: Mapping[str, Tensor], weights: Mapping[str, float], spread: float
) -> Tensor:
    """Weighted sum over tasks of `masked_cross_entropy`; two-class tasks get one-hot targets.

    Args:
        logits: By task, (N, C_task).
        grades: By task, (N,) int64.
        weights: By task.
        spread: For tasks of more than two grades.
    """
    losses = [
        weight
        * masked_cross_entropy(logits[task], grades[task], spread if logits[task].shape[1] > 2 else 0.0)
        for task, weight in weights.items()
    ]
    return torch.stack(losses).sum()
