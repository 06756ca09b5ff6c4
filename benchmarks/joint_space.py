"""How good joint space width is: against JSN readings, against the points, and against itself.

    python benchmarks/joint_space.py --data kneekl299 [--split val | --split train --fold 0]

Needs the extra `train` for the table of points. Prints the Markdown
tables of `docs/reference/results/joint-space-width.md`. Intervals: 95 %, bootstrap over patients.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren import data
from kellgren.errors import NotAKnee
from kellgren.evaluate.discrimination import rank, weighted_auc
from kellgren.evaluate.statistics import bootstrap, percentile_interval
from kellgren.measure import FEMUR_POINTS, KEY_POINTS, JointSpace, joint_space, load, measure, refine
from kellgren.measure.frame import smooth
from kellgren.model import steps
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.train.contour.crops import TABLE, read_table
from kellgren.vocabulary import FloatArray, Image

Grey = npt.NDArray[np.uint8]

JOINT_LINE: Final = load()

JOINT_MM: Final = 75.0
"""Width of a joint assumed where millimetres are given: the published crops have no spacing."""
FIGURES: Final = ("JSW_M_min", "JSW_M_mean", "JSW_L_min", "JSW_L_mean")
KEYS: Final = ("femur lateral", "notch", "femur medial", "tibia lateral", "eminence", "tibia medial")


def moved(grey: Grey, shift: tuple[float, float] = (0, 0), zoom: float = 1.0, turn: float = 0.0) -> Grey:
    """Another framing of a crop; what lies beyond its edge is continued."""
    height, width = grey.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
    matrix[:, 2] += shift
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(grey, matrix, (width, height), flags=flags, borderMode=border), np.uint8)


def exposed(grey: Grey, gamma: float = 1.0, contrast: float = 1.0) -> Grey:
    """Another exposure of a crop."""
    scaled = ((grey / 255.0) ** gamma - 0.5) * contrast + 0.5
    return np.clip(np.rint(255 * scaled), 0, 255).astype(np.uint8)


def compressed(grey: Grey, quality: int) -> Grey:
    """A crop after JPEG."""
    data_of = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data_of, cv2.IMREAD_GRAYSCALE), np.uint8)


Change = Callable[[Grey], Grey]
CHANGES: Final[dict[str, tuple[Change, ...]]] = {
    "shift by 5 pixels": (
        lambda g: moved(g, shift=(5, 0)),
        lambda g: moved(g, shift=(-5, 0)),
        lambda g: moved(g, shift=(0, 5)),
        lambda g: moved(g, shift=(0, -5)),
    ),
    "scale by 3 %": (lambda g: moved(g, zoom=0.97), lambda g: moved(g, zoom=1.03)),
    "rotation by 2 degrees": (lambda g: moved(g, turn=-2), lambda g: moved(g, turn=2)),
    "gamma 0.8 and 1.25, contrast 0.7": (
        lambda g: exposed(g, gamma=0.8),
        lambda g: exposed(g, gamma=1.25),
        lambda g: exposed(g, contrast=0.7),
    ),
    "JPEG quality 75 and 50": (lambda g: compressed(g, 75), lambda g: compressed(g, 50)),
}


@dataclass(frozen=True)
class Measured:
    """Every knee measured once: widths (N, 4), errors (M, 3) in pixels, key points (M, 6) and widths (M,)."""

    widths: FloatArray
    errors: FloatArray
    keys: FloatArray
    joints: FloatArray
    scores: FloatArray
    milliseconds: FloatArray
    refused: tuple[str, ...]


def say(line: str = "") -> None:
    """One line of output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def grey_of(knee: data.Knee) -> Grey:
    """The crop as stored."""
    encoded = np.frombuffer(knee.image.read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def crop_of(grey: Grey, side: str | None) -> Image:
    """The crop after the film stage, as right."""
    encoded = cv2.imencode(".png", grey)[1].tobytes()
    image = steps.unit_range(standardise(read_bytes(encoded, "knee.png")).pixels)
    return np.ascontiguousarray(steps.mirror(image)) if steps.mirrors(side, "as_right") else image


def figures(space: JointSpace) -> list[float]:
    """The four widths of the table, in joint widths."""
    return [space.medial.minimum, space.medial.mean, space.lateral.minimum, space.lateral.mean]


def to_curve(points: FloatArray, curve: FloatArray) -> FloatArray:
    """Distance (P,) of points (P, 2) from a densely sampled curve (K, 2)."""
    return np.asarray(np.hypot(*np.moveaxis(points[:, None] - curve[None], 2, 0)).min(axis=1))


def measure_all(knees: list[data.Knee], table: dict[str, tuple[FloatArray, float]]) -> Measured:
    """Measure every knee and compare it with its points."""
    widths, errors, keys, joints, scores, times, refused = [], [], [], [], [], [], []
    bones = (slice(0, FEMUR_POINTS), slice(FEMUR_POINTS, None))
    for knee in knees:
        grey = grey_of(knee)
        crop = crop_of(grey, knee.side)
        begun = time.perf_counter()
        contour = JOINT_LINE.find(crop)
        found_at = time.perf_counter()
        space = measure(contour, refine(crop, contour))
        times.append((1e3 * (found_at - begun), 1e3 * (time.perf_counter() - found_at)))
        scores.append(contour.score)
        try:
            widths.append(figures(joint_space(crop, JOINT_LINE)))
        except NotAKnee:
            widths.append([np.nan] * 4)
            refused.append(knee.name)
        true = table[knee.name][0].copy()
        if steps.mirrors(knee.side, "as_right"):
            true[:, 0] = grey.shape[1] - 1 - true[:, 0]
        found = np.concatenate((contour.femur, contour.tibia))
        edges = space.edges
        refined = [edges.frame.from_frame(edges.x, heights) for heights in (edges.femur, edges.tibia)]
        off = np.concatenate([to_curve(found[bone], smooth(true[bone])) for bone in bones])
        edge = np.concatenate(
            [to_curve(true[bone][1:-1], line) for bone, line in zip(bones, refined, strict=True)]
        )
        apart = np.hypot(*(found - true).T)
        errors.append([off.mean(), edge.mean(), apart.mean()])
        joints.append(float(np.hypot(*(true[-1] - true[FEMUR_POINTS]))))
        keys.append(apart[list(KEY_POINTS)] / joints[-1])
    stacked = (np.array(rows) for rows in (widths, errors, keys, joints, scores, times))
    return Measured(*stacked, refused=tuple(refused))


def auc_with_interval(values: FloatArray, positive: npt.NDArray[np.bool_], patients: npt.NDArray[Any]) -> str:
    """AUC of small values for positive knees."""
    known = ~np.isnan(values)
    ids = np.unique(patients[known], return_inverse=True)[1]
    ranking = rank(-values[known], positive[known])
    draws = bootstrap(lambda counts: {"auc": weighted_auc(ranking, counts[:, ids].T)}, int(ids.max()) + 1)
    low, high = percentile_interval(draws["auc"])
    value = weighted_auc(ranking, np.ones((int(known.sum()), 1)))[0]
    return f"{value:.3f} ({low:.3f}-{high:.3f})"


def spearman(a: FloatArray, b: npt.NDArray[Any]) -> float:
    """Rank correlation of two (N,) series without the unknown; ties share their mean rank."""
    known = ~np.isnan(a)
    ranks = []
    for values in (a[known], b[known]):
        _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[index])
    return float(np.corrcoef(*ranks)[0, 1])


def report_grades(widths: FloatArray, knees: list[data.Knee]) -> None:
    """Widths by JSN grade, in per cent of the joint's width."""
    patients = np.array([knee.patient for knee in knees])
    both = widths[:, 0] - 0.5 * widths[:, 3]
    columns = {name: widths[:, i] for i, name in enumerate(FIGURES)}
    columns["JSW_M_min less half of JSW_L_mean"] = both
    say("\n| figure | JSN 0 | 1 | 2 | 3 | Spearman | AUC, JSN >= 1 | AUC, JSN >= 2 |")
    say("|---|---|---|---|---|---|---|---|")
    for name, values in columns.items():
        grade = np.array([knee.grade(f"JSN_{name[4]}") for knee in knees])
        cells = [f"{100 * np.nanmedian(values[grade == g]):.2f}" for g in range(4)]
        cells += [f"{spearman(values, grade):.3f}"]
        cells += [auc_with_interval(values, grade >= g, patients) for g in (1, 2)]
        say(f"| {name} | {' | '.join(cells)} |")
    for compartment in "ML":
        grade = np.array([knee.grade(f"JSN_{compartment}") for knee in knees])
        counts = np.bincount(grade, minlength=4).tolist()
        say(f"n by JSN_{compartment}: {counts}, {len(set(patients))} patients")


def report_errors(measured: Measured) -> None:
    """Contours against the table of points."""
    say("\n| error, mean over a knee | median, px | 90th, px | median, % of joint width | 90th, % |")
    say("|---|---|---|---|---|")
    names = ("points to curve, network", "points to edge, refined", "point to point, network")
    for name, px in zip(names, measured.errors.T, strict=True):
        cells = [np.percentile(v, q) for v in (px, 100 * px / measured.joints) for q in (50, 90)]
        say(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    say("\n| key point | median error, % of joint width | 90th, % |\n|---|---|---|")
    for name, shares in zip((*KEYS, "all six"), (*measured.keys.T, measured.keys.ravel()), strict=True):
        say(f"| {name} | {100 * np.median(shares):.2f} | {100 * np.percentile(shares, 90):.2f} |")


def report_repeatability(knees: list[data.Knee], count: int) -> None:
    """Smallest detectable change: 1.96 sqrt(2) standard deviations within a knee."""
    spreads: dict[str, list[FloatArray]] = {name: [] for name in (*CHANGES, "all of these")}
    joints = []
    for index in np.random.default_rng(0).permutation(len(knees))[:count].tolist():
        knee = knees[index]
        grey = grey_of(knee)
        try:
            plain = joint_space(crop_of(grey, knee.side), JOINT_LINE)
            again = {
                name: [
                    figures(joint_space(crop_of(change(grey), knee.side), JOINT_LINE)) for change in changes
                ]
                for name, changes in CHANGES.items()
            }
        except NotAKnee:
            continue
        joints.append(plain.joint_width)
        again["all of these"] = [row for rows in again.values() for row in rows]
        for name, rows in again.items():
            spreads[name].append(np.var(np.array([figures(plain), *rows]), axis=0, ddof=1))
    say(f"\nSmallest detectable change, % of joint width, {len(joints)} knees\n")
    say(f"| change | {' | '.join(FIGURES)} |\n|---|---|---|---|---|")
    for name, values in spreads.items():
        detectable = 1.96 * np.sqrt(2 * np.mean(values, axis=0))
        say(f"| {name} | {' | '.join(f'{100 * v:.2f}' for v in detectable)} |")
    width = float(np.median(joints))
    say(f"| all, pixels (joint of {width:.0f}) | {' | '.join(f'{width * v:.2f}' for v in detectable)} |")
    say(f"| all, mm (joint of {JOINT_MM:.0f} mm) | {' | '.join(f'{JOINT_MM * v:.2f}' for v in detectable)} |")


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--fold", type=int)
    parser.add_argument("--repeat", type=int, default=300, help="Knees measured again under small changes.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    folds = None if options.fold is None else {options.fold}
    knees = list(data.load(options.data).select(split=options.split, folds=folds))
    measured = measure_all(knees, read_table(options.data / TABLE))
    say(f"{len(knees)} knees, {len(measured.refused)} refused: {', '.join(measured.refused)}")
    say(f"score, percentiles 0, 0.5, 1, 50: {np.percentile(measured.scores, (0, 0.5, 1, 50)).round(3)}")
    report_grades(measured.widths, knees)
    report_errors(measured)
    find, rest = np.median(measured.milliseconds, axis=0)
    say(f"\nmedian time on one core: points {find:.1f} ms, edges and widths {rest:.1f} ms")
    if options.repeat:
        report_repeatability(knees, options.repeat)


if __name__ == "__main__":
    main()
