"""Figures of an evaluation: confusion matrices, reliability, ROC curves. Needs the study extra."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import MissingExtra
from kellgren.evaluate.discrimination import auc, auc_per_grade, roc_curve
from kellgren.evaluate.evaluation import Evaluation
from kellgren.grade.grader import Grader
from kellgren.vocabulary import TASKS, FloatArray, IntArray

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra("study", "drawing figures") from error

_BLUE, _GREY = "#2f6da3", "#9aa5b1"
_COLOURS: Final = (_BLUE, "#b5533c", "#4f8a5b", "#8a6bb0", "#c29a3a")


def draw(evaluation: Evaluation, grader: Grader, folder: Path) -> list[Path]:
    """Write `confusion.png`, `reliability.png` and `roc.png`.

    Args:
        evaluation: From `kellgren.evaluate.evaluation.evaluate`.
        grader: The model that was evaluated.
        folder: Where to; created.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [task for task, figures in evaluation.metrics.items() if isinstance(figures, dict)]
    files = []
    for name, figure in (
        ("confusion", _confusions(evaluation, tasks, grader.title)),
        ("reliability", _reliability(evaluation, grader.title)),
        ("roc", _roc(evaluation, grader.title)),
    ):
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=150)
        files.append(path)
    return files


def _confusions(evaluation: Evaluation, tasks: list[str], title: str) -> Figure:
    metrics = evaluation.metrics
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.4 * rows), layout="constrained")
    figure.suptitle(f"{title} on {metrics['split']}")
    for index, task in enumerate(tasks):
        axes = figure.add_subplot(rows, columns, index + 1)
        counts = np.array(metrics[task]["confusion"])
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (y, x), count in np.ndenumerate(counts):
            axes.text(
                x, y, str(count), ha="center", va="center", color="white" if share[y, x] > 0.55 else "black"
            )
        axes.set(title=f"{TASKS[task].name} (n = {metrics[task]['n']})", xlabel="graded", ylabel="read")
        axes.set_xticks(range(len(counts)))
        axes.set_yticks(range(len(counts)))
    return figure


def _kl(evaluation: Evaluation) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """KL probabilities (N, 5) and readings (N,) of the knees that have both."""
    rows = [row for row in evaluation.rows if row.get("KL_p0") is not None and row.get("KL_true") is not None]
    probabilities = np.array([[float(row[f"KL_p{k}"] or 0.0) for k in range(5)] for row in rows])
    return probabilities, np.array([int(row["KL_true"] or 0) for row in rows])


def _reliability(evaluation: Evaluation, title: str) -> Figure:
    """Observed against stated share of KL at or above each grade, in ten bins of equal count."""
    probabilities, truth = _kl(evaluation)
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
    for grade, colour in zip((1, 2, 3), ("#8fb8d8", _BLUE, "#173a5c"), strict=True):
        stated = probabilities[:, grade:].sum(axis=1)
        order = np.array_split(np.argsort(stated), min(10, len(stated)))
        x = [float(stated[part].mean()) for part in order]
        y = [float((truth[part] >= grade).mean()) for part in order]
        axes.plot(x, y, marker="o", color=colour, label=f"KL >= {grade}")
    axes.set(
        title=f"{title}: is 70 % right 70 % of the time?",
        xlabel="stated probability",
        ylabel="observed share",
    )
    axes.legend()
    return figure


def _roc(evaluation: Evaluation, title: str) -> Figure:
    """Each KL grade against the others with their mean; and KL at or above each grade."""
    probabilities, truth = _kl(evaluation)
    figure = Figure(figsize=(10.4, 5), layout="constrained")
    figure.suptitle(title)
    single, above = figure.subplots(1, 2)
    draw_roc(single, probabilities, truth)
    above.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
    for grade, colour in zip((1, 2, 3), ("#8fb8d8", _BLUE, "#173a5c"), strict=True):
        positive = truth >= grade
        if 0 < positive.sum() < len(positive):
            scores = probabilities[:, grade:].sum(axis=1)
            label = f"KL >= {grade}: {auc(scores, positive):.3f}"
            above.plot(*roc_curve(scores, positive), color=colour, label=label)
    for axes in (single, above):
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(loc="lower right", title="AUC")
    return figure


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
        alarms, hits = roc_curve(probabilities[:, grade], truth == grade)
        heights.append(np.interp(grid, alarms, hits))
        label = f"KL {grade}: {areas[grade]:.3f}"
        axes.plot(alarms, hits, color=_COLOURS[grade], linewidth=1.2, label=label)
    mean = np.r_[0.0, np.mean(heights, axis=0)]
    label = f"mean: {np.nanmean(areas):.3f}"
    axes.plot(np.r_[0.0, grid], mean, color="black", linewidth=1.4, linestyle="--", label=label)
