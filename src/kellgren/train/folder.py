"""What a run folder holds, known without torch: the names of its files, `run.json` and `log.jsonl`.

run.json      what decides the run, and where it is trained (`Record`)
log.jsonl     one line per epoch (`Entry`)
last.pt       everything needed to go on
best.pt       weights of the best epoch; a run of several stages has one such file per stage, STAGE.pt
events.*      the log for TensorBoard
bundle/       what is exported in the end
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from kellgren.errors import BadRecipe
from kellgren.train.documents import Document
from kellgren.writing import write_text

RECORD: Final = "run.json"
LOG: Final = "log.jsonl"
LAST: Final = "last.pt"
BEST: Final = "best.pt"

WHOLE_SPLIT: Final = -1
"""`fold` value that trains on the whole train split, with no held-out knees to choose on."""

_LARGEST_RECORD: Final = 4 * 2**20
"""Bytes; a record of the largest recipe has some thousands."""


class Ancestor(BaseModel):
    """What an earlier network has learned from: a data set, all but one fold of it."""

    model_config = ConfigDict(frozen=True)

    data_sha256: str
    fold: int


class Record(BaseModel):
    """`run.json`.

    Attributes:
        recipe: What is trained, as plain values.
        data_sha256: Fingerprint of the data set.
        fold: Held-out fold, or `WHOLE_SPLIT`.
        seed: Source of all random numbers.
        init: Initial weights in words; None is a random start.
        films: Number of real films, for localisers.
        learned_before: Of a network that another run continues from: what that one and those before it have
            learned from.
        hardware: The machine.
        processes: How many train together.
        torch: Version of torch.
        commit: Commit of the source tree, None for an installed package.
    """

    model_config = ConfigDict(frozen=True)

    recipe: Document
    data_sha256: str
    fold: int
    seed: int
    init: str | None = None
    films: int = 0
    learned_before: tuple[Ancestor, ...] = ()
    hardware: str = ""
    processes: int = 1
    torch: str = ""
    commit: str | None = None

    def differences(self, other: Record) -> list[str]:
        """Names of what decides the outcome and is not the same in another record."""
        decisive = ("recipe", "data_sha256", "fold", "seed", "init", "films", "learned_before")
        mine, theirs = ({key: getattr(r, key) for key in decisive} for r in (self, other))
        for values in (mine, theirs):
            # a detector's thresholds are chosen after training
            values["recipe"] = {k: v for k, v in values["recipe"].items() if k != "search"}
        return [key for key in decisive if mine[key] != theirs[key]]


class Entry(BaseModel):
    """A line of `log.jsonl`: one epoch.

    Attributes:
        stage: Of several that a run has, one after the other; empty where there is one.
        epoch: From 1.
        phase: Of the recipe, from 1.
        loss: Mean over the epoch's steps.
        images: Knees or windows that an epoch shows, for runs of several stages.
        images_per_s: Trained on.
        seconds: Of the epoch, with its evaluation.
        seconds_left: Until the stage's last epoch, at this speed.
        score: `held_out_score`, or the epoch's number where there is none.
        best: Whether it was the best so far.
        stopped: Why training ended with this epoch before its time.

    Further numbers, `held_out_NAME`, are metrics on the held-out fold.
    """

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")
    __pydantic_extra__: dict[str, float]

    stage: str = ""
    epoch: int
    phase: int = 1
    loss: float
    images: int = 0
    images_per_s: float = 0.0
    seconds: float
    seconds_left: float = 0.0
    score: float
    best: bool
    stopped: str | None = None

    @property
    def held_out(self) -> dict[str, float]:
        """Metrics on the held-out fold by name, `held_out_` left out."""
        return {name.removeprefix("held_out_"): value for name, value in self.__pydantic_extra__.items()}

    def plain(self) -> dict[str, str | float | int | bool]:
        """As it stands in the log and in `last.pt`."""
        return self.model_dump(exclude_unset=True)


def read_record(folder: Path) -> Record:
    """The record of a run.

    Raises:
        BadRecipe: If the folder has none, or a damaged one.
    """
    path = folder / RECORD
    try:
        if path.stat().st_size > _LARGEST_RECORD:
            raise BadRecipe("run.json is too large: not a record of a run", path=path)
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadRecipe("no readable run.json: not a run folder", path=folder) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRecipe(f"not the record of a run: {where or 'JSON'}: {first['msg']}", path=path) from error


def read_log(folder: Path) -> list[Entry]:
    """The epochs of a run so far; a line that is just being written is left for the next look."""
    path, entries = folder / LOG, []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError:
            break
    return entries


def write_log(folder: Path, entries: Sequence[Entry]) -> None:
    """Replace the log, whole or not at all."""
    write_text(folder / LOG, "".join(e.model_dump_json(exclude_unset=True) + "\n" for e in entries))


def finished(entries: Sequence[Entry], epochs: int) -> bool:
    """Whether the entries of a stage reach its last epoch, or say why it stopped before."""
    return len(entries) >= epochs or (bool(entries) and entries[-1].stopped is not None)


def best_epoch(entries: Sequence[Entry]) -> int:
    """The epoch whose weights are kept: the last that was the best so far."""
    return max(entries, key=lambda entry: (entry.best, entry.epoch)).epoch


def trained(init: str | None) -> Path | None:
    """The `best.pt` that `--init` means: itself, or a run folder's; None if it means something else."""
    if init is None or init == "hub":
        return None
    path = Path(init) / BEST if os.path.isdir(init) else Path(init)  # noqa: PTH112 - a name too long is not a folder
    return path if path.suffix == ".pt" and os.path.isfile(path) else None  # noqa: PTH113
