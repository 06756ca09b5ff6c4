"""`kellgren study heat`: the heat maps of a study's rows, on knees that the rows graded before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kellgren.data import DataSet
from kellgren.errors import BadDataset, BadRecipe, nearest
from kellgren.evaluate import heat
from kellgren.evaluate.evaluation import TEST_SPLITS
from kellgren.grade.grader import Grader
from kellgren.model import bundle as bundles
from kellgren.study import cells, predictions
from kellgren.study.laboratory import STUDY

FOLDER = "heat"


def draw(
    folder: Path, dataset: DataSet, *, only: Sequence[str] = (), threads: int = 1
) -> tuple[list[Path], dict[str, str]]:
    """Draw the heat maps of every row, by its first training.

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
    study = cells.read(folder / STUDY)
    if study is None:
        raise BadDataset("no study there", path=folder, remedy=f"give the folder that holds {STUDY}")
    _check(study, dataset, folder)
    names = [row["name"] for row in study["plan"]["rows"]]
    for name in only:
        if name not in names:
            raise BadRecipe(f"no row {name!r}", remedy=nearest(name, tuple(names)))
    files: list[Path] = []
    without: dict[str, str] = {}
    for row in study["plan"]["rows"]:
        name = row["name"]
        if only and name not in only:
            continue
        why = _row(folder, study, row, dataset, files, threads)
        if why is not None:
            without[name] = why
    return files, without


def _check(study: dict[str, Any], dataset: DataSet, folder: Path) -> None:
    if study["split"] in TEST_SPLITS:
        raise BadDataset(
            f"knees of the split {study['split']!r} are not shown: what is seen there would be learned from",
            path=folder,
            remedy="draw a study that is judged on a validation split or the held-out fold",
        )
    if study["test_data"] is None:
        same = dataset.sha256() == study["data_sha256"]
    else:
        expected = cells.evaluation_name(dataset, study["split"])
        same = study["evaluation"].removesuffix(cells.BY_NETWORK) == expected
    if not same:
        judged_on = study["test_data"] or study["data"]
        raise BadDataset(f"not the data set {judged_on!r} that the study was judged on", path=dataset.root)


def _row(
    folder: Path,
    study: dict[str, Any],
    row: dict[str, Any],
    dataset: DataSet,
    files: list[Path],
    threads: int,
) -> str | None:
    """Draw one row, and add its files; or say why not."""
    if not study["cells"].get(row["name"]):
        return "a vote has no maps of its own; its members' rows may"
    cell = folder.parent / "cells" / study["cells"][row["name"]][0]["key"]
    answered = cell / "evaluations" / study["evaluation"].removesuffix(cells.BY_NETWORK)
    trained = cell / cells.RUN / "bundle"
    there = bool(row.get("bundle")) or (trained / bundles.CARD).is_file()
    if not there or not (answered / "predictions.csv").is_file():
        return "not trained and graded by a bundle yet"
    grader = Grader(bundles.load(row.get("bundle") or trained), threads=threads)
    why = heat.obstacle(grader.model, study["split"])
    if why is None:
        stem = re.sub(r"[^\w.-]+", "-", row["name"])
        found = _answers(predictions.read(answered))
        files += heat.draw(grader, dataset, found, folder / FOLDER, prefix=stem)
    return why


def _answers(found: predictions.Predictions) -> heat.Answers:
    """KL of the knees that were read."""
    read = found.truth["KL"] >= 0
    return heat.Answers(
        tuple(name for name, known in zip(found.names, read, strict=True) if known),
        tuple(found.patients[read].tolist()),
        found.probabilities["KL"][read],
        found.decided["KL"][read],
        found.truth["KL"][read],
    )
