"""`card.json`: everything that is needed to use a network rightly, typed, bounded, read and written here.

Every number is finite and within its range. A key that this version does not know is kept, written back and
listed by `Card.unknown_keys`; a card of a later major version of the program is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from kellgren._version import __version__
from kellgren.errors import BadBundle
from kellgren.model.calibrators import Calibrator, Dirichlet, Temperature
from kellgren.model.decision import DecisionRule
from kellgren.model.framing import View, check_view
from kellgren.model.steps import MOST_STEPS, Size, Step
from kellgren.model.tta import TestTimeLook
from kellgren.vocabulary import TASKS
from kellgren.writing import write_json

LARGEST: Final = 4 << 20
"""Most bytes of a card."""

T = TypeVar("T")
Row = Annotated[tuple[T, ...], Strict(False)]
"""A list of JSON: a tuple here, of strict entries."""

Kind = Literal["grader", "localiser", "contour"]
"""What a bundle is for: grades a crop, finds joints on a film, finds the joint line on a crop."""

Vote = Literal["soft", "hard", "mixed"]


def _printable(text: str) -> str:
    if not all(char.isprintable() for char in text):
        raise ValueError("it holds control characters")
    return text


def _task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"{name[:20]!r} is not a known task")
    return name


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"{name[:20]!r} is not a plain file name")
    return name


def is_inside(path: str) -> bool:
    """Whether a path, parted by `/`, stays inside the folder that it starts from, on every system."""
    parts = path.split("/")
    # a backslash or a drive's colon would part folders on Windows, where this check does not see them
    plain = all(re.fullmatch(r"[^\\:\x00-\x1f]+", part) for part in parts)
    return plain and len(path) < 250 and not {".", ".."} & set(parts)


def _inside(path: str) -> str:
    if not is_inside(path):
        raise ValueError(f"{path[:40]!r} lies outside the bundle")
    return path


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
Words = Annotated[str, Field(max_length=4000), AfterValidator(_printable)]
TaskName = Annotated[str, AfterValidator(_task)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Amount = Annotated[float, Field(ge=0, le=1e9)]
Factor = Annotated[float, Field(ge=-1e6, le=1e6)]
Epochs = Annotated[int, Field(ge=0, le=10**6)]
Weight = Annotated[float, Field(gt=0, le=1e6)]


class Part(BaseModel):
    """A part of a card: frozen, of strict types, keeping the keys that it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    def changed(self, **changes: object) -> Self:
        """A copy with other values, checked again."""
        known = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate({**known, **changes})


class Input(Part):
    """One input of a graph.

    Attributes:
        name: Name in the graph.
        view: What is cut out, see `kellgren.model.framing.View`.
        size: (height, width) in pixels that the steps end at.
        channels: 1, or 3 for a grey image repeated.
        steps: From crop to network, see `kellgren.model.steps`.
    """

    name: Words
    view: View
    size: Annotated[tuple[Size, Size], Strict(False)]
    channels: Literal[1, 3]
    steps: Annotated[Row[Step], Field(max_length=MOST_STEPS)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_view(self.view, self.steps)
        return self


class DirichletMap(Part):
    """`weights` (C, C), a row per grade, and `bias` (C,), see `kellgren.model.calibrators.Dirichlet`."""

    weights: Row[Row[Factor]]
    bias: Row[Factor]


class Interval(Part):
    """Conformal interval of one task: threshold, nominal coverage."""

    threshold: Probability
    coverage: Annotated[float, Field(gt=0, lt=1)]


class Refer(Part):
    """When a person must read the knee, and what that rule did to the held-out knees.

    Attributes:
        KL_interval_grades: A KL interval of this many grades or more is referred.
    """

    KL_interval_grades: Annotated[int, Field(ge=2, le=6)] | None = None
    share_referred: Probability | None = None
    accuracy_kept: Probability | None = None
    accuracy_referred: Probability | None = None


class OutOfDistribution(Part):
    """Largest distance from ordinary inputs (see `kellgren.model.ood`)."""

    threshold: Annotated[float, Field(ge=0)]  # of few knees that look alike it has any size


class CalibrationFigures(Part):
    """Negative log likelihood and calibration error of one task, before and after."""

    nll_before: Amount
    nll: Amount
    ece_before: Probability
    ece: Probability


class Fitted(Part):
    """How a calibration was fitted, and on how many knees."""

    method: Words
    n: Annotated[int, Field(ge=1, le=10**9)]
    n_patients: Annotated[int, Field(ge=1, le=10**9)]
    figures: dict[TaskName, CalibrationFigures] = {}


class Calibration(Part):
    """What turns logits into honest statements; empty: the probabilities are not calibrated.

    Attributes:
        temperature: By task; a task in neither this nor `dirichlet` is not calibrated.
        dirichlet: By task.
        conformal: Interval by task.
        refer: When a person must read the knee.
        out_of_distribution: When a knee is unlike the training knees.
        side_certainty: Probability of the other side beyond which the image contradicts a stated one.
        side_doubt: Agreement of the image with the stated side below which it may show no knee; None
            never doubts.
        fitted: How all of these were fitted.
    """

    temperature: dict[TaskName, Annotated[float, Field(gt=0, le=1e6)]] = {}
    dirichlet: dict[TaskName, DirichletMap] = {}
    conformal: dict[TaskName, Interval] = {}
    refer: Refer | None = None
    out_of_distribution: OutOfDistribution | None = None
    side_certainty: Probability = 0.95
    side_doubt: Probability | None = None
    fitted: Fitted | None = None

    @property
    def refer_grades(self) -> int | None:
        """A KL interval of this many grades or more is referred to a person; None never refers."""
        return None if self.refer is None else self.refer.KL_interval_grades

    @property
    def atypical(self) -> float | None:
        """Largest distance from ordinary inputs, or None."""
        return None if self.out_of_distribution is None else self.out_of_distribution.threshold

    @cached_property
    def calibrators(self) -> Mapping[str, Calibrator]:
        """By task; a task without one is not calibrated."""
        maps = {
            task: Dirichlet(np.array(entry.weights, dtype=np.float64), np.array(entry.bias, dtype=np.float64))
            for task, entry in self.dirichlet.items()
        }
        return {task: Temperature(value) for task, value in self.temperature.items()} | maps

    @model_validator(mode="after")
    def _check(self) -> Self:
        for task, entry in self.dirichlet.items():
            classes = len(entry.bias)
            if task in self.temperature:
                raise ValueError(f"{task} has a temperature and a Dirichlet map")
            if classes != TASKS[task].classes:
                raise ValueError(f"{task} has a Dirichlet map of {classes} classes")
            if len(entry.weights) != classes or any(len(row) != classes for row in entry.weights):
                raise ValueError(f"the Dirichlet weights of {task} are not {classes} x {classes}")
        return self


class Member(Part):
    """One member of an ensemble: its bundle's path inside the ensemble, and the weight of its vote."""

    bundle: Annotated[str, AfterValidator(_inside)]
    weight: Weight


class LocaliserSettings(Part):
    """What decides which proposals become knees, see `kellgren.locate.Settings`."""

    window1: Annotated[int, Field(ge=8, le=512)]
    window2: Annotated[int, Field(ge=8, le=512)]
    propose: Probability
    accept: Probability
    proposals: Annotated[int, Field(ge=1, le=1000)]
    passes: Annotated[int, Field(ge=1, le=10)]


class Training(Part):
    """How a network was trained; None where that is not known.

    Attributes:
        data: Name of the data set folder.
        data_sha256: Fingerprint of its list of knees.
        split: Split that was learned from.
        folds: Folds that were learned from.
        held_out_fold: Fold that was not.
        recipe: Name of the recipe.
        size: Its size.
        seeds: Of each run.
        epochs: That were run; of a localiser for each level.
        best_epoch: The one whose weights these are.
        minutes: All epochs together.
        hardware: What trained.
        initial_weights: File of the weights that training started from; None: random ones.
        backbone: Name of the network's trunk.
        commit: Of the program.
        settings: The whole recipe as it was used.
        films: Of a localiser: how many were composed.
        windows: Of a localiser: how many windows each stage learned from.
        parameters: Of a localiser: of each level.
        held_out: Figures on the held-out fold.
        members: Of an ensemble: what each member learned from.
    """

    data: Words | None = None
    data_sha256: Words | None = None
    split: Words | None = None
    folds: Row[int] = ()
    held_out_fold: int | None = None
    recipe: Words | None = None
    size: Words | None = None
    seeds: Row[int] = ()
    epochs: Epochs | Row[Epochs] | None = None
    best_epoch: Epochs | None = None
    minutes: Amount | None = None
    hardware: Words | None = None
    initial_weights: Words | None = None
    backbone: Words | None = None
    commit: Words | None = None
    settings: dict[str, JsonValue] | None = None
    films: Count | None = None
    windows: Row[Count] = ()
    parameters: Row[Count] = ()
    held_out: dict[str, float] | None = None
    members: Row[MemberTraining] = ()


class MemberTraining(Training):
    """What an ensemble's card says of one member; the rest is in the member's own card."""

    bundle: Words
    model: Words
    sha256: Sha256


class Parity(Part):
    """Largest difference between the network in PyTorch and the graph, and what was compared.

    Attributes:
        largest_probability_difference: Of a grader.
        largest_point_difference: Of a joint-line model, as a share of the image.
        largest_difference: Of a localiser, of any output.
        weights: What the graph stores.
        largest_rounding_difference: What rounding the weights changed in a probability.
        knees: How many were compared.
        parameters: Of the network.
    """

    largest_probability_difference: Amount | None = None
    largest_point_difference: Amount | None = None
    largest_difference: Amount | None = None
    weights: Literal["fp16", "fp32"] | None = None
    largest_rounding_difference: Amount | None = None
    knees: Count | None = None
    parameters: Count


class Figure(Part):
    """A figure with its 95 % interval; None where it cannot be computed."""

    value: float | None
    low: float | None = None
    high: float | None = None


class TaskFigures(Part):
    """The figures of one task that `models inspect` shows; the others are kept as they are."""

    accuracy: Figure
    accuracy_pm1: Figure
    qwk: Figure
    auc_macro: Figure


class Validation(Part):
    """The `metrics.json` object of the validation split."""

    n: Annotated[int, Field(ge=1, le=10**9)]
    n_patients: Annotated[int, Field(ge=1, le=10**9)]
    split: Words

    @cached_property
    def tasks(self) -> Mapping[str, TaskFigures]:
        """Figures by task."""
        figures = {task: self.__pydantic_extra__[task] for task in TASKS if task in self.__pydantic_extra__}
        return {task: TaskFigures.model_validate(values) for task, values in figures.items()}

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ = self.tasks
        return self


class Card(Part):
    """A whole card.

    Attributes:
        kind: What the bundle is for; a card without the key is a grader's.
        name: Name of the bundle.
        version: Version of the bundle.
        licence: Of the weights.
        created: ISO 8601.
        kellgren_version: Program version that wrote the bundle.
        sha256: Of each graph by file name.
        description: Words.
        citation: Words.
        tasks: Classes by task, in the order of the graph's outputs.
        oa_from: Whether the OA probability is the OA `head`'s or the `sum` of KL from grade 2 on.
        inputs: Inputs of the graph; none in an ensemble.
        members: Members of an ensemble; none in a single network.
        vote: How the members' probabilities are joined.
        side_convention: `as_right` mirrors left knees, `none` nothing.
        tta: Test-time looks besides the plain one (`kellgren.model.tta`).
        decision: Rule by task; `argmax` where absent.
        localiser: Of a localiser: its thresholds.
        calibration: Empty where the card has null.
        training: How it was trained, if that is told.
        validation: Figures on the validation split, if there is one.
        parity: Proof that the graph is the network.
    """

    kind: Kind = "grader"
    name: Name
    version: Name
    licence: Words
    created: Words
    kellgren_version: Annotated[str, Field(pattern=r"^\d{1,6}\.\d{1,6}[\w.+-]*$", max_length=100)]
    sha256: dict[Annotated[str, AfterValidator(_file_name)], Sha256]
    description: Words
    citation: Words
    tasks: dict[TaskName, int]
    oa_from: Literal["head", "sum"] = "head"
    inputs: Annotated[Row[Input], Field(max_length=8)] = ()
    members: Annotated[Row[Member], Field(max_length=64)] = ()
    vote: Vote = "soft"
    side_convention: Literal["as_right", "none"]
    tta: Row[TestTimeLook]
    decision: dict[TaskName, DecisionRule]
    localiser: LocaliserSettings | None = None
    calibration: Annotated[Calibration, BeforeValidator(lambda value: {} if value is None else value)]
    training: Training | None = None
    validation: Validation | None = None
    parity: Parity | None = None

    @property
    def title(self) -> str:
        """`name@version`, as in the `model` column."""
        return f"{self.name}@{self.version}"

    @property
    def unknown_keys(self) -> Row[str]:
        """Keys that this version of the program does not know, each with the keys that lead to it."""
        return tuple(_unknown(self, ""))

    def to_json(self) -> dict[str, JsonValue]:
        """The card as JSON values: what was read or set, unknown keys included."""
        document: dict[str, JsonValue] = self.model_dump(mode="json", exclude_unset=True)
        return document

    @field_serializer("calibration", mode="wrap")
    def _null(self, value: Calibration, handler: SerializerFunctionWrapHandler) -> JsonValue:
        written: JsonValue = handler(value) if value.model_fields_set else None
        return written

    @field_validator("kellgren_version")
    @classmethod
    def _not_later(cls, version: str) -> str:
        major = __version__.split(".")[0]
        if int(version.split(".")[0]) > int(major):
            raise ValueError(f"this is kellgren {__version__}: install the version that made the bundle")
        return version

    @field_validator("tasks")
    @classmethod
    def _classes(cls, tasks: dict[str, int]) -> dict[str, int]:
        for task, classes in tasks.items():
            if TASKS[task].classes != classes:
                raise ValueError(f"{task} has {TASKS[task].classes} classes, not {classes}")
        return tasks

    @field_validator("decision", "calibration")
    @classmethod
    def _of_tasks(
        cls, value: dict[str, DecisionRule] | Calibration, info: ValidationInfo
    ) -> dict[str, DecisionRule] | Calibration:
        named = (
            {*value} if isinstance(value, dict) else {*value.temperature, *value.dirichlet, *value.conformal}
        )
        for task in sorted(named):
            if task not in info.data.get("tasks", {task: 0}):
                raise ValueError(f"{task} is not among the card's tasks")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.inputs) == bool(self.members):
            raise ValueError("a card has either inputs (a network) or members (an ensemble)")
        if self.members and self.kind != "grader":
            raise ValueError(f"an ensemble grades: it cannot be a {self.kind}")
        if self.kind == "grader" and not set(self.tasks) - {"SIDE"}:
            raise ValueError("a grader's tasks are missing")
        if self.oa_from == "sum" and "KL" not in self.tasks and self.kind == "grader":
            raise ValueError("oa_from is sum, but KL is not among the tasks")
        if (self.kind == "localiser") != (self.localiser is not None):
            raise ValueError("localiser settings belong to a localiser, and to nothing else")
        names = [entry.name for entry in self.inputs]
        if len(set(names)) < len(names):
            raise ValueError("two inputs have one name")
        for entry in self.inputs:
            if (entry.view in ("film", "window")) != (self.kind == "localiser"):
                raise ValueError(f"input {entry.name!r}: a {self.kind} is not shown a {entry.view}")
        turns = "flip" in self.tta or (self.side_convention == "as_right" and "SIDE" in self.tasks)
        for task in self.tasks if turns and self.inputs else ():
            if TASKS[task].mirrored not in self.tasks:
                raise ValueError(f"tasks: {task} without {TASKS[task].mirrored}, which it is when mirrored")
        return self


def _unknown(part: Part, place: str) -> Iterator[str]:
    """Unknown keys of a part and of the parts in it; those of metrics and recipes are not the card's."""
    if isinstance(part, Validation):
        return
    yield from (f"{place}{key}" for key in part.__pydantic_extra__)
    for name in type(part).model_fields:
        value = getattr(part, name)
        entries = {"": value} if isinstance(value, Part) else value if isinstance(value, dict) else {}
        entries = dict(enumerate(value)) if isinstance(value, tuple) else entries
        for key, entry in entries.items():
            if isinstance(entry, Part):
                yield from _unknown(entry, f"{place}{name}.{key}".rstrip(".") + ".")


def parse(data: bytes, *, where: str) -> Card:
    """A card as stored.

    Args:
        data: Content of `card.json`.
        where: What error messages call the bundle.

    Raises:
        BadBundle: Naming the key that is missing or wrong.
    """
    if len(data) > LARGEST:
        raise BadBundle(f"card.json has {len(data):,} bytes, more than {LARGEST:,}", path=where)
    try:
        return Card.model_validate(json.loads(data, parse_constant=_no_number, parse_float=_finite))
    except ValidationError as error:
        raise BadBundle(explain(error), path=where) from error
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"card.json is not JSON: {str(error)[:100]}", path=where) from error


def write(card: Card, path: Path) -> None:
    """Write a card, whole or not at all."""
    write_json(path, card.to_json())


def explain(error: ValidationError) -> str:
    """The first thing that is wrong with a card, naming the key."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(key)[:40] for key in first["loc"] if key != "[key]")
    message = (
        first["msg"]
        .removeprefix("Value error, ")
        .replace("Input should", "should")
        .replace("String should", "should")
    )
    if first["type"] == "missing":
        return f"the card has no {place!r}"
    if not place:
        return f"the card is wrong: {message}"
    value = first["input"]
    shown = f" is {str(value)[:40]!r}," if isinstance(value, str | int | float) else ":"
    return f"the card's {place}{shown} {message}"


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
