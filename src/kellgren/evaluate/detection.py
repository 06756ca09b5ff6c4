"""How well a localiser finds: detection accuracy, false knees, overlap, key points.

A joint counts as found when a box that was given overlaps its own by an intersection over union of 0.5 or
more; each box is spent once. What is left over is a false knee. Wang et al. 2021, Fig. 3, report the share
of knees found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kellgren.evaluate.statistics import Estimate, bootstrap, percentile_interval
from kellgren.locate import boxes as box
from kellgren.vocabulary import FloatArray

FOUND: Final = 0.5
"""Intersection over union from which a joint counts as found."""


@dataclass(frozen=True, slots=True)
class FilmResult:
    """One film's outcome.

    Attributes:
        name: The film.
        group: Patient, or whatever else makes films alike.
        overlaps: (n,) of each true joint with the box given for it; 0 where it was not found.
        false: Boxes given that belong to no joint.
        centre: (n,) distance of the boxes' centres, % of the true box's width; nan where not found.
        scale: (n,) relative difference in width, %; nan where not found.
        points: (n,) mean distance of the six key points, % of the joint's width; nan where not known.
    """

    name: str
    group: str
    overlaps: FloatArray
    false: int
    centre: FloatArray
    scale: FloatArray
    points: FloatArray


def judge(
    name: str,
    group: str,
    given: tuple[FloatArray, FloatArray],
    truth: tuple[FloatArray, FloatArray],
) -> FilmResult:
    """Compare boxes and key points with the truth.

    Args:
        name: The film.
        group: What it is alike with.
        given: Boxes (m, 4) and key points (m, 6, 2).
        truth: Boxes (n, 4) and key points (n, 6, 2), NaN where unknown.
    """
    pairs = match(given[0], truth[0])
    n = len(truth[0])
    overlaps, centre, scale, points = np.zeros(n), *(np.full(n, np.nan) for _ in range(3))
    for i, j, overlap in pairs:
        overlaps[j] = overlap
        mine, its = given[0][i], truth[0][j]
        width = its[2] - its[0]
        centre[j] = 100 * math.hypot(*((mine[:2] + mine[2:] - its[:2] - its[2:]) / 2)) / width
        scale[j] = 100 * (mine[2] - mine[0] - width) / width
        joint = float(np.ptp(truth[1][j][:, 0]))
        points[j] = 100 * float(np.hypot(*(given[1][i] - truth[1][j]).T).mean()) / max(joint, 1e-9)
    return FilmResult(name, group, overlaps, len(given[0]) - len(pairs), centre, scale, points)


def match(given: FloatArray, truth: FloatArray) -> list[tuple[int, int, float]]:
    """Pairs of (given, true, overlap), best overlap first, each box and each joint once."""
    if not len(given) or not len(truth):
        return []
    overlap = box.iou(given, truth)
    pairs: list[tuple[int, int, float]] = []
    while overlap.size and overlap.max() >= FOUND:
        i, j = (int(k) for k in np.unravel_index(int(overlap.argmax()), overlap.shape))
        pairs.append((i, j, float(overlap[i, j])))
        overlap[i], overlap[:, j] = -1, -1
    return pairs


def figures(results: Sequence[FilmResult]) -> dict[str, int | dict[str, float | None]]:
    """Figures of many films, with 95 % intervals.

    Returns:
        `films`, `knees`, `found`, `false`; `accuracy` with Wilson's interval over knees; the medians `iou`,
        `centre_percent`, `scale_percent` (absolute) and `points_percent` with a bootstrap over groups, over
        knees that were found.
    """
    overlaps = np.concatenate([r.overlaps for r in results])
    found = int((overlaps > 0).sum())
    knees = len(overlaps)
    summary: dict[str, int | dict[str, float | None]] = {
        "films": len(results),
        "knees": knees,
        "found": found,
        "false": sum(r.false for r in results),
        "accuracy": wilson(found, knees).to_json(),
    }
    columns: dict[str, Callable[[FilmResult], FloatArray]] = {
        "iou": lambda r: np.where(r.overlaps > 0, r.overlaps, np.nan),
        "centre_percent": lambda r: r.centre,
        "scale_percent": lambda r: np.abs(r.scale),
        "points_percent": lambda r: r.points,
    }
    for name, column in columns.items():
        summary[name] = _median(results, column).to_json()
    return summary


def _median(results: Sequence[FilmResult], column: Callable[[FilmResult], FloatArray]) -> Estimate:
    groups = {group: i for i, group in enumerate(sorted({r.group for r in results}))}
    values = np.concatenate([column(r) for r in results])
    owner = np.concatenate([np.full(len(r.overlaps), groups[r.group]) for r in results])
    known = ~np.isnan(values)
    values, owner = values[known], owner[known]
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan)
    order = np.argsort(values)
    values, owner = values[order], owner[order]

    def medians(counts: FloatArray) -> dict[str, FloatArray]:
        weights = np.cumsum(counts[:, owner], axis=1)
        half = weights[:, -1:] / 2
        return {"median": values[np.argmax(weights >= half, axis=1)]}

    drawn = bootstrap(medians, len(groups), draws=2000)["median"]
    low, high = percentile_interval(drawn)
    return Estimate(float(np.median(values)), float(low), float(high))


def wilson(hits: int, n: int) -> Estimate:
    """Share with Wilson's 95 % score interval (J Am Stat Assoc 1927;22:209), which stands near 1 too."""
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan)
    z = 1.959963984540054
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))
