"""Cells: one training with its evaluations, kept in a folder named by everything that decides it.

cells/KEY/cell.json             what decides it
          run/                  the run folder of `kellgren train`, with bundle/
          cost.json             what it took
          evaluations/NAME/     predictions.csv, metrics.json: `val`, `held_out`, or SPLIT-of another data set
          worker.log            what the training said
          failed.json           why it failed the last time, if it did
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from kellgren.data import DataSet
from kellgren.errors import BadRecipe
from kellgren.model import bundle as bundles
from kellgren.study import records
from kellgren.study.records import Failure, Identity
from kellgren.train import folder as run_folder
from kellgren.train.documents import Document
from kellgren.train.graders import recipe as recipes
from kellgren.train.graders.recipe import Recipe

N = TypeVar("N", int, float)

CODE: Final = "1"
"""To be raised when a change of the training code changes what comes out: cells are then trained again."""
REVISIONS: Final = {"dual_stream": "2"}
"""The same for one kind of network, where `CODE` is not meant for all: only its cells are trained again."""

HELD_OUT: Final = "held_out"
"""Name of the evaluation on the held-out fold."""
BY_NETWORK: Final = "-by-network"
"""Ends the name of an evaluation for which the network answered, without bundle, calibration and flips."""

RUN, COST, FAILED, DESCRIPTION, LOG = "run", "cost.json", "failed.json", "cell.json", "worker.log"


@dataclass(frozen=True, slots=True)
class Cell:
    """One training and where it is kept.

    Attributes:
        recipe: What is trained.
        seed: Of everything random.
        fold: Held-out fold.
        init: Initial weights as `kellgren train --init` takes them; None is random.
        identity: What decides the outcome.
        folder: `cells/KEY`.
        before: The cell whose network this one continues from; `init` is then its run folder.
    """

    recipe: Recipe
    seed: int
    fold: int
    init: str | None
    identity: Identity
    folder: Path
    before: Cell | None = None

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the identity's sha256."""
        return self.folder.name

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.folder / RUN

    @property
    def bundle(self) -> Path:
        """Its bundle."""
        return self.run / "bundle"

    @property
    def generation(self) -> int:
        """How many trainings come before this one."""
        return 0 if self.before is None else self.before.generation + 1

    @property
    def initial_weights(self) -> str | None:
        """What it starts from, in words: files, or a cell and what that one starts from; None is random."""
        if self.before is None:
            return ", ".join(self.identity.init) if self.identity.init else None
        first = f"{self.before.recipe.name} of cell {self.before.key[:8]}"
        return f"{first}, from {self.before.initial_weights or 'random'}"

    @property
    def trained(self) -> bool:
        """Whether the bundle is there; what is written last is looked at."""
        return (self.bundle / bundles.CARD).is_file() and (self.folder / COST).is_file()

    def evaluation(self, name: str) -> Path:
        """Folder of an evaluation."""
        return self.folder / "evaluations" / name

    def evaluated(self, name: str) -> bool:
        """Whether an evaluation is complete."""
        return (self.evaluation(name) / "metrics.json").is_file()


def make(
    values: Document,
    dataset: DataSet,
    out: Path,
    *,
    seed: int,
    fold: int,
    init: str | None,
    before: Cell | None = None,
) -> Cell:
    """The cell of a recipe's plain values; nothing is written.

    Args:
        values: As `kellgren.study.plan.document` gives them.
        dataset: What it is trained on.
        out: The study's folder.
        seed: Of everything random.
        fold: Held-out fold.
        init: Initial weights, used where they hold all backbones of the recipe.
        before: The cell whose network it continues from; `init` is then not used.

    Raises:
        BadRecipe: If the recipe is none.
    """
    recipe = recipes.from_dict(values)
    start = init if before is None and init is not None and holds(init, recipe) else None
    content = None if start is None else _fingerprint(start, recipe)
    if before is not None:
        start, content = str(before.run), {f"cell {before.key}": before.key}
    identity = Identity(
        recipe=json.loads(json.dumps(recipe.to_dict())),
        data_sha256=dataset.sha256(),
        fold=fold,
        seed=seed,
        init=content,
        code=REVISIONS.get(recipe.network.kind, CODE),
    )
    return Cell(recipe, seed, fold, start, identity, out / "cells" / _key(identity), before)


def _key(identity: Identity) -> str:
    """16 hexadecimal digits of what decides the outcome.

    Title, source and name say nothing about it: two plans' rows with equal parts share a cell.
    """
    decisive = asdict(identity)
    for name in ("name", "title", "source", "size"):
        decisive["recipe"].pop(name, None)
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def backbones(recipe: Recipe) -> tuple[str, ...]:
    """Backbones that initial weights can be for, without timm's tag."""
    network = recipe.network
    # OA-MEN is the one network with two: its MobileNet is an option
    parallel = str(network.options.get("parallel", "")) if network.kind == "oa_men" else ""
    return tuple(name.partition(".")[0] for name in (network.backbone, parallel) if name)


def holds(init: str, recipe: Recipe) -> bool:
    """Whether the initial weights are for all backbones of a recipe.

    A folder need not hold weights for every recipe of a plan: rows without start at random, and the table
    says so.

    Raises:
        BadRecipe: If there is no such file or folder, or it is a training run.
    """
    if run_folder.trained(init) is not None:
        raise BadRecipe(
            "a study's rows start alike, from ImageNet weights or at random, not from a trained network",
            path=Path(init),
            remedy="let a row start from another row, or compare the bundle of kellgren train --init",
        )
    names = backbones(recipe)
    # a backbone narrowed by arguments of its constructor fits no weights; dropout in it changes no shape
    narrowed = recipe.network.options.get("model")
    if not names or (isinstance(narrowed, dict) and set(narrowed) - {"drop_rate", "drop_path_rate"}):
        return False
    if init == "hub":
        return True
    path = Path(init)
    if not path.exists():
        raise BadRecipe("no initial weights there", path=path, remedy="a file, a folder of files, or hub")
    if path.is_dir():
        return all((path / f"{name}.safetensors").is_file() for name in names)
    return names == (path.stem,)


def _fingerprint(init: str, recipe: Recipe) -> dict[str, str]:
    """sha256 of each file by its name; of the hub's weights, timm's names."""
    if init == "hub":
        return dict.fromkeys(backbones(recipe), "hub")
    path = Path(init)
    files = [path / f"{name}.safetensors" for name in backbones(recipe)] if path.is_dir() else [path]
    return {file.name: _sha256(file) for file in files}


@cache
def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def evaluation_name(dataset: DataSet, split: str) -> str:
    """Name of an evaluation on another data set than the cell was trained on."""
    return f"{split}-of-{dataset.root.resolve().name}-{dataset.sha256()[:8]}"


def finished(run: Path, planned: int) -> bool:
    """Whether a run has seen its last epoch, so that only its bundle is missing."""
    return (run / run_folder.BEST).is_file() and run_folder.finished(run_folder.read_log(run), planned)


def describe(cell: Cell) -> None:
    """Write `cell.json`, and take away what an earlier failure left."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    records.write(cell.folder / DESCRIPTION, cell.identity)
    (cell.folder / FAILED).unlink(missing_ok=True)


def total(values: Iterable[N | None]) -> N | None:
    """The sum of costs, None if one of them is not known."""
    each = list(values)
    known = [value for value in each if value is not None]
    return sum(known, start=type(known[0])(0)) if known and len(known) == len(each) else None


def status(folder: Path, evaluation: str, planned: int) -> str:
    """What has become of a cell: `done`, `failed: WHY`, `begun: 3 of 5 epochs`, `not run`, ..."""
    if (folder / "evaluations" / evaluation / "metrics.json").is_file():
        return "done"
    if (folder / FAILED).is_file():
        return f"failed: {records.read(Failure, folder / FAILED).reason}"
    entries = run_folder.read_log(folder / RUN)
    if run_folder.finished(entries, planned):
        return "trained, not graded yet"
    if entries or (folder / RUN).is_dir():
        return f"begun: {len(entries)} of {planned} epochs"
    return "not run"


def remove_scratch(cell: Cell) -> None:
    """Take away what only going on with a training needs: it is larger than all the rest."""
    (cell.run / run_folder.LAST).unlink(missing_ok=True)
