"""One cell in a process of its own: `python -m kellgren.study.cell_process JOB.json`.

A crash is one failed row, and the memory of a training is given back when it ends.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from kellgren import data as datasets
from kellgren.data import DataSet
from kellgren.errors import BadRecipe, KellgrenError
from kellgren.evaluate import evaluation
from kellgren.grade.grader import Grader
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.parallel import processors
from kellgren.study import cells, records
from kellgren.study.predictions import write_probabilities
from kellgren.study.records import Cost, Job
from kellgren.train import checkpoint, folder, hardware
from kellgren.train.folder import BEST, LAST
from kellgren.train.graders import batches, export, networks, training
from kellgren.train.graders import recipe as recipes
from kellgren.train.graders.recipe import Recipe
from kellgren.train.hardware import Hardware
from kellgren.train.run import Run, silent
from kellgren.writing import locked, whole_folder

log = logging.getLogger("kellgren.train.study")

FAILED, ORPHANED = 2, 3


class OutOfTime(Exception):
    """The deadline has come."""


def end_with_parent() -> None:
    """End when stdin is closed: the process that started this one is gone, whatever ended it."""

    def watch() -> None:
        # the descriptor itself: a thread waiting in sys.stdin would keep its lock when the interpreter ends
        while os.read(0, 1):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=watch, daemon=True).start()


def work(job: Job) -> None:
    """Train what is not trained, export, and evaluate.

    Raises:
        KellgrenError: What training, export and evaluation raise; `BadRecipe` if no epoch ended in time.
    """
    folder, recipe = Path(job.folder), recipes.from_dict(job.recipe)
    chosen, dataset = hardware.choose(job.device), datasets.load(job.data)
    run, started = folder / cells.RUN, time.monotonic()
    bundle = run / "bundle"
    if not (bundle / bundles.CARD).is_file():
        _train(job, recipe, dataset, run, chosen)
    if not (folder / cells.COST).is_file():
        records.write(folder / cells.COST, cost_of(recipe, run, chosen))
    if job.bundle and not (bundle / bundles.CARD).is_file():
        export.export_run(run, dataset.root, bundle, track=silent)
    for name, (root, split) in job.evaluations.items():
        out = folder / "evaluations" / name
        if (out / "metrics.json").is_file():
            continue
        judged = dataset if Path(root) == dataset.root else datasets.load(root)
        held_out_fold = name.removesuffix(cells.BY_NETWORK) == cells.HELD_OUT
        judged = judged.select(split=split, folds={job.fold} if held_out_fold else None)
        if name.endswith(cells.BY_NETWORK):
            _answer(recipe, run, judged, out, chosen)
        else:
            _evaluate(bundle, judged, split, out, job.test_looks)
    log.info("all in %.0f s", time.monotonic() - started)


def _train(job: Job, recipe: Recipe, dataset: DataSet, run: Path, chosen: Hardware) -> None:
    """Train by the function behind `kellgren train`; go on where an earlier process stopped."""
    if cells.finished(run, recipe.optimise.epochs):
        return

    def track(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        del total
        for item in items:
            if job.deadline and description.startswith("epoch") and time.time() > job.deadline:
                raise OutOfTime
            yield item

    asked = Run(recipe, dataset, run, job.fold, job.seed, chosen, init=job.init)
    try:
        training.train(asked, resume=(run / LAST).is_file(), track=track)
    except OutOfTime:
        stop_early(run)


def stop_early(run: Path) -> None:
    """Let a run end with the epochs it has; its log says that time ran out."""
    entries = folder.read_log(run)
    if not entries:
        raise BadRecipe("time ran out before the end of the first epoch", path=run)
    folder.write_log(run, [*entries[:-1], entries[-1].model_copy(update={"stopped": "out of time"})])


def cost_of(recipe: Recipe, run: Path, chosen: Hardware) -> Cost:
    """What the training took and what the network takes.

    MACs are multiplications with addition of one knee, by torch's counter of operations (two to a MAC).
    """
    net = networks.build(recipe, init=None).eval()
    sizes = {name: steps.output_size((*view.prepare, *view.finish)) for name, view in recipe.views.items()}
    views = [torch.zeros(1, view.channels, *sizes[name]) for name, view in recipe.views.items()]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(*views)
    entries = folder.read_log(run)
    return Cost(
        parameters=networks.count_parameters(net),
        macs=counter.get_total_flops() // 2,
        epochs=len(entries),
        best_epoch=folder.best_epoch(entries),
        train_seconds=round(sum(entry.seconds for entry in entries), 1),
        peak_bytes=_peak(chosen),
        machine=chosen.name,
        input=sizes,
        epochs_planned=recipe.optimise.epochs,
        stopped=entries[-1].stopped,
        images_per_s=float(np.median([entry.images_per_s for entry in entries])),
    )


def _peak(chosen: Hardware) -> int | None:
    """Most memory that training held, bytes: of the accelerator, or of this process; unknown on Windows."""
    if chosen.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _evaluate(bundle: Path, dataset: DataSet, split: str, out: Path, test_looks: int) -> None:
    """Grade as a user would, by the bundle."""
    workers = processors()
    grader = Grader(bundles.load(str(bundle)), threads=1)
    found = evaluation.evaluate(
        grader,
        dataset,
        split,
        workers=workers,
        test_looks=test_looks,
        progress=lambda knees, total: silent(knees, total, ""),
    )
    with whole_folder(out) as folder:
        evaluation.write(found, grader, folder)


def _answer(recipe: Recipe, run: Path, dataset: DataSet, out: Path, chosen: Hardware) -> None:
    """What the network itself says, with neither calibration nor test-time looks."""
    net = networks.build(recipe, init=None)
    net.load_state_dict(checkpoint.load_weights(run / BEST)[0])
    net = net.to(chosen.device)
    crops = batches.preload(dataset, recipe, threads=chosen.threads).to(chosen.device)
    logits = training.predict_logits(net, crops, recipe, chosen)
    write_probabilities(logits, recipe, dataset, out)


def main(path: str) -> int:
    """Do one job; the last line of stderr says why it failed, if it did."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("kellgren.train").setLevel(logging.INFO)
    try:
        job = records.read(Job, Path(path))
        with locked(Path(job.folder), wait=True):
            work(job)
    except KellgrenError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1]))
