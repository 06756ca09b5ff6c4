"""What a study keeps in files, typed: study.json, a cell's cell.json, cost.json and failed.json, table.json.

They are read and written here and nowhere else; in between, everything works on these types. A number that is
not defined is None. `kellgren/schemas` describes the same files for other people's scripts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from kellgren.errors import BadDataset
from kellgren.study.plan import Plan, Vote
from kellgren.train.documents import STRICT, Document
from kellgren.writing import write_bytes

STUDY: Final = "study.json"
TABLE: Final = "table.json"

Sha256 = Annotated[str, Field(min_length=1, max_length=64)]
Natural = Annotated[int, Field(ge=0)]
Fold = Annotated[int, Field(ge=-1)]

T = TypeVar("T")


def write(path: Path, record: object) -> None:
    """Write a record as JSON, whole or not at all."""
    write_bytes(path, dump(record) + b"\n")


def dump(record: object) -> bytes:
    """A record, or a list of records, as indented JSON."""
    return TypeAdapter(type(record)).dump_json(record, indent=2)


def read(kind: type[T], path: Path) -> T:
    """Read a record.

    Raises:
        BadDataset: If the file cannot be read or holds something else, naming the first wrong key.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise BadDataset(f"cannot read it: {error.strerror}", path=path) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadDataset(f"{where}: {first['msg'][:200]}", path=path) from error


def number(value: float) -> float | None:
    """A number as records hold it: None where it is not defined."""
    return float(value) if math.isfinite(value) else None


# study.json and the cells


@dataclass(frozen=True, slots=True, config=STRICT)
class Identity:
    """`cell.json`: what decides the outcome of a training.

    Attributes:
        recipe: As it is trained.
        data_sha256: Of the data set.
        fold: Held out.
        seed: Of everything random.
        init: sha256 of each file of initial weights by name, or the cell it continues from; None: random.
        code: See `kellgren.study.cells.CODE`.
    """

    recipe: Document
    data_sha256: Sha256
    fold: Fold
    seed: Natural
    init: dict[str, str] | None
    code: str


@dataclass(frozen=True, slots=True, config=STRICT)
class Training:
    """A cell of a row, as `study.json` lists it.

    Attributes:
        key: Name of its folder in `cells/`.
        seed: Of everything random.
        fold: Held out; -1 for none.
        epochs: Planned.
        init: Initial weights in words; None is random.
        recipe: As it is trained; None for a bundle that is judged as it is.
    """

    key: str
    seed: Natural
    fold: Fold
    epochs: Natural
    init: str | None
    recipe: Document | None


@dataclass(frozen=True, slots=True, config=STRICT)
class Study:
    """`study.json`: a plan written out, and the cells that its tables are made from.

    Attributes:
        plan: With `foreach` written out for this size.
        size: Of the recipes.
        data: Name of the data set folder that was trained on.
        data_sha256: Its fingerprint.
        test_data: Name of the data set folder that was judged on, if it is another one.
        split: Judged on.
        evaluation: Folder of each cell with the predictions that count.
        held_out_evaluation: The same for the held-out fold.
        fold: Held out by rows that name none; -1 for none.
        train_kl: Training knees of each KL grade.
        written: When, ISO 8601.
        cells: Trainings by row.
    """

    plan: Plan
    size: str
    data: str
    data_sha256: Sha256
    test_data: str | None
    split: str
    evaluation: str
    held_out_evaluation: str
    fold: Fold
    train_kl: tuple[Natural, ...]
    written: str
    cells: dict[str, tuple[Training, ...]]

    @property
    def judged_on(self) -> str:
        """Name of the data set folder that was judged on."""
        return self.test_data or self.data


@dataclass(frozen=True, slots=True, config=STRICT)
class Job:
    """`job.json`: what a worker is told.

    Attributes:
        recipe: What to train.
        folder: The cell's folder.
        data: Data set folder to train on.
        seed: Of everything random.
        fold: Held-out fold.
        init: Initial weights, None for random.
        device: As `kellgren train --device`.
        evaluations: By name: data set folder and split; of the split `train` the held-out fold.
        test_looks: How often a test split has been read.
        deadline: Unix time at which training stops with the epochs it has, 0 for none.
        bundle: Whether to export the bundle. Without, evaluations end in `cells.BY_NETWORK`: quick on an
            accelerator, and the bundle can follow elsewhere.
    """

    recipe: Document
    folder: str
    data: str
    seed: Natural
    fold: Fold
    init: str | None
    device: str
    evaluations: dict[str, tuple[str, str]]
    test_looks: Natural = 0
    deadline: float = 0.0
    bundle: bool = True


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class Learned:
    """What a bundle's network learned from: of the `training` block of its card.

    Attributes:
        data_sha256: Of the data set.
        held_out_fold: None for the whole train split.
        initial_weights: In words; None is random.
        seeds: Of everything random.
        epochs: Trained.
        best_epoch: Whose weights were kept.
        minutes: Of training.
        hardware: What it was trained on.
    """

    data_sha256: str
    held_out_fold: int | None
    initial_weights: str | None
    seeds: tuple[int, ...] = ()
    epochs: int | None = None
    best_epoch: int | None = None
    minutes: float | None = None
    hardware: str | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Judged:
    """`cell.json` of a bundle that is judged as it is: its name@version, and what it learned from."""

    bundle: str
    training: tuple[Learned, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class Failure:
    """`failed.json`: why a cell failed.

    Attributes:
        reason: In plain words.
        code: Exit code of the worker, None if none was started.
    """

    reason: str
    code: int | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Cost:
    """`cost.json`: what a training took and what its network takes; of a bundle what graph and card say.

    Attributes:
        parameters: Frozen ones included.
        macs: Multiplications with addition for one knee, seen once.
        epochs: Trained.
        best_epoch: Whose weights were kept; None for several networks.
        train_seconds: Of training, without export and grading.
        peak_bytes: Most memory held: of an accelerator its own, otherwise of the process.
        machine: What it was trained on.
        input: Height and width by view.
        epochs_planned: By the recipe.
        stopped: Why it ended early, if it did.
        images_per_s: Trained on, median over epochs.
    """

    parameters: int | None
    macs: int | None
    epochs: Natural
    best_epoch: int | None
    train_seconds: float | None
    peak_bytes: int | None
    machine: str
    input: dict[str, tuple[int, int]] = Field(default_factory=dict)
    epochs_planned: int | None = None
    stopped: str | None = None
    images_per_s: float | None = None


# table.json


@dataclass(frozen=True, slots=True, config=STRICT)
class Interval:
    """A figure with its 95 % interval over patients."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, config=STRICT)
class RowFigure(Interval):
    """A row's figure: the mean over its trainings with its interval, and the range over the trainings."""

    seed_low: float | None
    seed_high: float | None


@dataclass(frozen=True, slots=True, config=STRICT)
class RowCost:
    """What a row costs: means over its trainings, or sums over the networks that vote.

    Attributes:
        parameters: See `Cost`.
        macs: See `Cost`.
        epochs: Of each training.
        best_epoch: Of each training.
        stopped: Of each training.
        train_minutes: Of one training.
        peak_bytes: Most memory held.
        machine: Which ones.
        init: Initial weights in words; None is random.
    """

    parameters: int | None
    macs: int | None
    epochs: tuple[int, ...]
    best_epoch: tuple[int | None, ...]
    stopped: tuple[str | None, ...]
    train_minutes: float | None
    peak_bytes: int | None
    machine: tuple[str, ...]
    init: str | None


@dataclass(frozen=True, slots=True, config=STRICT)
class SearchedVote:
    """What a search chose on the held-out fold.

    Attributes:
        members: Names of rows.
        rule: How they vote.
        held_out_accuracy: KL accuracy of this vote there.
        held_out_qwk: Quadratic weighted kappa there.
        n: Knees there.
        tried: Votes that were tried.
    """

    members: tuple[str, ...]
    rule: Literal["soft", "hard", "mixed"]
    held_out_accuracy: float
    held_out_qwk: float
    n: int
    tried: int


@dataclass(frozen=True, slots=True, config=STRICT)
class TableRow:
    """A line of the table; see `kellgren.study.plan.Row` for what the plan says.

    Attributes:
        best_of_group: Whether it is the best of its group by the first figure.
        state: `done`, or why not.
        seeds: Of the trainings that are done.
        folds: Left out in turn, where there are several.
        n: Knees.
        figures: By name; empty until done.
        cost: None until done.
        chosen: Of a searched vote.
    """

    name: str
    title: str
    recipe: str | None
    bundle: str | None
    set: tuple[str, ...]
    without: tuple[str, ...]
    group: str | None
    best_of_group: bool
    note: str
    state: str
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    n: int | None
    figures: dict[str, RowFigure]
    cost: RowCost | None
    chosen: SearchedVote | None
    vote: Vote | None


@dataclass(frozen=True, slots=True, config=STRICT)
class Difference:
    """A figure of the second row less that of the first, every draw of patients serving both.

    Attributes:
        mcnemar_p: Exact McNemar test, of accuracy with one training each.
    """

    figure: str
    first: float | None
    second: float | None
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    mcnemar_p: float | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Comparison:
    """Two rows that are done."""

    first: str
    second: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class Beside:
    """A figure that a paper printed, ours beside it, and what differs."""

    row: str
    figure: str
    printed: float
    where: str
    ours: RowFigure | None
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class AtlasFeature:
    """An OARSI feature of one row, on the knees as read and reweighted to the KL grades of all knees.

    Attributes:
        n: Knees.
        n_read: Of these with a reading.
    """

    task: str
    n: int
    n_read: int
    read: dict[str, Interval]
    reweighted: dict[str, Interval]


@dataclass(frozen=True, slots=True, config=STRICT)
class AtlasRow:
    """The OARSI features of a row that is done."""

    row: str
    features: tuple[AtlasFeature, ...]


Shares = dict[str, tuple[float | None, ...]]
"""By name, the share of each KL grade."""


@dataclass(frozen=True, slots=True, config=STRICT)
class GradientShare:
    """Shares of the loss's gradient by KL grade of a row, see `kellgren.study.gradient_share`."""

    row: str
    alpha: tuple[float, ...]
    gamma: float
    n: int
    shares: Shares
    printed: Shares


@dataclass(frozen=True, slots=True, config=STRICT)
class Table:
    """`table.json`: everything that a study's tables and plots show.

    Attributes:
        judged_on: Name of the data set folder.
        by_network: The networks themselves answered, neither calibrated nor with test-time looks.
        held_out_fold: Judged on, where rows are chosen and not reported.
        n: Knees of the first row that is done.
        n_patients: Their patients.
        draws: Of the bootstrap.
        figures: Names of the columns.
        differs: What differs between all printed figures and ours.
    """

    plan: str
    title: str
    source: str
    note: str
    size: str
    data: str
    data_sha256: Sha256
    judged_on: str
    split: str
    by_network: bool
    held_out_fold: int | None
    n: int | None
    n_patients: int | None
    draws: int
    figures: tuple[str, ...]
    differs: tuple[str, ...]
    rows: tuple[TableRow, ...]
    comparisons: tuple[Comparison, ...]
    printed: tuple[Beside, ...]
    oarsi: tuple[AtlasRow, ...] = ()
    gradient_share: tuple[GradientShare, ...] = ()

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the rows by name."""
        return {row.name: row.title for row in self.rows}
