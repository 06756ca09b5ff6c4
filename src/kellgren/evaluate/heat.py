"""What networks rest their grades on, drawn on crops: the papers' Grad-CAM figures. Needs the study extra.

| file | after |
|---|---|
| `heat-by-grade.png` | OA-MEN 2024, Fig. 5; Pi 2023: knees of each grade with the map of that grade |
| `heat-by-class.png` | dual stream, Fig. 7: all five classes of a knee by probability, each with its map |
| `heat-with-bars.png` | Wang 2021, Fig. 4: a knee's map beside the probabilities of each task |

Drawn are the exact class activation maps that the graph gives out, each against the mean of the other
grades, as `--explain` does. For linear heads on pooled features Grad-CAM (Selvaraju 2017) is the same map
without the head's constant, negative values cut off. Here what speaks against a grade is shown too. Each
picture is stretched to its own strongest places, in `heat-by-class.png` to those of its line, and its title
says how many logits full colour is: the map of a grade may be faint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.data import DataSet, Knee
from kellgren.errors import BadDataset, KellgrenError, MissingExtra
from kellgren.evaluate.evaluation import TEST_SPLITS, Evaluation
from kellgren.grade.assessment import Assessment
from kellgren.grade.grader import Grader
from kellgren.model.activation_maps import Box
from kellgren.model.predict import Model
from kellgren.vocabulary import KL, TASKS, FloatArray, IntArray

try:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtra("study", "drawing figures") from error

FILES: Final = ("by-grade", "by-class", "with-bars")
EACH: Final = 2
"""Knees of each grade in `heat-by-grade.png`."""

_COLOURS: Final = "RdBu_r"
_BAR, _DECIDED, _EDGE = "#4a7fb5", "#c0392b", "#f2c230"
_OPAQUE: Final = 0.6
_LEGEND: Final = (
    "share of the strongest colour, whose logits (against the mean of the other grades) each title has: "
    "red supports the grade, blue contradicts it"
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What was read on knees and what was answered, of KL; N knees in any order.

    Attributes:
        names: Of the knees.
        patients: Of the knees.
        probabilities: (N, 5).
        decided: (N,).
        truth: (N,), none missing.
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    probabilities: FloatArray
    decided: IntArray
    truth: IntArray


@dataclass(frozen=True, slots=True)
class _Seen:
    """One knee graded with its maps.

    Attributes:
        knee: Which.
        assessment: What the bundle says of it.
        crop: (H, W) uint8.
        heat: (5, H, W) evidence for each KL grade, nan where the network sees nothing.
        frame: The part of the crop that the maps cover.
    """

    knee: Knee
    assessment: Assessment
    crop: npt.NDArray[np.uint8]
    heat: npt.NDArray[np.float32]
    frame: Box


def answers(evaluation: Evaluation) -> Answers:
    """The knees of an evaluation that were read and graded."""
    rows = [row for row in evaluation.rows if row.get("KL") is not None and row.get("KL_true") is not None]
    return Answers(
        tuple(str(row["name"]) for row in rows),
        tuple(str(row["patient"]) for row in rows),
        np.array([[float(row[f"KL_p{k}"] or 0.0) for k in range(KL.classes)] for row in rows]),
        np.array([int(row["KL"] or 0) for row in rows]),
        np.array([int(row["KL_true"] or 0) for row in rows]),
    )


def obstacle(model: Model, split: str) -> str | None:
    """Why there can be no heat maps of a model on a split, or None.

    Args:
        model: The bundle.
        split: Where the knees are from. Single knees of a test split are not looked at: it is there to count.
    """
    if split in TEST_SPLITS:
        return f"knees of the split {split!r} are not shown: what is seen there would be learned from"
    if "KL" not in model.card.tasks:
        return f"{model.card.title} does not grade KL"
    if not model.explains:
        return (
            f"{model.card.title} has no maps: its answer is not linear behind its last feature map, or its "
            "loss asks for something else than logits"
        )
    return None


def surest(found: Answers, grade: int, count: int = EACH) -> list[int]:
    """Knees of a grade that were graded right, the most probable first, no two of one patient.

    Args:
        found: All knees.
        grade: As read.
        count: At most so many.

    Returns:
        Their indices; of equal ones the first by name. Empty if no knee was graded right.
    """
    right = np.flatnonzero((found.truth == grade) & (found.decided == grade))
    order = sorted(right.tolist(), key=lambda i: (-found.probabilities[i, grade], found.names[i]))
    chosen: dict[str, int] = {}
    for i in order:
        chosen.setdefault(found.patients[i], i)
    return list(chosen.values())[:count]


def torn(found: Answers, grade: int) -> int | None:
    """The knee of a grade that was graded wrong with the most even probabilities (largest entropy).

    Args:
        found: All knees.
        grade: As read.

    Returns:
        Its index; of equal ones the first by name. None if every knee of the grade was graded right.
    """
    wrong = np.flatnonzero((found.truth == grade) & (found.decided != grade))
    p = found.probabilities
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1)
    return min(wrong.tolist(), key=lambda i: (-entropy[i], found.names[i]), default=None)


def draw(grader: Grader, dataset: DataSet, found: Answers, folder: Path, prefix: str = "heat") -> list[Path]:
    """Write the three figures.

    Args:
        grader: Of a bundle for which there is no `obstacle`.
        dataset: Holds the knees.
        found: What was answered before, by which knees are chosen.
        folder: Where to; created.
        prefix: Begins the files' names.

    Returns:
        The files.

    Raises:
        BadDataset: If a chosen knee is not in the data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {knee.name: knee for knee in dataset}
    seen: dict[int, _Seen] = {}

    def look(index: int) -> _Seen:
        if found.names[index] not in known:
            raise BadDataset(f"no knee {found.names[index]!r} there", path=dataset.root)
        if index not in seen:
            seen[index] = _see(grader, known[found.names[index]])
        return seen[index]

    grades = range(KL.classes)
    sure = {grade: [look(i) for i in surest(found, grade)] for grade in grades}
    wrong = {grade: None if (i := torn(found, grade)) is None else look(i) for grade in grades}
    figures = (_by_grade(sure, grader.title), _by_class(wrong, grader.title), _with_bars(sure, grader))
    files = []
    for name, figure in zip(FILES, figures, strict=True):
        files.append(folder / f"{prefix}-{name}.png")
        figure.savefig(files[-1], dpi=110)
    return files


def _see(grader: Grader, knee: Knee) -> _Seen:
    data = knee.image.read_bytes()
    [assessment] = grader.grade_bytes(data, knee.name, input="crop", side=knee.side, explain=True)
    shown = assessment.explanation
    if shown is None or shown.frame is None:
        raise KellgrenError("no maps to draw", path=knee.name, remedy=f"see obstacle() of {grader.title}")
    crop = shown.crop
    maps = _spread(shown.maps["KL"], shown.frame, (crop.shape[0], crop.shape[1]))
    others = (maps.sum(axis=0) - maps) / (len(maps) - 1)
    return _Seen(knee, assessment, crop, maps - others, shown.frame)


def _spread(maps: npt.NDArray[np.float32], frame: Box, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Maps (C, h, w) over a part of a crop, enlarged to the crop's pixels: (C, H, W), nan outside.

    Every cell of a map stands for an equal part, as Grad-CAM is drawn everywhere. That is right to about
    half a cell for padded networks; without padding the outer cells look further inward.
    """
    left, right = (round(edge * shape[1]) for edge in (frame[0], frame[2]))
    top, bottom = (round(edge * shape[0]) for edge in (frame[1], frame[3]))
    whole = np.full((len(maps), *shape), np.nan, np.float32)
    for each, target in zip(maps, whole, strict=True):
        target[top:bottom, left:right] = cv2.resize(
            np.ascontiguousarray(each), (right - left, bottom - top), interpolation=cv2.INTER_CUBIC
        )
    return whole


def _by_grade(sure: dict[int, list[_Seen]], title: str) -> Figure:
    """A column per grade; crops, and below each the map of its grade."""
    figure = Figure(figsize=(2.3 * len(sure), 5.2 * EACH + 1.2), layout="constrained")
    figure.suptitle(f"{title}: correctly graded knees of each KL grade, the most certain", fontsize=11)
    axes = figure.subplots(2 * EACH, len(sure))
    for grade, several in sure.items():
        for place_of, seen in enumerate([*several, None, None][:EACH]):
            above, below = axes[2 * place_of, grade], axes[2 * place_of + 1, grade]
            if seen is None:
                _nothing(above, f"KL {grade}: no {'other ' if several else ''}knee\ngraded right")
                below.set_axis_off()
                continue
            _crop(above, seen, f"read KL {grade}")
            _overlay(below, seen, grade, _scale(seen, [grade]), f"KL {grade}, {_percent(seen, grade)}")
    _legend(figure)
    return figure


def _by_class(wrong: dict[int, _Seen | None], title: str) -> Figure:
    """A line per knee: its crop, then every class with its map, the most probable first."""
    figure = Figure(figsize=(2.1 * (KL.classes + 1), 2.35 * len(wrong) + 1.2), layout="constrained")
    figure.suptitle(
        f"{title}: of each KL grade the knee graded wrong with the most even probabilities", fontsize=11
    )
    axes = figure.subplots(len(wrong), KL.classes + 1)
    for line, (grade, seen) in enumerate(wrong.items()):
        if seen is None:
            _empty(axes[line], f"read KL {grade}: no knee\ngraded wrong")
            continue
        _crop(axes[line, 0], seen, f"read KL {grade}")
        p = np.array(seen.assessment["KL"].probabilities)
        scale = _scale(seen, range(KL.classes))
        for column, k in enumerate(np.argsort(-p, kind="stable").tolist(), start=1):
            _overlay(axes[line, column], seen, k, scale, f"top-{column}: KL {k}, {_percent(seen, k)}")
    _legend(figure)
    return figure


def _with_bars(sure: dict[int, list[_Seen]], grader: Grader) -> Figure:
    """A line per knee: crop, map of the decided KL grade, bars of every task."""
    chosen = {grade: several[0] if several else None for grade, several in sure.items()}
    shown = [seen for seen in chosen.values() if seen]
    tasks = ["KL", *(task for task in TASKS if task != "KL" and any(task in s.assessment for s in shown))]
    figure = Figure(figsize=(4.4 + 1.35 * len(tasks), 2.25 * len(chosen) + 1.2), layout="constrained")
    figure.suptitle(f"{grader.title}: map of the KL grade, and probabilities of each task", fontsize=11)
    axes = figure.subplots(len(chosen), len(tasks) + 2, width_ratios=(2.0, 2.0, *[1.25] * len(tasks)))
    for line, (grade, seen) in enumerate(chosen.items()):
        if seen is None:
            _empty(axes[line], f"KL {grade}: no knee\ngraded right")
            continue
        _crop(axes[line, 0], seen, f"read KL {grade}")
        decided = seen.assessment["KL"].grade
        _overlay(axes[line, 1], seen, decided, _scale(seen, [decided]), f"KL {decided}")
        for task, panel in zip(tasks, axes[line, 2:], strict=True):
            _bars(panel, seen, task)
    _legend(figure)
    return figure


def _bars(axes: Axes, seen: _Seen, task: str) -> None:
    """Probability of each grade; the decided one is red, the one that was read has a frame."""
    axes.set_title(task, fontsize=9)
    if task not in seen.assessment:
        _nothing(axes, "side\nunknown")
        return
    grading = seen.assessment[task]
    read = seen.knee.grade(task)
    grades = range(len(grading.probabilities))
    axes.barh(
        grades,
        grading.probabilities,
        color=[_DECIDED if k == grading.grade else _BAR for k in grades],
        edgecolor=["black" if k == read else "none" for k in grades],
    )
    axes.set(xlim=(0, 1), ylim=(len(grades) - 0.4, -0.6))
    axes.set_yticks(list(grades))
    axes.set_xticks([0, 1])
    axes.tick_params(labelsize=7)


def _scale(seen: _Seen, grades: Sequence[int]) -> float:
    """Logits of the strongest colour: the 99.5th percentile of the maps of some grades."""
    heat = np.abs(seen.heat[list(grades)])
    return max(float(np.percentile(heat[np.isfinite(heat)], 99.5)), 1e-6)


def _crop(axes: Axes, seen: _Seen, title: str) -> None:
    axes.imshow(seen.crop, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def _overlay(axes: Axes, seen: _Seen, grade: int, scale: float, title: str) -> None:
    """The map of a grade over the crop; a frame shows what part of it the maps cover."""
    _crop(axes, seen, f"{title} (\N{PLUS-MINUS SIGN}{scale:.2g})")
    heat = np.nan_to_num(seen.heat[grade]) / scale
    strength = np.clip(np.abs(heat), 0, 1)
    axes.imshow(heat, cmap=_COLOURS, vmin=-1, vmax=1, alpha=_OPAQUE * strength, interpolation="nearest")
    (height, width), (x0, y0, x1, y1) = seen.crop.shape, seen.frame
    across, down = np.array([x0, x1, x1, x0, x0]) * width, np.array([y0, y0, y1, y1, y0]) * height
    axes.plot(across - 0.5, down - 0.5, color=_EDGE, linewidth=0.7)


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, transform=axes.transAxes)
    axes.set_axis_off()


def _empty(line: npt.NDArray[np.object_], text: str) -> None:
    """A line of panels without a knee."""
    for axes in line:
        _nothing(axes, text if axes is line[0] else "")


def _percent(seen: _Seen, grade: int) -> str:
    return f"{100 * seen.assessment['KL'].probabilities[grade]:.0f} %"


def _legend(figure: Figure) -> None:
    colours = ScalarMappable(Normalize(-1, 1), _COLOURS)
    bar = figure.colorbar(colours, ax=figure.axes, location="bottom", aspect=60, shrink=0.6, pad=0.01)
    bar.set_label(_LEGEND, fontsize=8)
    bar.ax.tick_params(labelsize=7)
