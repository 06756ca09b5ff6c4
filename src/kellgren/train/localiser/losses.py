"""The cascade's loss, eq. (1) of Wang et al. 2021: detection, box and key points, weighted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kellgren.train.localiser.recipe import Weights


def cascade(
    answers: tuple[Tensor, ...], truth: tuple[Tensor, Tensor, Tensor], weights: Weights, *, hardest: float
) -> Tensor:
    """Weighted sum of cross entropy and two Euclidean losses.

    Args:
        answers: `knee` (N,) logits, `box` (N, 4), and from level 2 `points` (N, 6, 2).
        truth: The same of the samples; NaN where nothing is known.
        weights: The alphas.
        hardest: Share of the samples, the worst answered, whose cross entropy counts (MTCNN's online
            hard sample mining keeps 0.7).

    Returns:
        Scalar. The Euclidean losses are means over the samples of squared distances summed over the
        coordinates, as in MTCNN's eq. (2) and (3).
    """
    knee, box = answers[0], answers[1]
    said = ~torch.isnan(truth[0])
    each = F.binary_cross_entropy_with_logits(knee[said], truth[0][said], reduction="none")
    kept = torch.topk(each, max(1, int(hardest * len(each)))).values if len(each) else each.sum()[None]
    loss = weights.knee * kept.mean() + weights.box * _euclidean(box, truth[1])
    if weights.points:
        loss = loss + weights.points * _euclidean(answers[2].flatten(1), truth[2].flatten(1))
    return loss


def _euclidean(answers: Tensor, truth: Tensor) -> Tensor:
    """Mean over samples with known truth of the squared distance; 0 where there is none."""
    known = ~torch.isnan(truth).any(dim=1)
    if not bool(known.any()):
        return answers.sum() * 0
    return (answers[known] - truth[known]).square().sum(dim=1).mean()
