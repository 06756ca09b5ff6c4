"""What one training run is made of, and its folder opened: new, or to go on."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import torch

import kellgren
from kellgren import parallel
from kellgren.data import DataSet
from kellgren.data.films import load_films
from kellgren.errors import BadDataset, BadRecipe
from kellgren.train import checkpoint, folder
from kellgren.train.documents import Document
from kellgren.train.folder import LAST, RECORD, WHOLE_SPLIT, Ancestor, Record
from kellgren.train.hardware import Hardware
from kellgren.writing import make_folder, write_json

log = logging.getLogger(__name__)

COMMIT: Final = "COMMIT"
"""File beside a copy of the package that names the commit it was made of (`kellgren.train.clone`)."""

Track = parallel.Track


class AnyRecipe(Protocol):
    """What every kind of recipe has."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def size(self) -> str:
        """Which of its sizes."""

    @property
    def title(self) -> str:
        """One line for tables."""

    @property
    def source(self) -> str:
        """Paper, or who thought of it."""

    def to_dict(self) -> Document:
        """As plain values."""


R = TypeVar("R", bound=AnyRecipe)


def silent(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
    """No progress display."""
    del total, description
    return iter(items)


@dataclass(frozen=True, slots=True)
class Run(Generic[R]):
    """What one training run is made of, whatever it trains.

    Attributes:
        recipe: What to train.
        dataset: All knees; the train split is used, and of the rest nothing is looked at.
        out: Run folder.
        fold: Held-out fold for every choice, or `WHOLE_SPLIT`.
        seed: Source of all random numbers.
        hardware: The machine.
        init: Initial weights of a grader, see `graders.networks.build`; None is a random start.
        films: Folder of real films with `boxes.csv` for a localiser; None learns from others alone.
    """

    recipe: R
    dataset: DataSet
    out: Path
    fold: int
    seed: int
    hardware: Hardware
    init: str | None = None
    films: Path | None = None

    def training(self) -> DataSet:
        """The knees that are learned from, see `folds`."""
        return folds(self.dataset, self.fold)[0]

    def held_out(self) -> DataSet | None:
        """The knees on which every choice is made, see `folds`."""
        return folds(self.dataset, self.fold)[1]

    def initial_weights(self) -> str | None:
        """What a card calls the initial weights: a file, a folder of files, `hub`, or None: random start.

        Of a trained network it names the run, and what that one had started from.
        """
        if self.init is None or self.init == "hub":
            return self.init
        trained = folder.trained(self.init)
        if trained is not None:
            return _lineage(trained)
        path = Path(self.init)
        network = getattr(self.recipe, "network", None)
        backbone = "" if network is None else network.backbone.partition(".")[0]
        return f"{backbone}.safetensors" if backbone and path.is_dir() else path.name

    def record(self) -> Record:
        """What `run.json` says of it."""
        trained = folder.trained(self.init)
        before = () if trained is None else _learned(trained)
        films = {} if self.films is None else {"films": len(load_films(self.films))}
        return Record.model_validate(
            {
                "recipe": json.loads(json.dumps(self.recipe.to_dict())),
                "data_sha256": self.dataset.sha256(),
                "fold": self.fold,
                "seed": self.seed,
                "init": self.initial_weights(),
                **films,
                **({"learned_before": before} if before else {}),
                "hardware": self.hardware.name,
                "processes": self.hardware.world,
                "torch": torch.__version__,
                "commit": commit(),
            }
        )


def folds(dataset: DataSet, fold: int) -> tuple[DataSet, DataSet | None]:
    """The train split in two: what is learned from, and what is held out; None with `WHOLE_SPLIT`.

    Raises:
        BadDataset: If a train knee is in no fold, or none is in the one that is held out.
    """
    train = dataset.select(split="train")
    if fold == WHOLE_SPLIT:
        return train, None
    unassigned = [knee.name for knee in train if knee.fold is None]
    if unassigned:
        raise BadDataset(
            f"{len(unassigned)} train knees are in no fold, first {unassigned[0]!r}",
            path=dataset.root,
            remedy=f"complete folds.csv, or train on the whole split with --fold {WHOLE_SPLIT}",
        )
    held_out = train.select(folds={fold})
    return train.select(folds={knee.fold for knee in train if knee.fold is not None} - {fold}), held_out


def check(run: Run[R], *, resume: bool) -> None:
    """Whether the run can begin or go on in its folder; nothing is written.

    Raises:
        BadRecipe: If the folder holds a run and resuming is not asked for, or another run, or none to resume;
            if the network that the run continues from has learned from the knees that this run holds out.
        BadDataset: See `folds`.
    """
    folds(run.dataset, run.fold)
    record, begun = run.record(), (run.out / LAST).is_file()
    if begun and not resume:
        raise BadRecipe(
            "the folder holds a run already", path=run.out, remedy="add --resume, or use another --out"
        )
    if resume:
        if not (run.out / RECORD).is_file():
            raise BadRecipe("nothing to resume", path=run.out, remedy="start without --resume")
        changed = record.differences(folder.read_record(run.out))
        if changed:
            raise BadRecipe(f"the folder holds a run with other {', '.join(changed)}", path=run.out)
    _check_start(run)


def create_folder(run: Run[R]) -> None:
    """Make the run folder with its record, which stays as it is when the run goes on."""
    if (run.out / LAST).is_file() or run.hardware.rank:
        return
    make_folder(run.out)
    write_json(run.out / RECORD, run.record().model_dump(mode="json", exclude_unset=True))


def _check_start(run: Run[R]) -> None:
    """Refuse to continue from a network that has learned from what is held out: choices would flatter it."""
    trained = folder.trained(run.init)
    if trained is None:
        return
    before = _learned(trained)
    if not before:
        log.warning("%s: no %s beside it, so nobody knows which knees it has learned from", trained, RECORD)
    for ancestor in before:
        if ancestor.data_sha256 == run.dataset.sha256() and run.fold not in (WHOLE_SPLIT, ancestor.fold):
            raise BadRecipe(
                f"the trained network has learned from fold {run.fold}, on which this run would make its"
                " choices",
                path=trained,
                remedy=f"hold out what it held out: --fold {ancestor.fold}",
            )


def _lineage(trained: Path) -> str:
    """A `best.pt` in words: its run, start of its sha256, its epoch, and what that run had started from."""
    _, epoch = checkpoint.load_weights(trained)
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()[:8]
    text = f"{trained.resolve().parent.name}/{trained.name} {digest} of epoch {epoch}"
    before = folder.read_record(trained.parent).init if trained.with_name(RECORD).is_file() else None
    return f"{text}, from {before}" if before else text


def _learned(trained: Path) -> tuple[Ancestor, ...]:
    """What the run that a `best.pt` lies in has learned from, then those before it; () if it lies alone."""
    if not trained.with_name(RECORD).is_file():
        return ()
    record = folder.read_record(trained.parent)
    return (Ancestor(data_sha256=record.data_sha256, fold=record.fold), *record.learned_before)


def commit() -> str | None:
    """Commit of the source tree that trains, `-dirty` where it was changed since; None without a tree."""
    root = Path(kellgren.__file__).parents[1]
    if (root / COMMIT).is_file():
        return (root / COMMIT).read_text(encoding="utf-8").strip() or None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - fixed arguments
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
