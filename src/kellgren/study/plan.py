"""Plans: which recipes are compared, with what changed, and what a paper printed for each.

A plan is a YAML file with the fields of `Plan`. A row with `foreach` stands for several, one for each
combination of the values, with `{key}` replaced in its texts; where the sizes of a recipe differ, values are
given by size.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from kellgren.errors import BadRecipe, nearest
from kellgren.model.decision import DecisionRule
from kellgren.study import figures
from kellgren.train import documents
from kellgren.train.documents import STRICT, Document
from kellgren.train.graders import recipe as recipes
from kellgren.vocabulary import TASKS

SIZES: Final = ("full", "small", "matched")
_MOST_ROWS: Final = 1000
Seed = Annotated[int, Field(ge=0, lt=2**31)]
EVERY: Final = "*"
"""In `compare`, stands for every other row."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Vote:
    """Rows that vote.

    Attributes:
        of: Names of the rows.
        rule: `soft`, `hard` or `mixed` (`kellgren.model.vote`), or `search`: members and rule are those that
            are best on the held-out fold.
        trainings: `by_seed` has one vote for each seed, among the rows' networks of that seed. `all` has one
            vote among all trainings of the rows, of every seed and fold.
        decision: How a soft vote decides a task's grade; the most probable one where it does not say.
    """

    of: tuple[str, ...] = ()
    rule: Literal["soft", "hard", "mixed", "search"] = "soft"
    trainings: Literal["by_seed", "all"] = "by_seed"
    decision: dict[str, DecisionRule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, config=STRICT)
class Row:
    """One line of the table: a recipe with changes, a bundle as it is, or a vote of other rows.

    Attributes:
        name: Short and unique.
        title: What a reader sees; the name by default.
        recipe: Name or file of a recipe; empty for a bundle or a vote.
        bundle: Packaged bundle, or a bundle's folder or zip, judged beside what the plan trains.
        set: Values of the recipe to exchange, as `kellgren train --set`.
        without: Parts of the recipe to leave out: `views.clahe`, `tasks.OA`.
        seeds: Seeds, one training each; empty means those of the command line.
        folds: Folds to leave out in turn, one training each; empty means that of the command line.
        init: `given` starts from the command line's initial weights where they hold the row's backbones;
            `random` never does.
        start: An earlier row whose network of the same seed and fold this one continues from, heads included.
        vote: Of which rows.
        group: Rows of one group are sizes or settings of the same thing: the best one is marked.
        note: What a reader must know about this row.
    """

    name: str
    title: str = ""
    recipe: str = ""
    bundle: str = ""
    set: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = ()
    folds: tuple[int, ...] = ()
    init: Literal["given", "random"] = "given"
    start: str = ""
    vote: Vote = Vote()
    group: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, config=STRICT)
class Printed:
    """A figure that a paper printed.

    Attributes:
        row: The row it is about.
        figure: Which, as in `Plan.figures`.
        value: As printed, a share as 0 to 1.
        where: Its place in the paper.
        differs: What differs here, besides what differs for all of them.
    """

    row: str
    figure: str
    value: float
    where: str
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, config=STRICT)
class Plan:
    """What is compared.

    Attributes:
        name: The plan's name on the command line.
        title: Heading of the table.
        source: Paper, or who thought of it.
        rows: Lines of the table; those of votes come after the rows that vote.
        figures: Columns: `TASK.FIGURE` for a figure of `metrics.json`, and of a figure per grade
            `TASK.FIGURE.GRADE` or `TASK.FIGURE.mean`.
        split: `val` reports on the validation split. `held_out` is for choosing: rows are judged on the
            held-out fold, which no training saw but by which its epoch was chosen.
        compare: Pairs of rows, the second minus the first; `*` stands for every other row.
        printed: What the paper printed.
        differs: What differs between the paper's figures and ours, for all of them.
        tables: Further tables, of what is no row: `gradient_share`.
        note: What a reader must know about the whole.
    """

    name: str
    title: str
    source: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    figures: tuple[str, ...] = ("KL.accuracy", "KL.accuracy_pm1", "KL.qwk", "KL.mae", "KL.auc_macro")
    split: Literal["val", "held_out"] = "val"
    compare: tuple[tuple[str, str], ...] = ()
    printed: tuple[Printed, ...] = ()
    differs: tuple[str, ...] = ()
    tables: tuple[Literal["gradient_share"], ...] = ()
    note: str = ""

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            BadRecipe: Naming the nearest one.
        """
        names = tuple(row.name for row in self.rows)
        if name not in names:
            raise BadRecipe(f"plan {self.name!r}: no row {name!r}", remedy=nearest(name, names))
        return self.rows[names.index(name)]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The comparisons, with `*` written out."""
        names = [row.name for row in self.rows]
        return tuple(
            (first, other)
            for first, second in self.compare
            for other in (names if second == EVERY else (second,))
            if other != first
        )


def available() -> tuple[str, ...]:
    """Names of the packaged plans."""
    return documents.available("study/plans")


def load(name_or_path: str, *, size: str = "full") -> Plan:
    """Read a plan by packaged name or from a YAML file.

    Args:
        name_or_path: Which.
        size: The recipes' size, one of `SIZES`.

    Raises:
        BadRecipe: Unknown plan, key, row, recipe or figure, naming the nearest known one.
    """
    values, path = documents.read(name_or_path, "study/plans", "plan")
    if size not in SIZES:
        raise BadRecipe(f"no size {size!r}", remedy=nearest(size, SIZES))
    return from_dict({"name": path.stem, **values}, size=size)


def from_dict(values: Document, *, size: str) -> Plan:
    """A plan from plain values.

    Raises:
        BadRecipe: As `load`.
    """
    by_size = {each: _expanded(values.get("rows"), each) for each in SIZES}
    known = tuple(dict.fromkeys(str(row.get("name")) for rows in by_size.values() for row in rows))
    plans = {
        each: documents.parse(Plan, {**values, "rows": [*rows]}, where="plan")
        for each, rows in by_size.items()
        if rows or each == size  # some plans are of some sizes only
    }
    for each in plans.values():
        _check(each, known)
    plan = plans[size]
    present = {row.name for row in plan.rows}
    # printed figures of rows that only the other size has
    return replace(plan, printed=tuple(printed for printed in plan.printed if printed.row in present))


def document(row: Row, *, size: str, epochs: int | None = None) -> Document:
    """The recipe of a row as plain values.

    Args:
        row: One with a recipe.
        size: Of the recipe.
        epochs: Train this long instead, shared out among the recipe's phases, one each at least.

    Raises:
        BadRecipe: Unknown recipe, or an assignment that cannot be made.
    """
    values = documents.override(documents.document(row.recipe, size=size), row.set)
    kind = values.pop("kind", "grader")
    if kind != "grader":
        raise BadRecipe(f"row {row.name!r}: {row.recipe!r} trains no grader but {kind}")
    for path in row.without:
        _remove(values, path, row.name)
    return values if epochs is None else _shortened(values, epochs)


def _expanded(rows: JsonValue, size: str) -> list[Document]:
    """Rows with `foreach` written out, each as plain values of one size."""
    expanded: list[Document] = []
    for given in rows if isinstance(rows, list) else [rows]:
        if not isinstance(given, dict):
            raise BadRecipe("plan.rows is not a list of mappings")
        each = given.get("foreach", {})
        if not isinstance(each, dict):
            raise BadRecipe(f"plan.rows: foreach of {given.get('name')!r} is not a mapping")
        row = {key: value for key, value in given.items() if key != "foreach"}
        lists = [_of_size(value, size, f"foreach.{key}") for key, value in each.items()]
        longest = max((len(str(word)) for words in lists for word in words), default=0)
        if math.prod(map(len, lists)) > _MOST_ROWS or longest > 100:
            raise BadRecipe(f"plan.rows: foreach of {given.get('name')!r} makes too many or too long rows")
        for combination in itertools.product(*lists):
            filled = {
                key: _filled(value, dict(zip(each, combination, strict=True))) for key, value in row.items()
            }
            expanded.append(_sized(filled, size))
    return expanded


def _filled(value: JsonValue, words: Document) -> JsonValue:
    """The value with `{key}` replaced in every text."""
    if isinstance(value, dict):
        return {key: _filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    if isinstance(value, str):
        for key, word in words.items():
            value = value.replace(f"{{{key}}}", str(word))
    return value


def _sized(row: Document, size: str) -> Document:
    return row | {
        key: _of_size(row[key], size, key) for key in ("set", "without", "seeds", "folds") if key in row
    }


def _of_size(value: JsonValue, size: str, where: str) -> list[JsonValue]:
    """A list, or the list of this size."""
    if isinstance(value, dict):
        for key in value:
            if key not in SIZES:
                raise BadRecipe(f"plan.rows: {where}: no size {key!r}", remedy=nearest(key, SIZES))
        value = value.get(size, [])
    if not isinstance(value, list):
        raise BadRecipe(f"plan.rows: {where} is {value!r}, not a list")
    return value


def _check(plan: Plan, known: tuple[str, ...]) -> None:
    names = [row.name for row in plan.rows]
    for name in names:
        if names.count(name) > 1:
            raise BadRecipe(f"plan.rows: two are called {name!r}")
    for index, row in enumerate(plan.rows):
        _check_row(plan, row, names[:index])
    for pair in plan.compare:
        for name in pair:
            if name != EVERY:
                plan.row(name)
    for figure in (*plan.figures, *(printed.figure for printed in plan.printed)):
        figures.parse(figure)
    for printed in plan.printed:
        if printed.row not in known:
            raise BadRecipe(f"plan.printed: no row {printed.row!r}", remedy=nearest(printed.row, known))


def _check_row(plan: Plan, row: Row, before: list[str]) -> None:
    where = f"plan row {row.name!r}"
    if sum(map(bool, (row.recipe, row.bundle, row.vote.of))) != 1:
        raise BadRecipe(f"{where} has a recipe, a bundle or a vote, one of the three")
    if row.bundle and (row.set or row.without or row.seeds or row.folds or row.start):
        raise BadRecipe(
            f"{where}: a bundle is judged as it is",
            remedy="give set, without, seeds, folds and start to recipes",
        )
    if row.start:
        _check_start(plan, row, before)
    if any(fold < 0 for fold in row.folds) or len(set(row.folds)) < len(row.folds):
        raise BadRecipe(f"{where}: folds {list(row.folds)}: each once, counted from 0")
    for member in row.vote.of:
        plan.row(member)
        if member not in before:
            raise BadRecipe(f"{where} votes with {member!r}, which comes after it")
        if plan.row(member).vote.of:
            raise BadRecipe(f"{where} votes with {member!r}, which is a vote itself")
        if len(plan.row(member).folds) > 1 and plan.split == "val" and row.vote.trainings == "by_seed":
            raise BadRecipe(
                f"{where} votes with {member!r}, which is trained for several folds",
                remedy="vote among all of them: trainings: all",
            )
    _check_decision(row, where)
    known = documents.available()
    if row.recipe and Path(row.recipe).suffix not in (".yaml", ".yml") and row.recipe not in known:
        raise BadRecipe(f"{where}: no recipe {row.recipe!r}", remedy=nearest(row.recipe, known))


def _check_start(plan: Plan, row: Row, before: list[str]) -> None:
    where = f"plan row {row.name!r}"
    if not row.recipe:
        raise BadRecipe(f"{where} trains nothing, so it starts from nothing", remedy="leave start out")
    if not plan.row(row.start).recipe:
        raise BadRecipe(f"{where} starts from {row.start!r}, which the plan does not train")
    if row.start not in before:
        raise BadRecipe(f"{where} starts from {row.start!r}, which comes after it")
    if row.init == "random":
        raise BadRecipe(f"{where} starts from {row.start!r} and at random", remedy="one of the two")


def _check_decision(row: Row, where: str) -> None:
    if row.vote.decision and row.vote.rule != "soft":
        raise BadRecipe(f"{where}: only soft votes have a decision, {row.vote.rule} ones count ballots")
    for task in row.vote.decision:
        if task not in TASKS:
            raise BadRecipe(f"{where}: decision: no task {task!r}", remedy=nearest(task, tuple(TASKS)))


def _remove(values: Document, path: str, row: str) -> None:
    *way, last = path.split(".")
    target: JsonValue = values
    for key in way:
        target = target.get(key) if isinstance(target, dict) else None
    if not isinstance(target, dict) or last not in target:
        known = tuple(target) if isinstance(target, dict) else tuple(TASKS)
        raise BadRecipe(f"row {row!r}: without: the recipe has no {path!r}", remedy=nearest(last, known))
    del target[last]


def _shortened(values: Document, epochs: int) -> Document:
    """The recipe with this many epochs: its phases keep their shares, and each has one at least."""
    optimise = recipes.from_dict(values).optimise
    epochs = max(epochs, len(optimise.phases))
    before = list(itertools.accumulate(phase.epochs for phase in optimise.phases))
    lengths: list[int] = []
    for index, end in enumerate(before):
        left = len(before) - index - 1
        length = max(1, round(epochs * end / optimise.epochs) - sum(lengths))
        lengths.append(min(length, epochs - sum(lengths) - left))
    phases = [
        replace(phase, epochs=length, warmup=min(phase.warmup, length))
        for phase, length in zip(optimise.phases, lengths, strict=True)
    ]
    return values | {"optimise": asdict(replace(optimise, phases=tuple(phases)))}
