"""All cells of a plan: found in the cache, or trained one after the other or side by side."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from kellgren import data as datasets
from kellgren.data import DataSet
from kellgren.errors import BadRecipe
from kellgren.evaluate.evaluation import count_test_look
from kellgren.study import cells, plan, records, released
from kellgren.study.cells import Cell
from kellgren.study.plan import Plan, Row
from kellgren.study.records import STUDY, Failure, Job, Study, Training
from kellgren.study.released import Released
from kellgren.train.folder import read_log
from kellgren.vocabulary import KL, MISSING, IntArray

log = logging.getLogger("kellgren.study")

_LOOK_SECONDS: Final = 2.0
_INTERRUPTED: Final = (-signal.SIGINT, -signal.SIGTERM)
"""Codes of workers that somebody ended: no failure, they go on next time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is carried out.

    Attributes:
        data: Data set folder to train on.
        out: The study's folder: `cells/` for all plans, a folder of tables for each.
        size: Of the recipes.
        seeds: For rows that name none.
        fold: Held-out fold, for rows that name none.
        init: Initial weights, used where they hold a row's backbones.
        epochs: Instead of the recipes' own.
        test_data: Another data set folder to judge on.
        split: Split to judge on, unless the plan is judged on the held-out fold.
        only: Rows to train; empty for all.
        parallel: Trainings at once.
        device: As `kellgren train --device`.
        minutes: After which trainings stop with the epochs they have; 0 for none.
        bundle: Whether bundles are exported and grade. Without, the networks themselves answer, with neither
            calibration nor test-time looks, and rows that are bundles wait; a later run with bundles trains
            nothing again.
    """

    data: Path
    out: Path
    size: str = "full"
    seeds: tuple[int, ...] = (0,)
    fold: int = 0
    init: str | None = None
    epochs: int | None = None
    test_data: Path | None = None
    split: str = "val"
    only: tuple[str, ...] = ()
    parallel: int = 1
    device: str = "auto"
    minutes: float = 0.0
    bundle: bool = True


def run(chosen: Plan, settings: Settings) -> Path:
    """Train and judge every cell that is not in the cache yet.

    Args:
        chosen: What is compared.
        settings: How.

    Returns:
        The folder of the plan's tables, with `study.json`. Cells that failed say so there and are tried again
        next time.

    Raises:
        BadRecipe: If a row's recipe cannot be made, before anything is trained.
        BadDataset: If a data set cannot be used.
    """
    dataset = datasets.load(settings.data)
    judged = dataset if settings.test_data is None else datasets.load(settings.test_data)
    _check(chosen, settings, dataset, judged)
    wanted = wanted_rows(chosen, settings.only)
    by_row: dict[str, list[Cell]] = {}
    for row in chosen.rows:
        if row.recipe:
            by_row[row.name] = cells_of(row, settings, dataset, by_row.get(row.start, []))
    bundles = _released(chosen, settings, dataset)
    folder, study = _study(chosen, settings, dataset, judged, by_row, bundles)
    folder.mkdir(parents=True, exist_ok=True)
    records.write(folder / STUDY, study)
    looks = count_test_look(folder, settings.split) if chosen.split == "val" else 0
    evaluations = evaluations_of(chosen, settings, dataset, judged, study.evaluation)
    for one in bundles:
        if one.row in wanted and settings.bundle:
            released.judge(one, evaluations, fold=settings.fold, test_looks=looks)
    jobs = {
        cell.key: (f"{name}, seed {cell.seed}" + (f", fold {cell.fold}" if len(folds) > 1 else ""), cell)
        for name in by_row
        if name in wanted
        for folds in [{cell.fold for cell in by_row[name]}]
        for cell in by_row[name]
    }
    open_jobs = [
        (title, cell)
        for title, cell in jobs.values()
        if not (_made(cell, settings) and all(cell.evaluated(name) for name in evaluations))
    ]
    log.info("%d cells, %d of them in the cache", len(jobs), len(jobs) - len(open_jobs))
    carry_out(open_jobs, settings, dataset, evaluations, looks)
    return folder


def _released(chosen: Plan, settings: Settings, dataset: DataSet) -> list[Released]:
    """The bundles of a plan, each fit to be judged as the plan judges."""
    fold = settings.fold if _chooses(chosen) else None
    return [
        released.find(row.name, row.bundle, dataset, settings.out, fold=fold)
        for row in chosen.rows
        if row.bundle
    ]


def _chooses(chosen: Plan) -> bool:
    """Whether the held-out fold is judged on."""
    return chosen.split == "held_out" or any(row.vote.rule == "search" for row in chosen.rows if row.vote.of)


def _made(cell: Cell, settings: Settings) -> bool:
    return cell.trained or (not settings.bundle and (cell.folder / cells.COST).is_file())


def _check(chosen: Plan, settings: Settings, dataset: DataSet, judged: DataSet) -> None:
    """Say what cannot be before hours are spent."""
    if chosen.split == "held_out" and settings.test_data is not None:
        raise BadRecipe(
            f"plan {chosen.name!r} is judged on the held-out fold", remedy="leave --test-data out"
        )
    if chosen.split == "val":
        judged.select(split=settings.split)
    for fold in sorted({settings.fold, *(fold for row in chosen.rows for fold in row.folds)} - {-1}):
        dataset.select(split="train", folds={fold})
    if settings.fold < 0 and _chooses(chosen):
        raise BadRecipe(f"plan {chosen.name!r} needs a held-out fold", remedy="give --fold")


def wanted_rows(chosen: Plan, only: Sequence[str]) -> set[str]:
    """Names of the rows to train: all, or some with those that vote in them or that they start from."""
    if not only:
        return {row.name for row in chosen.rows}
    wanted: set[str] = set()
    waiting = list(only)
    while waiting:
        row = chosen.row(waiting.pop())
        wanted.add(row.name)
        waiting += [*row.vote.of, *([row.start] if row.start else [])]
    return wanted


def cells_of(row: Row, settings: Settings, dataset: DataSet, before: Sequence[Cell] = ()) -> list[Cell]:
    """The cells of a row, each after the one of the same seed and fold of the row that it starts from."""
    init = settings.init if row.init == "given" else None
    values = plan.document(row, size=settings.size, epochs=settings.epochs)
    earlier = {(cell.seed, cell.fold): cell for cell in before}
    made = []
    for seed in row.seeds or settings.seeds:
        for fold in row.folds or (settings.fold,):
            if row.start and (seed, fold) not in earlier:
                raise BadRecipe(
                    f"row {row.name!r}: {row.start!r}, from which it starts, has no seed {seed}, fold {fold}"
                )
            start = earlier.get((seed, fold))
            made.append(
                cells.make(values, dataset, settings.out, seed=seed, fold=fold, init=init, before=start)
            )
    return made


def _study(
    chosen: Plan,
    settings: Settings,
    dataset: DataSet,
    judged: DataSet,
    by_row: dict[str, list[Cell]],
    bundles: Sequence[Released],
) -> tuple[Path, Study]:
    """The folder of the plan's tables, and what they are made from."""
    name = f"{chosen.name}-{settings.size}"
    evaluation = cells.HELD_OUT if chosen.split == "held_out" else settings.split
    if settings.test_data is not None:
        evaluation = cells.evaluation_name(judged, settings.split)
        name += f"-on-{judged.root.resolve().name}"
    by = "" if settings.bundle else cells.BY_NETWORK
    trained = {row: tuple(map(_training, made)) for row, made in by_row.items()}
    study = Study(
        plan=chosen,
        size=settings.size,
        data=dataset.root.resolve().name,
        data_sha256=dataset.sha256(),
        test_data=None if settings.test_data is None else judged.root.resolve().name,
        split="train" if evaluation == cells.HELD_OUT else settings.split,
        evaluation=evaluation + by,
        held_out_evaluation=cells.HELD_OUT + by,
        fold=settings.fold,
        train_kl=_count(dataset.select(split="train").grades("KL")),
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        cells=trained | {each.row: (each.training(),) for each in bundles},
    )
    return settings.out / name, study


def _count(grades: IntArray) -> tuple[int, ...]:
    """Knees of each KL grade, of those that were read."""
    return tuple(np.bincount(grades[grades != MISSING], minlength=KL.classes).tolist())


def _training(cell: Cell) -> Training:
    return Training(
        key=cell.key,
        seed=cell.seed,
        fold=cell.fold,
        epochs=cell.recipe.optimise.epochs,
        init=cell.initial_weights,
        recipe=cell.identity.recipe,
    )


def evaluations_of(
    chosen: Plan, settings: Settings, dataset: DataSet, judged: DataSet, name: str
) -> dict[str, tuple[str, str]]:
    """By name, on which data set folder and split."""
    wanted = {} if chosen.split == "held_out" else {name: (str(judged.root), settings.split)}
    if _chooses(chosen):
        by = "" if settings.bundle else cells.BY_NETWORK
        wanted[cells.HELD_OUT + by] = (str(dataset.root), "train")
    return wanted


def carry_out(
    jobs: Sequence[tuple[str, Cell]],
    settings: Settings,
    dataset: DataSet,
    evaluations: dict[str, tuple[str, str]],
    looks: int = 0,
) -> None:
    """Train and judge cells, some at once, each with its share of the processors.

    Cells that continue from others wait until all those are done.

    Args:
        jobs: Titles and cells.
        settings: Gives `parallel`, `device`, `minutes` and `bundle`.
        dataset: What is trained on.
        evaluations: By name, data set folder and split.
        looks: How often a test split has been read.
    """
    if not jobs:
        return
    shares = _shares(settings.parallel)
    free: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for share in shares:
        free.put(share)
    deadline = time.time() + 60 * settings.minutes if settings.minutes else 0.0
    stop = threading.Event()

    def one(index: int, title: str, cell: Cell) -> None:
        share = free.get()
        try:
            if stop.is_set() or (deadline and time.time() > deadline):
                return
            log.info("[%d/%d] %s", index, len(jobs), title)
            _train(title, cell, job_of(cell, settings, dataset, evaluations, looks, deadline), share, stop)
        finally:
            free.put(share)

    with ThreadPoolExecutor(len(shares)) as pool:
        try:
            for generation in sorted({cell.generation for _, cell in jobs}):
                futures = [
                    pool.submit(one, index, title, cell)
                    for index, (title, cell) in enumerate(jobs, start=1)
                    if cell.generation == generation
                ]
                for future in futures:
                    future.result()
        finally:  # an interrupt ends the trainings too: each loses at most an epoch
            stop.set()


def _shares(parallel: int) -> list[list[int]]:
    """Processors of each training, empty where the system does not say which there are."""
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(parallel)]
    known = sorted(os.sched_getaffinity(0))
    each = max(1, len(known) // parallel)
    return [[known[(i * each + j) % len(known)] for j in range(each)] for i in range(parallel)]


def job_of(
    cell: Cell,
    settings: Settings,
    dataset: DataSet,
    evaluations: dict[str, tuple[str, str]],
    looks: int,
    deadline: float,
) -> Job:
    """What the worker of a cell is told."""
    return Job(
        recipe=cell.identity.recipe,
        folder=str(cell.folder),
        data=str(dataset.root),
        seed=cell.seed,
        fold=cell.fold,
        init=cell.init,
        device=settings.device,
        evaluations=evaluations,
        test_looks=looks,
        deadline=deadline,
        bundle=settings.bundle,
    )


def _train(title: str, cell: Cell, job: Job, share: list[int], stop: threading.Event) -> None:
    """One worker from beginning to end; what it could not do is written down."""
    cells.describe(cell)
    if cell.before is not None and not (cell.before.folder / cells.COST).is_file():
        reason = f"cell {cell.before.key}, from which it starts, is not trained"
        records.write(cell.folder / cells.FAILED, Failure(reason, None))
        log.warning("%s: %s", title, reason)
        return
    path = cell.folder / "job.json"
    records.write(path, job)
    started = time.monotonic()
    with (cell.folder / cells.LOG).open("a", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "kellgren.study.cell_process", str(path)],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends: the worker then ends too
            stdout=stream,
            stderr=stream,
        )
        if share and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, share)
        code = _follow(title, cell, process, stop)
    if stop.is_set() or code in _INTERRUPTED:
        return
    minutes = (time.monotonic() - started) / 60
    if code:
        reason = _reason(cell, code)
        records.write(cell.folder / cells.FAILED, Failure(reason, code))
        log.warning("%s failed after %.1f min: %s", title, minutes, reason)
        return
    cells.remove_scratch(cell)
    log.info("%s: done in %.1f min", title, minutes)


def _follow(title: str, cell: Cell, process: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Wait for a worker and report its epochs."""
    told = len(read_log(cell.run))
    while True:
        try:
            return process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                process.terminate()
        for epoch in read_log(cell.run)[told:]:
            told = epoch.epoch
            log.info(
                "%s: epoch %d/%d, score %.3f, %.0f s, %.0f min left",
                title,
                told,
                cell.recipe.optimise.epochs,
                epoch.score,
                epoch.seconds,
                epoch.seconds_left / 60,
            )


def _reason(cell: Cell, code: int) -> str:
    """Why a worker ended with this code."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}" + (": out of memory, perhaps" if name == "SIGKILL" else "")
    lines = (cell.folder / cells.LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")[:300]
