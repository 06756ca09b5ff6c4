"""ROC curves of KL, each grade against the others, and their mean (OA-MEN 2024). Needs the study extra."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import MissingExtra
from kellgren.evaluate.discrimination import auc_per_grade
from kellgren.vocabulary import FloatArray, IntArray

try:
    from matplotlib.axes import Axes
except ImportError as error:
    raise MissingExtra("study", "drawing figures") from error


_COLOURS: Final = ("#2f6da3", "#b5533c", "#4f8a5b", "#8a6bb0", "#c29a3a")
_GREY: Final = "#9aa5b1"


def curve(scores: FloatArray, positive: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """One ROC curve, whose area by trapezia is the AUC: knees of equal score make one slanted step.

    Args:
        scores: (N,) larger for positive.
        positive: (N,) with both kinds.

    Returns:
        False and true positive rate, (K,) each, from 0 to 1.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.diff(scores[order]) != 0, True]
    hits, alarms = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    return np.r_[0.0, alarms / alarms[-1]], np.r_[0.0, hits / hits[-1]]


def draw_roc(axes: Axes, probabilities: FloatArray, truth: IntArray) -> None:
    """Draw each grade against the others, and the mean of the curves at equal false positive rate.

    Args:
        axes: Where; labels have the AUC, the mean's the mean AUC.
        probabilities: (N, C).
        truth: (N,) read grades; one that no knee, or every knee, was read as has no curve.
    """
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
    areas = auc_per_grade(probabilities, truth)
    if np.isnan(areas).all():
        return
    grid = np.linspace(0, 1, 501)
    heights = []
    for grade in np.flatnonzero(~np.isnan(areas)):
        alarms, hits = curve(probabilities[:, grade], truth == grade)
        heights.append(np.interp(grid, alarms, hits))
        label = f"KL {grade}: {areas[grade]:.3f}"
        axes.plot(alarms, hits, color=_COLOURS[grade], linewidth=1.2, label=label)
    mean = np.r_[0.0, np.mean(heights, axis=0)]
    label = f"mean: {np.nanmean(areas):.3f}"
    axes.plot(np.r_[0.0, grid], mean, color="black", linewidth=1.4, linestyle="--", label=label)
