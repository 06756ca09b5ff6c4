"""A training run: what it is made of, and the folder that it lives in.

Run folder: `run.json` (recipe, data, seed, machine), `log.jsonl` (one line an epoch), `last.pt` (everything
needed to go on), `best.pt` (weights of the best epoch), TensorBoard's `events.*`, then `bundle/`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from kellgren import parallel
from kellgren.data import DataSet
from kellgren.errors import BadDataset, BadRecipe
from kellgren.train import checkpoint
from kellgren.train.checkpoint import LAST
from kellgren.train.graders import networks
from kellgren.train.graders.networks.trained import read
from kellgren.train.graders.recipe import Recipe
from kellgren.train.hardware import Hardware
from kellgren.writing import whole

log = logging.getLogger(__name__)

RECORD: Final = "run.json"
LOG: Final = "log.jsonl"

WHOLE_SPLIT: Final = -1
"""`fold` value that trains on the whole train split, with no held-out knees to choose on."""

Track = parallel.Track


def silent(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
    """No progress display."""
    del total, description
    return iter(items)


@dataclass(frozen=True, slots=True)
class Run:
    """What one training run is made of.

    Attributes:
        recipe: What to train.
        dataset: All knees; the train split is used, and of the rest nothing is looked at.
        out: Run folder.
        fold: Held-out fold for every choice, or `WHOLE_SPLIT`.
        seed: Source of all random numbers.
        init: Initial weights, see `networks.build`.
        hardware: Where.
    """

    recipe: Recipe
    dataset: DataSet
    out: Path
    fold: int
    seed: int
    init: str | None
    hardware: Hardware

    def training(self) -> DataSet:
        """The knees that are learned from."""
        train = self.dataset.select(split="train")
        if self.fold == WHOLE_SPLIT:
            return train
        unassigned = [knee.name for knee in train if knee.fold is None]
        if unassigned:
            raise BadDataset(
                f"{len(unassigned)} train knees are in no fold, first {unassigned[0]!r}",
                path=self.dataset.root,
                remedy=f"complete folds.csv, or train on the whole split with --fold {WHOLE_SPLIT}",
            )
        return train.select(folds={k.fold for k in train if k.fold is not None} - {self.fold})

    def held_out(self) -> DataSet | None:
        """The knees on which epoch, temperature and thresholds are chosen."""
        if self.fold == WHOLE_SPLIT:
            return None
        return self.dataset.select(split="train", folds={self.fold})

    def initial_weights(self) -> str | None:
        """What a card calls the initial weights: a file, a folder of files, `hub`, or None: random start.

        Of a trained network it names the run, and what that one had started from.
        """
        if self.init is None or self.init == "hub":
            return self.init
        trained = checkpoint.of(self.init)
        if trained is not None:
            return _lineage(trained)
        path, backbone = Path(self.init), self.recipe.network.backbone
        return networks.weights_file(path, backbone).name if backbone else path.name

    def record(self) -> dict[str, Any]:
        """What decides the run: a resumed run must have the same.

        Where it goes on from a trained network, `learned_before` says what that one and those before it have
        learned from: data and held-out fold of each.
        """
        trained = checkpoint.of(self.init)
        before = [] if trained is None else _learned(trained)
        return {
            "recipe": json.loads(json.dumps(self.recipe.to_dict())),
            "data_sha256": self.dataset.sha256(),
            "fold": self.fold,
            "seed": self.seed,
            "init": self.initial_weights(),
            **({"learned_before": before} if before else {}),
        }


def check_folder(run: Run, *, resume: bool) -> None:
    """Whether the run folder can be used as asked; nothing is written.

    Raises:
        BadRecipe: If it holds a run and resuming is not asked for, holds none to resume, or another one.
    """
    record, begun = run.record(), (run.out / LAST).is_file()
    if resume and not begun:
        raise BadRecipe("nothing to resume", path=run.out, remedy="start without --resume")
    if begun and not resume:
        raise BadRecipe(
            "the folder holds a run already", path=run.out, remedy="add --resume, or use another --out"
        )
    if resume:
        stored = json.loads((run.out / RECORD).read_text(encoding="utf-8"))
        changed = [key for key, value in record.items() if stored.get(key) != value]
        if changed:
            raise BadRecipe(f"the folder holds a run with other {', '.join(changed)}", path=run.out)


def create_folder(run: Run) -> None:
    """Make the run folder and write down what decides the run, and where it is trained."""
    run.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "hardware": run.hardware.name,
        "processes": run.hardware.world,
        "torch": torch.__version__,
        "commit": commit(),
    }
    text = json.dumps(run.record() | machine, indent=2) + "\n"
    (run.out / RECORD).write_text(text, encoding="utf-8")


def check_start(run: Run) -> None:
    """Whether a run may go on from the trained network that it names.

    Raises:
        BadRecipe: If that one, or one before it, has learned from the knees that this one holds out: every
            choice made on them would flatter itself.
    """
    trained = checkpoint.of(run.init)
    if trained is None:
        return
    before = _learned(trained)
    if not before:
        log.warning("%s: no %s beside it, so nobody knows which knees it has learned from", trained, RECORD)
    for one in before:
        if one["data_sha256"] == run.dataset.sha256() and run.fold not in (WHOLE_SPLIT, one["fold"]):
            raise BadRecipe(
                f"the trained network has learned from fold {run.fold}, on which this run would make its"
                " choices",
                path=trained,
                remedy=f"hold out what it held out: --fold {one['fold']}",
            )


def _lineage(trained: Path) -> str:
    """A `best.pt` in words: its run, start of its sha256, its epoch, and what that run had started from."""
    epoch = read(trained)["epoch"]
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()[:8]
    text = f"{trained.resolve().parent.name}/{trained.name} {digest} of epoch {epoch}"
    before = _record_beside(trained).get("init")
    return f"{text}, from {before}" if before else text


def _learned(trained: Path) -> list[dict[str, Any]]:
    """Data and held-out fold of the run that a `best.pt` lies in, then of those that it went on from."""
    record = _record_beside(trained)
    if not record:
        return []
    own = {key: record[key] for key in ("data_sha256", "fold")}
    return [own, *record["learned_before"]]


def _record_beside(trained: Path) -> dict[str, Any]:
    """The record of the run that a `best.pt` lies in, empty if it lies alone.

    Raises:
        BadRecipe: If the record is damaged.
    """
    path = trained.with_name(RECORD)
    if not path.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {key: record[key] for key in ("data_sha256", "fold", "init")} | {
            "learned_before": record.get("learned_before", [])
        }
    except (ValueError, KeyError, AttributeError) as error:
        raise BadRecipe(f"no record of a run: {error!r}", path=path) from error


def save(path: Path, state: dict[str, Any]) -> None:
    """Write whole or not at all."""
    with whole(path) as file:
        torch.save(state, file)


def commit() -> str | None:
    """Commit of the source tree that trains, None for an installed package."""
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],  # noqa: S607 - whichever git there is
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
