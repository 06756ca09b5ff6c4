"""Rows that are bundles: judged as they are beside what a plan trains, at the cost of graphs and cards."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kellgren import data as datasets
from kellgren.data import DataSet
from kellgren.errors import BadRecipe
from kellgren.evaluate import evaluation
from kellgren.grade.grader import Grader
from kellgren.model import bundle as bundles
from kellgren.model.bundle import Bundle
from kellgren.parallel import processors
from kellgren.study import cells, records
from kellgren.study.records import Cost, Judged, Learned, Training
from kellgren.writing import whole_folder


@dataclass(frozen=True, slots=True)
class Released:
    """A bundle of a row, and where its evaluations are kept beside the cells.

    Attributes:
        row: Name of the row.
        bundle: The bundle.
        learned: What each of its networks learned from.
        folder: `cells/NAME@VERSION-SHA256`, by what the cards say, graphs and calibration with it.
    """

    row: str
    bundle: Bundle
    learned: tuple[Learned, ...]
    folder: Path

    def training(self) -> Training:
        """The row's entry in `study.json`, as a cell has one."""
        folds = [each.held_out_fold for each in self.learned if each.held_out_fold is not None]
        weights = dict.fromkeys(each.initial_weights for each in self.learned if each.initial_weights)
        return Training(
            key=self.folder.name,
            seed=next((seed for each in self.learned for seed in each.seeds), 0),
            fold=folds[0] if folds else -1,
            epochs=max((each.epochs or 0 for each in self.learned), default=0),
            init=", ".join(weights) or None,
            recipe=None,
        )


def find(row: str, name_or_path: str, dataset: DataSet, out: Path, *, fold: int | None) -> Released:
    """The bundle of a row, once it is known that it may be judged.

    Args:
        row: Name of the row.
        name_or_path: Packaged bundle, or a bundle's folder or zip.
        dataset: What the plan's networks are trained on.
        out: Folder of all studies.
        fold: The held-out fold, if the bundle is to be judged on it.

    Raises:
        BadRecipe: If the bundle grades nothing, its card does not say what it learned from, or it learned
            from the fold that it is to be judged on.
        BadBundle: If it is none.
    """
    bundle = bundles.load(name_or_path)
    where = f"plan row {row!r}: {bundle.card.title}"
    if bundle.card.kind != "grader":
        raise BadRecipe(f"{where} is not a grader but a {bundle.card.kind} bundle")
    try:
        learned = tuple(
            TypeAdapter(Learned).validate_python(
                network.card.training.model_dump(mode="json", exclude_unset=True)
                if network.card.training
                else {}
            )
            for network in _networks(bundle)
        )
    except ValidationError as error:
        raise BadRecipe(f"{where} does not say in its card what it learned from") from error
    for each in learned:
        if fold is not None and (each.data_sha256, each.held_out_fold) != (dataset.sha256(), fold):
            raise BadRecipe(
                f"{where} did not hold out fold {fold} of this data set, on which the plan judges",
                remedy=f"use --fold {each.held_out_fold}, or leave the row out",
            )
    folder = out / "cells" / f"{bundle.card.title}-{_fingerprint(bundle)[:8]}"
    return Released(row, bundle, learned, folder)


def _fingerprint(bundle: Bundle) -> str:
    """sha256 of its card and its members': graphs alone, whose sha256 cards hold, do not decide a grade."""
    texts = [json.dumps(bundle.card.to_json(), sort_keys=True), *map(_fingerprint, bundle.members)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _networks(bundle: Bundle) -> tuple[Bundle, ...]:
    """The bundles that hold a graph: itself, or those of its members, however deep ensembles lie in it."""
    if not bundle.members:
        return (bundle,)
    return tuple(network for member in bundle.members for network in _networks(member))


def judge(chosen: Released, evaluations: dict[str, tuple[str, str]], *, fold: int, test_looks: int) -> None:
    """Write the evaluations that are not there yet.

    Args:
        chosen: The bundle.
        evaluations: By name, data set folder and split.
        fold: Held-out fold.
        test_looks: How often a test split has been read.
    """
    chosen.folder.mkdir(parents=True, exist_ok=True)
    about = Judged(chosen.bundle.card.title, chosen.learned)
    records.write(chosen.folder / cells.DESCRIPTION, about)
    records.write(chosen.folder / cells.COST, _cost(chosen))
    open_ = {name: where for name, where in evaluations.items() if not _there(chosen, name)}
    if not open_:
        return
    grader = Grader(chosen.bundle, threads=1)
    for name, (root, split) in open_.items():
        folds = {fold} if name == cells.HELD_OUT else None
        found = evaluation.evaluate(
            grader,
            datasets.load(root).select(split=split, folds=folds),
            split,
            workers=processors(),
            test_looks=test_looks,
            progress=lambda knees, total: iter(knees),
        )
        out = chosen.folder / "evaluations" / name
        with whole_folder(out) as folder:
            evaluation.write(found, grader, folder)


def _there(chosen: Released, name: str) -> bool:
    return (chosen.folder / "evaluations" / name / "metrics.json").is_file()


def _cost(chosen: Released) -> Cost:
    """Of the graphs and of what the cards say, None where they do not."""
    from kellgren.train import graph

    networks = _networks(chosen.bundle)
    minutes = [each.minutes for each in chosen.learned]
    return Cost(
        parameters=cells.total(one.card.parity.parameters if one.card.parity else None for one in networks),
        macs=sum(graph.operations(one.graph()) for one in networks),
        epochs=max((each.epochs or 0 for each in chosen.learned), default=0),
        best_epoch=chosen.learned[0].best_epoch if len(chosen.learned) == 1 else None,
        train_seconds=cells.total(None if value is None else 60.0 * value for value in minutes),
        peak_bytes=None,
        machine=", ".join(dict.fromkeys(str(each.hardware) for each in chosen.learned)),
    )
