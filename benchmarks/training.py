"""How much of the bare network's speed `kellgren train` keeps, on the same device in one run.

    python benchmarks/training.py [RECIPE ...] [--size small] [--steps 8] [--rounds 5]
                                  [--data DIR] [--device auto]

In turn, round by round, on the same network and optimiser:
(a) the training loop as it is: an epoch of `--steps` batches drawn, augmented and finished, with learning
    rates, clipping and averaged weights;
(b) bare: as often forward, loss, backward and optimiser step on one batch made beforehand.
Prints each round, the median ratio of the seconds of (b) to those of (a), by the clock and by what the
processors spent (on CPUs that other programs use too, the second is the one to read), and how long crops
take to preload. DIR is a data set folder; without it, simulated crops are used.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from kellgren import data, simulate
from kellgren.train import hardware
from kellgren.train.graders import batches, losses, networks, training
from kellgren.train.graders import recipe as recipes
from kellgren.train.run import Run
from kellgren.train.session import Session


def spent(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds by the clock, and seconds of all processors together, until the device has done it."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, time.process_time() - busy


def bare(
    run: Run[recipes.Recipe],
    session: Session[networks.KneeNet, batches.Batch],
    views: tuple[torch.Tensor, ...],
    grades: dict[str, torch.Tensor],
    steps: int,
) -> None:
    """Forward, loss, backward and step on the same batch again and again."""
    for _ in range(steps):
        with run.hardware.autocast():
            raw = session.net(*views)
        losses.multi_task(raw, grades, run.recipe).backward()
        session.optimiser.step()
        session.optimiser.zero_grad(set_to_none=True)


def measure(name: str, options: argparse.Namespace, folder: Path) -> None:
    """Print what share of the bare speed the training loop of a recipe keeps."""
    place = hardware.choose(options.device)
    recipe = recipes.load(name, size=options.size)
    every = data.load(folder)
    needed = options.steps * recipe.optimise.batch
    chosen = (every.knees * -(-needed // len(every)))[:needed]  # few knees serve several times
    run = Run(recipe, replace(every, knees=chosen), folder, -1, 0, place)
    started = time.perf_counter()
    crops = batches.preload(run.dataset, replace(recipe, sampling="natural"), threads=place.threads)
    preloading = (time.perf_counter() - started) / needed
    crops = crops.to(place.device)
    run = replace(run, recipe=replace(recipe, sampling="natural"))
    stage = training.stage(run, networks.build(recipe, init=None))
    session = Session(run, stage, training.data(run, crops))
    session.epoch = recipe.optimise.epochs - 1  # the last phase: everything learns
    batch = next(batches.training_batches(crops, run.recipe, seed=0, epoch=0))
    views, grades = place.place(batch.views), batch.grades
    session.train_epoch()
    shares = []
    for number in range(options.rounds):
        session.epoch = recipe.optimise.epochs - 1
        whole = spent(lambda: session.train_epoch(), place.device)
        alone = spent(lambda: bare(run, session, views, grades, options.steps), place.device)
        shares.append((alone[0] / whole[0], alone[1] / whole[1]))
        print(
            f"{name} round {number + 1}: training {needed / whole[0]:.1f} images/s, "
            f"bare {needed / alone[0]:.1f}; ratio {shares[-1][0]:.3f}, of processor time {shares[-1][1]:.3f}"
        )
    by_clock, by_processor = (statistics.median(values) for values in zip(*shares, strict=True))
    print(
        f"{name} ({options.size}, {place.name}): {by_clock:.1%} of the bare speed, "
        f"{by_processor:.1%} by processor time; preload {preloading * 1e3:.1f} ms per knee"
    )


def main() -> None:
    """Measure the recipes that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=["joint"])
    parser.add_argument("--size", default="small")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        knees = options.data or Path(folder)
        if options.data is None:
            simulate.simulate(knees, 32, seed=0)
        for name in options.recipes:
            measure(name, options, knees)


if __name__ == "__main__":
    main()
