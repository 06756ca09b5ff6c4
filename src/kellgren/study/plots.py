"""`plot.png` of a study: each row's figures with intervals, the paper's beside them; learning curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import MissingExtra
from kellgren.evaluate import metrics
from kellgren.evaluate.roc import draw_roc
from kellgren.study import cells, figures, predictions
from kellgren.study.laboratory import STUDY

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra("study", "drawing a study") from error

_BLUE, _GREY, _RED = "#2f6da3", "#9aa5b1", "#b5533c"
_COLOURS: Final = (_BLUE, _RED, "#4f8a5b", "#8a6bb0", "#c29a3a", "#5aa9b0", "#7a5a48", "#c76b98")
_PANELS: Final = 3
"""Figures that are drawn: the plan's first ones."""


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `plot.png`; where something has been trained `curves.png`, `roc.png` and confusion matrices.

    These are `confusion.png`, of KL, and `confusion-TASK.png` of the other tasks in the plan's figures.

    Args:
        document: `table.json`.
        folder: The study's folder.

    Returns:
        The files.
    """
    files = [folder / "plot.png"]
    _forest(document).savefig(files[0], dpi=150)
    study = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    answered = _answered(folder, study)
    pictures = {"curves.png": _curves(folder, study), "roc.png": _grid(answered, "KL", _roc)}
    for task in dict.fromkeys(("KL", *(figures.parse(name).task for name in document["figures"]))):
        name = "confusion.png" if task == "KL" else f"confusion-{task}.png"
        pictures[name] = _grid(answered, task, _confusion)
    for name, drawn in pictures.items():
        if drawn is not None:
            files.append(folder / name)
            drawn.savefig(files[-1], dpi=120)
    return files


def _answered(folder: Path, study: dict[str, Any]) -> list[tuple[str, predictions.Predictions]]:
    """Titles and predictions of trained rows, of each the first training; votes are not among them."""
    found = []
    for row in study["plan"]["rows"]:
        for cell in study["cells"].get(row["name"], [])[:1]:
            path = folder.parent / "cells" / cell["key"] / "evaluations" / study["evaluation"]
            if (path / "predictions.csv").is_file():
                found.append((row["title"] or row["name"], predictions.read(path)))
    return found


def _grid(
    answered: list[tuple[str, predictions.Predictions]],
    task: str,
    panel: Callable[[Axes, npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]], None],
) -> Figure | None:
    """One panel a row of the table whose network grades a task."""
    known = [(title, answer) for title, answer in answered if task in answer.tasks]
    if not known:
        return None
    columns = min(4, len(known))
    lines = -(-len(known) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.3 * lines), layout="constrained")
    for index, (title, answer) in enumerate(known):
        axes = figure.add_subplot(lines, columns, index + 1)
        sample = answer.sample(task)
        panel(axes, sample.probabilities, np.asarray(sample.decided), np.asarray(sample.truth))
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
    return figure


def _roc(
    axes: Axes,
    probabilities: npt.NDArray[np.float64],
    decided: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
) -> None:
    """Each KL grade against the others, and their mean."""
    del decided
    draw_roc(axes, probabilities, truth)
    axes.legend(fontsize=6, loc="lower right", title="AUC", title_fontsize=6)


def _confusion(
    axes: Axes,
    probabilities: npt.NDArray[np.float64],
    decided: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
) -> None:
    """Knees by read grade (down) and answered grade (across), coloured by share of the read grade."""
    counts = metrics.confusion_matrix(truth, decided, probabilities.shape[1])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (y, x), count in np.ndenumerate(counts):
        colour = "white" if share[y, x] > 0.55 else "black"
        axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize=7)
    axes.set_xlabel("graded", fontsize=7)
    axes.set_ylabel("read", fontsize=7)


def _forest(document: dict[str, Any]) -> Figure:
    """One panel a figure, one line a row, from top to bottom as in the table."""
    # one-vs-rest accuracy is never drawn beside top-1
    names = [name for name in document["figures"] if figures.parse(name).name != "accuracy_ovr"][:_PANELS]
    rows = document["rows"]
    figure = Figure(figsize=(2.6 + 3.2 * len(names), 1.4 + 0.34 * len(rows)), layout="constrained")
    on = (
        "held-out fold"
        if document["held_out_fold"] is not None
        else f"{document['split']} of {document['judged_on']}"
    )
    figure.suptitle(f"{document['title']} ({document['size']}, {on}, n = {document['n'] or 0})", fontsize=10)
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        _panel(axes, document, name)
        axes.set_yticks(range(len(rows)), [row["title"] for row in rows] if index == 0 else [], fontsize=8)
    return figure


def _panel(axes: Axes, document: dict[str, Any], name: str) -> None:
    rows = document["rows"]
    printed = {entry["row"]: entry["printed"] for entry in document["printed"] if entry["figure"] == name}
    for y, row in enumerate(rows):
        axes.axhline(y, color="#eceff2", linewidth=0.8, zorder=0)
        found = row["figures"].get(name)
        if found and found["value"] is not None:
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [y, y], color=_BLUE, linewidth=1.6)
            axes.plot([found["value"]], [y], marker="o", color=_BLUE, markersize=5)
            if found["seed_low"] != found["seed_high"]:
                axes.plot([found["seed_low"], found["seed_high"]], [y, y], "|", color=_BLUE, markersize=9)
        if row["name"] in printed:
            axes.plot(
                [printed[row["name"]]], [y], marker="D", color="none", markeredgecolor=_RED, markersize=6
            )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    title = figures.parse(name).title
    axes.set_title(f"{title} (open: printed, on other data)" if printed else title, fontsize=9)
    axes.tick_params(labelsize=8)


def _curves(folder: Path, study: dict[str, Any]) -> Figure | None:
    """Loss and held-out accuracy by epoch, one line a training."""
    lines = [
        (f"{row} ({cell['seed']})" if len(briefs) > 1 else row, seen)
        for row, briefs in study["cells"].items()
        for cell in briefs
        if (seen := cells.entries(folder.parent / "cells" / cell["key"] / cells.RUN))
    ]
    if not lines:
        return None
    figure = Figure(figsize=(10, 4), layout="constrained")
    for index, (key, title) in enumerate(
        (("loss", "training loss"), ("held_out_KL_accuracy", "accuracy on the held-out fold"))
    ):
        axes = figure.add_subplot(1, 2, index + 1)
        for number, (label, seen) in enumerate(lines):
            points = [(entry["epoch"], entry[key]) for entry in seen if key in entry]
            if points:
                style = ("-", "--", ":")[number // len(_COLOURS) % 3]
                axes.plot(
                    *zip(*points, strict=True), style, color=_COLOURS[number % len(_COLOURS)], label=label
                )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
    figure.axes[0].legend(fontsize=6, loc="best") if len(lines) <= 16 else None
    return figure
