"""Many networks trained side by side on one large GPU within given minutes, without network access.

    python benchmarks/train_many.py train --data kneekl299 --out session --minutes 25 --parallel 6 \
        wang wang-whole:full:20 pi-densenet161:full:12:1 joint:small
    python benchmarks/train_many.py pack --out session --to parts --most 60
    python benchmarks/train_many.py unpack --parts parts --out studies          (on any machine)
    kellgren study run systems --data kneekl299 --out studies                    (exports and grades)

A run is RECIPE[:SIZE[:EPOCHS[:SEED[:random]]]]; `random` starts from random weights whatever `--init` holds.
Runs are cells of a study, trained in processes of their own in the given order, `--parallel` at a time. When
time is up each stops with the epochs it has, and says so. The networks answer the validation split and the
held-out fold on the GPU. What comes out: `summary.json`; predictions of every run; and, as files under 16
MiB, the weights, matrices rounded to fp16 as bundles store them. Unpacked, `kellgren study run` with the same
data, seed and initial weights finds the cells trained and makes their bundles.

`--smoke` tries all of it on a processor: 1 % of the knees, an epoch per phase.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import sys
import time
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from kellgren import data as datasets
from kellgren.data import DataSet
from kellgren.study import cells, plan, records, runner
from kellgren.study.cells import Cell
from kellgren.study.plan import Row
from kellgren.study.records import Cost
from kellgren.study.runner import Settings
from kellgren.vocabulary import MISSING, READINGS
from kellgren.writing import write_json

PART_BYTES: Final = 15 * 2**20
SUMMARY: Final = "summary.json"
_FIGURES: Final = (
    "n",
    "accuracy",
    "accuracy_pm1",
    "balanced_accuracy",
    "majority_accuracy",
    "qwk",
    "auc_macro",
)


def planned(text: str, arguments: argparse.Namespace, dataset: DataSet) -> tuple[str, Cell]:
    """A run's title and cell from RECIPE[:SIZE[:EPOCHS[:SEED[:random]]]]."""
    recipe, size, epochs, seed, start, *rest = [*text.split(":"), "", "", "", ""][:6]
    if any(rest) or start not in ("", "random"):
        raise SystemExit(f"{text!r} is no RECIPE[:SIZE[:EPOCHS[:SEED[:random]]]]")
    size = size or arguments.size
    length = 1 if arguments.smoke else int(epochs or 0) or None
    values = plan.document(Row(recipe, recipe=recipe), size=size, epochs=length)
    init = None if start else arguments.init
    cell = cells.make(values, dataset, arguments.out, seed=int(seed or 0), fold=arguments.fold, init=init)
    return f"{recipe} {size}, seed {cell.seed}", cell


def train(arguments: argparse.Namespace) -> None:
    """Train all runs and summarise them."""
    root = arguments.data
    if arguments.smoke:
        root = subset(datasets.load(root), arguments.out / "data", share=0.01)
    dataset = datasets.load(root)
    runs = [planned(text, arguments, dataset) for text in arguments.runs]
    settings = Settings(
        data=root,
        out=arguments.out,
        parallel=arguments.parallel,
        device=arguments.device,
        minutes=arguments.minutes,
        bundle=False,
    )
    evaluations = {f"val{cells.BY_NETWORK}": (str(root), "val")}
    if arguments.fold >= 0:
        evaluations[f"{cells.HELD_OUT}{cells.BY_NETWORK}"] = (str(root), "train")
    waiting = [run for run in runs if not all(run[1].evaluated(name) for name in evaluations)]
    started = time.monotonic()
    runner.carry_out(waiting, settings, dataset, evaluations)
    summary = {
        "minutes": round((time.monotonic() - started) / 60, 1),
        "parallel": arguments.parallel,
        "data_sha256": dataset.sha256(),
        "runs": [summarise(title, cell, tuple(evaluations)) for title, cell in runs],
    }
    write_json(arguments.out / SUMMARY, summary)
    show(summary)


def summarise(title: str, cell: Cell, evaluations: tuple[str, ...]) -> dict[str, Any]:
    """What became of a run: figures with intervals, cost."""
    found: dict[str, Any] = {}
    for name in evaluations:
        path = cell.evaluation(name) / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found[name] = {
            task: {figure: values[figure] for figure in _FIGURES}
            for task, values in metrics.items()
            if isinstance(values, dict)
        }
    return {
        "title": title,
        "key": cell.key,
        "recipe": cell.recipe.name,
        "size": cell.recipe.size,
        "seed": cell.seed,
        "init": cell.identity.init,
        "state": cells.status(cell.folder, evaluations[0], cell.recipe.optimise.epochs),
        "cost": asdict(records.read(Cost, cost)) if (cost := cell.folder / cells.COST).is_file() else None,
        "figures": found,
    }


def show(summary: dict[str, Any]) -> None:
    """A short table, last."""
    print(f"{summary['minutes']} minutes, {summary['parallel']} at a time")
    print(f"{'run':<40} {'acc':>6} {'qwk':>6} {'epochs':>7} {'min':>6} {'img/s':>6} {'GiB':>5}  state")
    for run in summary["runs"]:
        kl = next(iter(run["figures"].values())).get("KL", {})
        cost = run["cost"] or {}
        values = [f"{kl[name]['value'] or 0:.4f}" if name in kl else "" for name in ("accuracy", "qwk")]
        spent = ["", "", "", ""]
        if cost:
            spent = [f"{cost['epochs']}/{cost['epochs_planned']}", f"{cost['train_seconds'] / 60:.1f}"]
            spent += [f"{cost['images_per_s']:.0f}", f"{(cost['peak_bytes'] or 0) / 2**30:.1f}"]
        columns = [
            f"{value:>{width}}" for value, width in zip([*values, *spent], (6, 6, 7, 6, 6, 5), strict=True)
        ]
        print(f"{run['title']:<40} {' '.join(columns)}  {run['state']}")


def subset(dataset: DataSet, out: Path, *, share: float) -> Path:
    """A data set folder with a share of the patients of each split and fold, two at least."""
    groups: dict[tuple[str, int | None], list[str]] = {}
    for knee in dataset:
        patients = groups.setdefault((knee.split, knee.fold), [])
        if knee.patient not in patients:
            patients.append(knee.patient)
    kept = {patient for each in groups.values() for patient in each[: max(2, round(share * len(each)))]}
    knees = [knee for knee in dataset if knee.patient in kept]
    (out / "images").mkdir(parents=True, exist_ok=True)
    tasks = [task for task in READINGS if any(knee.grade(task) != MISSING for knee in knees)]
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "split", "patient", "side", *tasks])
        for knee in knees:
            grades = ["" if knee.grade(task) == MISSING else knee.grade(task) for task in tasks]
            writer.writerow([knee.name, knee.split, knee.patient, knee.side or "", *grades])
            suffix = Path(knee.image.parts[-1]).suffix
            (out / "images" / f"{knee.name}{suffix}").write_bytes(knee.image.read_bytes())
    with (out / "folds.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "fold"])
        writer.writerows([knee.name, knee.fold] for knee in knees if knee.fold is not None)
    return out


def pack(arguments: argparse.Namespace) -> None:
    """Write summary, predictions and weights as parts, the first runs first, up to `--most` MiB."""
    summary: dict[str, Any] = json.loads((arguments.out / SUMMARY).read_text(encoding="utf-8"))
    most, left_out = arguments.most * 2**20, []
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for run in summary["runs"]:
            folder = arguments.out / "cells" / run["key"]
            for path in sorted(folder.rglob("*")):
                if path.name in (
                    "predictions.csv",
                    "metrics.json",
                    cells.COST,
                    cells.DESCRIPTION,
                    cells.FAILED,
                ):
                    packed.write(path, path.relative_to(arguments.out).as_posix())
        for run in summary["runs"]:
            folder = arguments.out / "cells" / run["key"] / cells.RUN
            unwanted = arguments.only and run["recipe"] not in arguments.only
            if unwanted or not (folder / "best.pt").is_file():
                continue
            weights = rounded(folder / "best.pt")
            if archive.tell() + len(weights) > most:
                left_out.append(run["title"])
                continue
            place = folder.relative_to(arguments.out).as_posix()
            packed.writestr(zipfile.ZipInfo(f"{place}/best.pt"), weights)
            for name in ("run.json", "log.jsonl"):
                packed.write(folder / name, f"{place}/{name}")
    arguments.to.mkdir(parents=True, exist_ok=True)
    content = archive.getvalue()
    for index, start in enumerate(range(0, len(content), PART_BYTES)):
        (arguments.to / f"session.zip.{index:02}").write_bytes(content[start : start + PART_BYTES])
    write_json(arguments.to / SUMMARY, summary | {"weights_left_out": left_out})
    print(
        f"{len(content) / 2**20:.1f} MiB in {arguments.to}; weights left out: {', '.join(left_out) or 'none'}"
    )


def rounded(path: Path) -> bytes:
    """A checkpoint with its matrices and kernels in fp16; what has one dimension keeps fp32."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    state["model"] = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for name, value in state["model"].items()
    }
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def unpack(arguments: argparse.Namespace) -> None:
    """Put packed cells into a study's folder, weights in fp32."""
    parts = sorted(arguments.parts.glob("session.zip.*"))
    with zipfile.ZipFile(io.BytesIO(b"".join(part.read_bytes() for part in parts))) as packed:
        for name in packed.namelist():
            target = arguments.out / name
            if not target.resolve().is_relative_to(arguments.out.resolve()):
                raise SystemExit(f"{name!r} leads out of the folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(packed.read(name))
    for path in arguments.out.glob("cells/*/run/best.pt"):
        state = torch.load(path, weights_only=True, map_location="cpu")
        state["model"] = {
            name: value.float() if value.is_floating_point() else value
            for name, value in state["model"].items()
        }
        torch.save(state, path)
        print(f"-> {path.parent}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("runs", nargs="+", metavar="RUN")
    training.add_argument("--data", type=Path, required=True)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--size", default="full", help="of runs that name none")
    training.add_argument("--init", help="folder of initial weights, used where it holds a run's backbones")
    training.add_argument("--fold", type=int, default=0)
    training.add_argument("--minutes", type=float, default=25.0)
    training.add_argument("--parallel", type=int, default=6)
    training.add_argument("--device", default="auto")
    training.add_argument("--smoke", action="store_true")
    training.set_defaults(act=train)
    packing = commands.add_parser("pack")
    packing.add_argument("--out", type=Path, required=True)
    packing.add_argument("--to", type=Path, required=True)
    packing.add_argument("--most", type=float, default=60.0, help="MiB altogether")
    packing.add_argument("--only", nargs="*", help="recipes whose weights are wanted")
    packing.set_defaults(act=pack)
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("--parts", type=Path, required=True)
    unpacking.add_argument("--out", type=Path, required=True)
    unpacking.set_defaults(act=unpack)
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    arguments.act(arguments)


if __name__ == "__main__":
    main()
