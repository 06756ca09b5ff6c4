"""The cascade beside HOG + SVM and MTCNN, on the same films: the table of Wang et al. 2021, Fig. 3.

    kellgren train locate-hog --data kneekl299 --films films --out runs/hog          (also locate-mtcnn)
    python benchmarks/localiser.py --data kneekl299 --detector cascade=locate \
        --detector hog=runs/hog/detector --detector mtcnn=runs/mtcnn/detector \
        --real films --held-out cascade=folds/cascade-{fold} --held-out hog=folds/hog-{fold} ...

The first detector is the one that the others are compared with. Composed films are of patients of `--split`;
controls are such films without a joint, and simulated ones of other views and prostheses. Real films are
judged by detectors trained without them: fold k is every third film in name order, from the k-th; a detector
for it is trained on a folder whose `boxes.csv` names the other films. Time is from decoded film to boxes,
one film after the other, all detectors on each film in turn. Intervals: 95 %; of accuracy Wilson's, of
medians and paired differences a bootstrap over patients (real and simulated films: over films).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime as ort

from kellgren import data, locate
from kellgren.data.films import load_films
from kellgren.evaluate.detection import FilmResult, figures, judge
from kellgren.evaluate.statistics import bootstrap, percentile_interval
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.train.localiser import films
from kellgren.train.localiser.boxed_film import BoxedFilm
from kellgren.train.localiser.compared import detector as detectors
from kellgren.train.localiser.compared.detector import Detector
from kellgren.train.localiser.recipe import Material
from kellgren.train.run import commit
from kellgren.vocabulary import FloatArray

FILM_FOLDS: Final = 3
"""Folds of the real films: every third film, in name order, is one."""

HELD_OUT_SEED: Final = 7001
"""Films are drawn from it plus `--seed`, away from the seeds that trainings use."""

HEAD: Final = (
    "films",
    "detector",
    "films/knees",
    "found, % (95 %)",
    "less the first's, points (95 %)",
    "false knees",
    "IoU, median (95 %)",
    "key points, % of joint width",
    "ms per film, median (90th)",
)


@dataclass(frozen=True)
class Sample:
    """Films that belong together, what makes some of them alike, and who judges each."""

    name: str
    films: list[BoxedFilm]
    group: Callable[[BoxedFilm], str]
    judges: Callable[[int], dict[str, Detector]]


@dataclass(frozen=True)
class Outcome:
    """One detector on one sample."""

    results: list[FilmResult]
    milliseconds: FloatArray


def say(line: str = "") -> None:
    """One line of output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def opened(where: str, threads: int) -> Detector:
    """A comparator's folder, a bundle's folder, or the name of a packaged one."""
    path = Path(where)
    return detectors.load(path, threads=threads) if path.exists() else locate.load(where, threads=threads)


def named(pairs: list[str]) -> dict[str, str]:
    """`name=path` options."""
    return dict(pair.split("=", 1) for pair in pairs)


def run(sample: Sample) -> dict[str, Outcome]:
    """Every detector on every film; who goes first changes from film to film."""
    results: dict[str, list[FilmResult]] = {}
    times: dict[str, list[float]] = {}
    for index, film in enumerate(sample.films):
        judges = list(sample.judges(index).items())
        turn = index % len(judges)
        for name, detector in judges[turn:] + judges[:turn]:
            begun = time.perf_counter()
            joints = detector.find(film.pixels)
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - begun))
            given = (
                np.array([joint.box for joint in joints]).reshape(-1, 4),
                np.array([joint.points for joint in joints]).reshape(-1, 6, 2),
            )
            judged = judge(film.name, sample.group(film), given, (film.boxes, film.points))
            results.setdefault(name, []).append(judged)
    return {name: Outcome(results[name], np.array(times[name])) for name in sample.judges(0)}


def difference(other: Outcome, first: Outcome) -> tuple[float, float, float]:
    """Share found by the one less that of the other, in points, with the paired interval over groups."""
    pairs = list(zip(other.results, first.results, strict=True))
    groups = {name: i for i, name in enumerate(sorted({r.group for r, _ in pairs}))}
    more, knees = np.zeros(len(groups)), np.zeros(len(groups))
    for mine, its in pairs:
        more[groups[mine.group]] += int((mine.overlaps > 0).sum()) - int((its.overlaps > 0).sum())
        knees[groups[mine.group]] += len(mine.overlaps)
    if not knees.sum():
        return np.nan, np.nan, np.nan
    drawn = bootstrap(lambda counts: {"points": 100 * (counts @ more) / (counts @ knees)}, len(groups))
    low, high = percentile_interval(drawn["points"])
    return float(100 * more.sum() / knees.sum()), float(low), float(high)


def number(estimate: dict[str, float | None], scale: float, digits: int) -> str:
    """`value (low-high)`, empty where unknown."""
    if estimate["value"] is None:
        return ""
    shown = [f"{scale * (estimate[key] or 0):.{digits}f}" for key in ("value", "low", "high")]
    return f"{shown[0]} ({shown[1]}-{shown[2]})"


def row(sample: str, name: str, outcome: Outcome, first: Outcome) -> tuple[str, dict[str, Any]]:
    """A line of the table, and its figures."""
    summary = figures(outcome.results)
    summary["ms"] = [float(np.percentile(outcome.milliseconds, q)) for q in (50, 90)]
    summary["films_with_false"] = sum(r.false > 0 for r in outcome.results)
    summary["missed"] = [r.name for r in outcome.results if (r.overlaps == 0).any()][:50]
    apart = difference(outcome, first)
    paired = ""
    if outcome is not first and not np.isnan(apart[0]):
        summary["accuracy_difference_points"] = list(apart)
        paired = f"{apart[0]:+.2f} ({apart[1]:+.2f} to {apart[2]:+.2f})"
    cells = (
        sample,
        name,
        f"{summary['films']}/{summary['knees']}",
        number(summary["accuracy"], 100, 2),
        paired,
        f"{summary['false']} on {summary['films_with_false']}",
        number(summary["iou"], 1, 3),
        number(summary["points_percent"], 1, 2),
        f"{summary['ms'][0]:.1f} ({summary['ms'][1]:.1f})",
    )
    return f"| {' | '.join(cells)} |", summary


def made(options: argparse.Namespace, whole: dict[str, Detector]) -> list[Sample]:
    """Composed and simulated films, with and without joints."""
    chosen = data.load(options.data).select(split=options.split)
    patients = {knee.name: knee.patient for knee in chosen}
    seed, threads = HELD_OUT_SEED + options.seed, options.threads

    def composed(scenes: int, jointless: float) -> list[BoxedFilm]:
        what = Material(composed=scenes, jointless=jointless, single=0.3, real=0, simulated=0)
        return films.composed(chosen, what, seed=seed, threads=threads)

    def patient(film: BoxedFilm) -> str:
        return patients[film.name.split("+")[0]]

    drawn = films.simulated(options.simulated, seed=seed, threads=threads)
    samples = [
        ("composed", composed(options.scenes, 0.0), patient),
        ("composed, no joint", composed(1, 1.0)[: options.controls], patient),
        ("simulated", [film for film in drawn if len(film.boxes)], lambda film: film.name),
        ("simulated, other views or metal", [f for f in drawn if not len(f.boxes)], lambda film: film.name),
    ]
    return [Sample(name, shown, group, lambda _: whole) for name, shown, group in samples if shown]


def real(options: argparse.Namespace) -> Sample:
    """Real films at their own size, each with the detectors that have not learnt from it."""
    shown = []
    judges = []
    places = named(options.held_out)
    by_fold = {
        fold: {
            name: opened(where.replace("{fold}", str(fold)), options.threads)
            for name, where in places.items()
        }
        for fold in options.folds
    }
    for index, film in enumerate(load_films(options.real)):
        if index % FILM_FOLDS in by_fold:
            pixels = standardise(read_bytes(film.image.read_bytes(), film.name)).pixels
            unknown = np.full((len(film.boxes), 6, 2), np.nan)
            shown.append(BoxedFilm(film.name, pixels, film.boxes, unknown))
            judges.append(by_fold[index % FILM_FOLDS])
    name = "real, held out"
    if len(options.folds) < FILM_FOLDS:
        name += f", fold {' '.join(map(str, options.folds))}"
    return Sample(name, shown, lambda film: film.name, lambda i: judges[i])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--detector", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--real", type=Path, help="Folder of real films with boxes.csv.")
    parser.add_argument("--held-out", action="append", default=[], metavar="NAME=PATH_WITH_{fold}")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FILM_FOLDS)))
    parser.add_argument("--scenes", type=int, default=4, help="Composed films of each patient.")
    parser.add_argument("--controls", type=int, default=500, help="Most composed films without a joint.")
    parser.add_argument("--simulated", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="Also write all figures here.")
    return parser.parse_args()


def main() -> None:
    """Find, judge, print."""
    options = arguments()
    cv2.setNumThreads(options.threads)
    whole = {name: opened(where, options.threads) for name, where in named(options.detector).items()}
    samples = made(options, whole)
    if options.real is not None and options.held_out:
        samples.insert(0, real(options))
    record: dict[str, Any] = {
        "commit": commit(),
        "seed": options.seed,
        "threads": options.threads,
        "machine": f"{platform.machine()}, {platform.system()}, onnxruntime {ort.__version__}",
        "figures": {},
    }
    say(
        f"seed {options.seed}, split {options.split}, {options.threads} threads, "
        f"{record['machine']}, commit {record['commit']}\n"
    )
    say(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for sample in samples:
        outcomes = run(sample)
        first = next(iter(outcomes.values()))
        for name, outcome in outcomes.items():
            line, summary = row(sample.name, name, outcome, first)
            say(line)
            record["figures"].setdefault(sample.name, {})[name] = summary
    if options.json is not None:
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
