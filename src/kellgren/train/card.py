"""What the card of every trained bundle says, whatever the kind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kellgren._version import __version__
from kellgren.data import DataSet
from kellgren.errors import BadRecipe
from kellgren.model.card import Calibration, Card, Kind, Training
from kellgren.train.folder import WHOLE_SPLIT, Entry, Record, best_epoch
from kellgren.train.run import AnyRecipe


def base(
    kind: Kind,
    recipe: AnyRecipe,
    record: Record,
    entries: Sequence[Entry],
    dataset: DataSet,
    *,
    version: str,
    name: str | None = None,
    training: Training,
    **own: object,
) -> Card:
    """The card before anything has been measured.

    Args:
        kind: What the bundle is for.
        recipe: What was trained.
        record: Of the run.
        entries: Its log.
        dataset: What it was trained on.
        version: Version of the bundle.
        name: Name of the bundle; the recipe's by default.
        training: What only this kind says of its training; the rest is filled in.
        own: What only this kind says besides.

    Raises:
        BadRecipe: If the data set is another one.
    """
    if dataset.sha256() != record.data_sha256:
        raise BadRecipe("the data set is not the one that the run was trained on", path=dataset.root)
    others = {knee.fold for knee in dataset if knee.fold is not None} - {record.fold}
    learned = Training(
        data=dataset.root.name,
        data_sha256=record.data_sha256,
        split="train",
        folds=tuple(sorted(others)),
        held_out_fold=None if record.fold == WHOLE_SPLIT else record.fold,
        recipe=recipe.name,
        size=recipe.size,
        seeds=(record.seed,),
        epochs=len(entries),
        best_epoch=best_epoch(entries),
        minutes=round(sum(entry.seconds for entry in entries) / 60, 1),
        hardware=record.hardware,
        initial_weights=record.init,
        commit=record.commit,
        settings=record.recipe,
    )
    shared = {
        "name": name or recipe.name,
        "version": version,
        "licence": "Apache-2.0",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kellgren_version": __version__,
        "sha256": {},
        "description": recipe.title,
        "citation": recipe.source,
        "tasks": {},
        "side_convention": "none",
        "tta": (),
        "decision": {},
        "calibration": Calibration(),
        "training": learned.changed(**{name: getattr(training, name) for name in training.model_fields_set}),
        "validation": None,
    }
    return Card.model_validate(({} if kind == "grader" else {"kind": kind}) | shared | own)
