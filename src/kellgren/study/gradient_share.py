"""How much of the loss's gradient each grade has: Table 2 of the dual-stream paper, stated and measured.

The paper gives no formula. Its shares of KL 0 to 3 (19.5 : 18.0 : 12.8 : 6.5) stand in the proportions of
image count times alpha, n_k alpha_k; its share of KL 4, 37.2 %, fits an alpha of 3.33 instead of the 0.333 of
the same table, and its column adds up to 94 %. It is shown beside what a trained network's answers give.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from kellgren.study.records import GradientShare, number
from kellgren.train.graders.recipe import Loss
from kellgren.vocabulary import FloatArray, IntArray

PRINTED: Final[dict[str, tuple[float | None, ...]]] = {
    "images": (0.3941, 0.1809, 0.2634, 0.1314, 0.0302),
    "alpha": (0.133, 0.267, 0.133, 0.133, 0.333),
    "share": (0.195, 0.180, 0.128, 0.065, 0.372),
}
"""Huong et al., Table 2: all 9,786 images, the knees of `auto_test` counted twice."""


def focal_gradient(probabilities: FloatArray, truth: IntArray, alpha: FloatArray, gamma: float) -> FloatArray:
    """Length of the gradient of each knee's focal loss with respect to its logits, in the sum norm.

    With p the probability of the read grade t, L = -alpha_t (1 - p)^gamma log p, so

        dL/dp = alpha_t [gamma (1 - p)^(gamma - 1) log p - (1 - p)^gamma / p],   dp/dz_j = p ([j = t] - p_j),

    and the sum over j of |dL/dz_j| is |dL/dp| 2 p (1 - p).

    Args:
        probabilities: (N, C), rows sum to 1.
        truth: (N,) read grades.
        alpha: (C,) weights of the grades.
        gamma: Focusing parameter; 0 is cross-entropy.

    Returns:
        (N,), not negative.
    """
    p = np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, 1.0 - 1e-12)
    slope = (1 - p) ** gamma / p
    if gamma:
        slope = slope - gamma * (1 - p) ** (gamma - 1) * np.log(p)
    return np.asarray(alpha[truth] * slope * 2 * p * (1 - p))


def shares(
    train_counts: IntArray, alpha: FloatArray, gamma: float, probabilities: FloatArray, truth: IntArray
) -> dict[str, list[float]]:
    """Shares of each grade, each list summing to 1.

    Args:
        train_counts: (C,) training knees of each grade.
        alpha: (C,) weights of the loss.
        gamma: Its focusing parameter.
        probabilities: (N, C) of a trained network, on knees that it did not learn from.
        truth: (N,) their readings.

    Returns:
        `images`; `start`: of a network that answers every knee alike, which is by count times alpha;
        `trained`: mean gradient of each grade's knees times its training count; `trained_cross_entropy`: the
        same network if the loss were plain cross-entropy.
    """
    grades = range(len(train_counts))

    def trained(weights: FloatArray, focus: float) -> FloatArray:
        length = focal_gradient(probabilities, truth, weights, focus)
        mean = np.array([length[truth == k].mean() if (truth == k).any() else np.nan for k in grades])
        return mean * train_counts

    found = {
        "images": train_counts.astype(np.float64),
        "start": train_counts * alpha,
        "trained": trained(alpha, gamma),
        "trained_cross_entropy": trained(np.ones(len(train_counts)), 0.0),
    }
    return {name: (values / np.nansum(values)).tolist() for name, values in found.items()}


def table(
    row: str, loss: Loss, train_counts: IntArray, probabilities: FloatArray, truth: IntArray
) -> GradientShare:
    """The table of one row of a plan.

    Args:
        row: Name of the row.
        loss: The KL loss of its recipe.
        train_counts: See `shares`.
        probabilities: See `shares`.
        truth: See `shares`; knees that were not read are left out.
    """
    read = truth >= 0
    focal = loss.kind == "focal"
    alpha = np.array(loss.alpha if focal and loss.alpha else [1.0] * len(train_counts))
    gamma = loss.gamma if focal else 0.0
    measured = shares(train_counts, alpha, gamma, probabilities[read], truth[read])
    return GradientShare(
        row=row,
        alpha=tuple(alpha.tolist()),
        gamma=gamma,
        n=int(read.sum()),
        shares={name: tuple(map(number, values)) for name, values in measured.items()},
        printed=dict(PRINTED),
    )
