"""Pictures of a study: `plot.png` and learning curves, ROC curves, confusion matrices, and heat maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from kellgren.data import DataSet
from kellgren.errors import BadDataset, MissingExtra
from kellgren.evaluate import heat, metrics
from kellgren.evaluate.evaluation import TEST_SPLITS
from kellgren.evaluate.plots import draw_roc
from kellgren.grade.grader import Grader
from kellgren.model import bundle as bundles
from kellgren.study import cells, figures, predictions, records
from kellgren.study.plan import Row
from kellgren.study.records import STUDY, Study, Table
from kellgren.train.folder import read_log
from kellgren.vocabulary import FloatArray, IntArray

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
except ImportError as error:
    raise MissingExtra("study", "drawing a study") from error

_BLUE, _GREY, _RED = "#2f6da3", "#9aa5b1", "#b5533c"
_COLOURS: Final = (_BLUE, _RED, "#4f8a5b", "#8a6bb0", "#c29a3a", "#5aa9b0", "#7a5a48", "#c76b98")
HEAT: Final = "heat"
"""Folder of the heat maps."""
_PANELS: Final = 3
"""Figures that are drawn: the plan's first ones."""


def draw(table: Table, folder: Path) -> list[Path]:
    """Write `plot.png`; where something has been trained `curves.png`, `roc.png` and confusion matrices.

    These are `confusion.png`, of KL, and `confusion-TASK.png` of the other tasks in the plan's figures.

    Args:
        table: What `table.json` holds.
        folder: The study's folder.

    Returns:
        The files.
    """
    files = [folder / "plot.png"]
    _forest(table).savefig(files[0], dpi=150)
    study = records.read(Study, folder / STUDY)
    answered = _answered(folder, study)
    pictures = {"curves.png": _curves(folder, study), "roc.png": _grid(answered, "KL", _roc)}
    for task in dict.fromkeys(("KL", *(figures.parse(name).task for name in table.figures))):
        name = "confusion.png" if task == "KL" else f"confusion-{task}.png"
        pictures[name] = _grid(answered, task, _confusion)
    for name, drawn in pictures.items():
        if drawn is not None:
            files.append(folder / name)
            drawn.savefig(files[-1], dpi=120)
    return files


def _answered(folder: Path, study: Study) -> list[tuple[str, predictions.Predictions]]:
    """Titles and predictions of trained rows, of each the first training; votes are not among them."""
    answered = []
    for row in study.plan.rows:
        for training in study.cells.get(row.name, ())[:1]:
            path = folder.parent / "cells" / training.key / "evaluations" / study.evaluation
            if (path / "predictions.csv").is_file():
                answered.append((row.title or row.name, predictions.read(path)))
    return answered


def _grid(
    answered: list[tuple[str, predictions.Predictions]],
    task: str,
    panel: Callable[[Axes, FloatArray, IntArray, IntArray], None],
) -> Drawing | None:
    """One panel per row of the table whose network grades a task."""
    known = [(title, answer) for title, answer in answered if task in answer.tasks]
    if not known:
        return None
    columns = min(4, len(known))
    lines = -(-len(known) // columns)
    drawing = Drawing(figsize=(3.1 * columns, 3.3 * lines), layout="constrained")
    for index, (title, answer) in enumerate(known):
        axes = drawing.add_subplot(lines, columns, index + 1)
        sample = answer.sample(task)
        panel(axes, sample.probabilities, np.asarray(sample.decided), np.asarray(sample.truth))
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
    return drawing


def _roc(axes: Axes, probabilities: FloatArray, decided: IntArray, truth: IntArray) -> None:
    """Each KL grade against the others, and their mean."""
    del decided
    draw_roc(axes, probabilities, truth)
    axes.legend(fontsize=6, loc="lower right", title="AUC", title_fontsize=6)


def _confusion(axes: Axes, probabilities: FloatArray, decided: IntArray, truth: IntArray) -> None:
    """Knees by read grade (down) and answered grade (across), coloured by share of the read grade."""
    counts = metrics.confusion_matrix(truth, decided, probabilities.shape[1])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (y, x), count in np.ndenumerate(counts):
        colour = "white" if share[y, x] > 0.55 else "black"
        axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize=7)
    axes.set_xlabel("graded", fontsize=7)
    axes.set_ylabel("read", fontsize=7)


def _forest(table: Table) -> Drawing:
    """One panel per figure, one line per row, from top to bottom as in the table."""
    # one-vs-rest accuracy is never drawn beside top-1
    names = [name for name in table.figures if figures.parse(name).name != "accuracy_ovr"][:_PANELS]
    size = (2.6 + 3.2 * len(names), 1.4 + 0.34 * len(table.rows))
    drawing = Drawing(figsize=size, layout="constrained")
    on = "held-out fold" if table.held_out_fold is not None else f"{table.split} of {table.judged_on}"
    drawing.suptitle(f"{table.title} ({table.size}, {on}, n = {table.n or 0})", fontsize=10)
    for index, name in enumerate(names):
        axes = drawing.add_subplot(1, len(names), index + 1)
        _panel(axes, table, name)
        titles = [row.title for row in table.rows] if index == 0 else []
        axes.set_yticks(range(len(table.rows)), titles, fontsize=8)
    return drawing


def _panel(axes: Axes, table: Table, name: str) -> None:
    printed = {each.row: each.printed for each in table.printed if each.figure == name}
    for y, row in enumerate(table.rows):
        axes.axhline(y, color="#eceff2", linewidth=0.8, zorder=0)
        figure = row.figures.get(name)
        if figure is not None and figure.value is not None:
            if figure.low is not None and figure.high is not None:
                axes.plot([figure.low, figure.high], [y, y], color=_BLUE, linewidth=1.6)
            axes.plot([figure.value], [y], marker="o", color=_BLUE, markersize=5)
            if figure.seed_low != figure.seed_high:
                ends = np.array([figure.seed_low, figure.seed_high], np.float64)
                axes.plot(ends, [y, y], "|", color=_BLUE, markersize=9)
        if row.name in printed:
            axes.plot([printed[row.name]], [y], marker="D", color="none", markeredgecolor=_RED, markersize=6)
    axes.set_ylim(len(table.rows) - 0.5, -0.5)
    title = figures.parse(name).title
    axes.set_title(f"{title} (open: printed, on other data)" if printed else title, fontsize=9)
    axes.tick_params(labelsize=8)


def _curves(folder: Path, study: Study) -> Drawing | None:
    """Loss and held-out accuracy by epoch, one line per training."""
    lines = [
        (f"{row} ({training.seed})" if len(trainings) > 1 else row, seen)
        for row, trainings in study.cells.items()
        for training in trainings
        if (seen := read_log(folder.parent / "cells" / training.key / cells.RUN))
    ]
    if not lines:
        return None
    drawing = Drawing(figsize=(10, 4), layout="constrained")
    for index, title in enumerate(("training loss", "accuracy on the held-out fold")):
        axes = drawing.add_subplot(1, 2, index + 1)
        for line, (label, seen) in enumerate(lines):
            loss, accuracy = [e.loss for e in seen], [e.held_out.get("KL_accuracy", np.nan) for e in seen]
            values = np.array(accuracy if index else loss, np.float64)
            style, colour = ("-", "--", ":")[line // len(_COLOURS) % 3], _COLOURS[line % len(_COLOURS)]
            if not np.isnan(values).all():
                axes.plot([epoch.epoch for epoch in seen], values, style, color=colour, label=label)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
    if len(lines) <= 16:
        drawing.axes[0].legend(fontsize=6, loc="best")
    return drawing


def draw_heat(
    folder: Path, dataset: DataSet, *, only: Sequence[str] = (), threads: int = 1
) -> tuple[list[Path], dict[str, str]]:
    """Draw the heat maps of every row, by its first training, on knees that the row graded before.

    Args:
        folder: A study's folder.
        dataset: What the study's rows were judged on.
        only: Rows; empty for all.
        threads: For one network evaluation.

    Returns:
        The files, `heat/ROW-by-grade.png` and so on; and by row why there are none.

    Raises:
        BadDataset: If it is another data set, no study, or one that was judged on a test split.
        BadRecipe: If there is no such row.
    """
    if not (folder / STUDY).is_file():
        raise BadDataset("no study there", path=folder, remedy=f"give the folder that holds {STUDY}")
    study = records.read(Study, folder / STUDY)
    _check(study, dataset, folder)
    wanted = [study.plan.row(name) for name in only] or study.plan.rows
    files: list[Path] = []
    without: dict[str, str] = {}
    for row in wanted:
        why = _heat(folder, study, row, dataset, files, threads)
        if why is not None:
            without[row.name] = why
    return files, without


def _check(study: Study, dataset: DataSet, folder: Path) -> None:
    if study.split in TEST_SPLITS:
        raise BadDataset(
            f"knees of the split {study.split!r} are not shown: what is seen there would be learned from",
            path=folder,
            remedy="draw a study that is judged on a validation split or the held-out fold",
        )
    if study.test_data is None:
        same = dataset.sha256() == study.data_sha256
    else:
        expected = cells.evaluation_name(dataset, study.split)
        same = study.evaluation.removesuffix(cells.BY_NETWORK) == expected
    if not same:
        message = f"not the data set {study.judged_on!r} that the study was judged on"
        raise BadDataset(message, path=dataset.root)


def _heat(
    folder: Path, study: Study, row: Row, dataset: DataSet, files: list[Path], threads: int
) -> str | None:
    """Draw one row, and add its files; or say why not."""
    if not study.cells.get(row.name):
        return "a vote has no maps of its own; its members' rows may"
    cell = folder.parent / "cells" / study.cells[row.name][0].key
    answered = cell / "evaluations" / study.evaluation.removesuffix(cells.BY_NETWORK)
    trained = cell / cells.RUN / "bundle"
    there = bool(row.bundle) or (trained / bundles.CARD).is_file()
    if not there or not (answered / "predictions.csv").is_file():
        return "not trained and graded by a bundle yet"
    grader = Grader(bundles.load(row.bundle or trained), threads=threads)
    why = heat.obstacle(grader.model, study.split)
    if why is None:
        stem = re.sub(r"[^\w.-]+", "-", row.name)
        files += heat.draw(grader, dataset, _read(predictions.read(answered)), folder / HEAT, prefix=stem)
    return why


def _read(answer: predictions.Predictions) -> heat.Answers:
    """KL of the knees that were read."""
    read = answer.truth["KL"] >= 0
    return heat.Answers(
        tuple(name for name, known in zip(answer.names, read, strict=True) if known),
        tuple(answer.patients[read].tolist()),
        answer.probabilities["KL"][read],
        answer.decided["KL"][read],
        answer.truth["KL"][read],
    )
