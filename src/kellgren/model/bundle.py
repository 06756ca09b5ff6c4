"""Model bundles: a network, and everything needed to use it rightly, in a folder or a zip of it.

A bundle holds `model.onnx`, `card.json`, `golden/` (simulated inputs with their outputs) and optionally
`typical.npz` (what ordinary inputs look like to the network). An ensemble holds a card and its members'
bundles. Nothing in a bundle is executed: graphs are ONNX, tables are npz without pickles.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadBundle
from kellgren.model import steps
from kellgren.model.calibrators import Calibrator, Dirichlet, Temperature
from kellgren.model.decision import DecisionRule
from kellgren.model.tta import TTA
from kellgren.vocabulary import TASKS

DEFAULT: Final = "joint"
"""The packaged bundle that is used unless another is named."""

CARD: Final = "card.json"
GRAPH: Final = "model.onnx"
TYPICAL: Final = "typical.npz"

Kind = Literal["grader", "localiser", "contour"]
"""What a bundle is for: grades a crop, finds joints on a film, finds the joint line on a crop."""

Vote = Literal["soft", "hard", "mixed"]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a graph.

    Attributes:
        name: Name in the graph.
        view: What is shown: `joint`, `main_joint`, `left_patch`, ...
        size: (height, width) in pixels.
        channels: 1, or 3 for a grey image repeated.
        steps: From crop to network, see `kellgren.model.steps`.
    """

    name: str
    view: str
    size: tuple[int, int]
    channels: int
    steps: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """Conformal interval of one task: threshold, nominal coverage."""

    threshold: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns logits into honest statements.

    Attributes:
        calibrators: By task; a task without one is not calibrated.
        interval: By task.
        refer_grades: A KL interval of this many grades or more is referred to a person; None never refers.
        atypical: Largest distance from ordinary inputs (see `kellgren.model.ood`), or None.
        side_certainty: Probability of the other side beyond which the image contradicts a stated one.
        side_doubt: Agreement of the image with the stated side below which it may show no knee; None
            never doubts.
    """

    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    interval: Mapping[str, Interval] = field(default_factory=dict)
    refer_grades: int | None = None
    atypical: float | None = None
    side_certainty: float = 0.95
    side_doubt: float | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One voice of an ensemble: its bundle's path inside the ensemble, and its weight."""

    path: str
    weight: float


@dataclass(frozen=True, slots=True)
class Card:
    """The typed part of `card.json`; `document` is the whole of it.

    Attributes:
        name: Name of the bundle.
        version: Version of the bundle.
        tasks: Classes by task, in the order of the graph's outputs.
        inputs: Inputs of the graph; none in an ensemble.
        side_convention: `as_right` or `none`.
        tta: Test-time looks besides the plain one (`kellgren.model.tta.TTA`).
        decision: Rule by task; `argmax` where absent.
        calibration: See `Calibration`.
        oa_from: Whether the OA probability is the OA `head`'s or the `sum` of KL from grade 2 on.
        members: Voices of an ensemble; none in a single network.
        vote: How the voices are joined.
        kind: What the bundle is for; a card without the key is a grader's.
        document: The card as stored.
    """

    name: str
    version: str
    tasks: Mapping[str, int]
    inputs: tuple[Input, ...]
    side_convention: Literal["as_right", "none"]
    tta: tuple[str, ...]
    decision: Mapping[str, DecisionRule]
    calibration: Calibration
    oa_from: Literal["head", "sum"]
    members: tuple[Member, ...]
    vote: Vote
    kind: Kind
    document: Mapping[str, Any]

    @property
    def title(self) -> str:
        """`name@version`, as in the `model` column."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle.

    Attributes:
        root: Its folder, or the folder inside its zip.
        card: Its card.
        members: Opened members of an ensemble.
    """

    root: Traversable
    card: Card
    members: tuple[Bundle, ...] = ()

    def graph(self, name: str = GRAPH) -> bytes:
        """An ONNX graph, checked against the card's sha256.

        Args:
            name: Its file's name; a localiser has two graphs.

        Raises:
            BadBundle: If it is missing or differs from what the card names.
        """
        data = _read(self.root, name)
        digest = hashlib.sha256(data).hexdigest()
        expected = self.card.document["sha256"].get(name)
        if digest != expected:
            raise BadBundle(
                f"{name} has sha256 {digest[:12]}..., the card says {str(expected)[:12]}...",
                path=str(self.root),
                remedy="the file is damaged or was exchanged; fetch the bundle again",
            )
        return data

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays of an npz file in the bundle, or None if there is no such file.

        Raises:
            BadBundle: If the file is not an npz file without pickles.
        """
        target = self.root.joinpath(name)
        if not target.is_file():
            return None
        try:
            with np.load(io.BytesIO(target.read_bytes()), allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        # what numpy raises depends on where the damage is; a lone array is no context manager: TypeError
        except (ValueError, OSError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
            raise BadBundle(f"{name} is not a plain npz file: {error}", path=str(self.root)) from error

    def sha256(self) -> str:
        """One fingerprint of all graphs: what `run.json` names."""
        own = self.card.document["sha256"]
        hashes = [own[name] for name in sorted(own) if name.endswith(".onnx")] if not self.members else []
        hashes += [member.sha256() for member in self.members]
        if len(hashes) == 1:
            return str(hashes[0])
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def packaged(kind: Kind | None = None) -> dict[str, Traversable]:
    """Bundles inside the package, by name.

    Args:
        kind: Only bundles of this kind.
    """
    folder = resources.files("kellgren") / "bundles"
    if not folder.is_dir():
        return {}
    found = {entry.name: entry for entry in folder.iterdir() if entry.joinpath(CARD).is_file()}
    if kind is not None:
        found = {name: root for name, root in found.items() if _open(root).card.kind == kind}
    return dict(sorted(found.items()))


def load(name_or_path: str | os.PathLike[str] = DEFAULT) -> Bundle:
    """Open a bundle by packaged name, or from a folder or zip.

    Raises:
        BadBundle: If there is no such bundle, or its card cannot be used; the message says why.
    """
    name = os.fspath(name_or_path)
    known = packaged()
    if name in known:
        return _open(known[name])
    path = Path(name)
    if path.is_dir():
        return _open(path)
    if path.is_file():
        return _open(_inside_zip(path))
    names = ", ".join(known) or "none"
    raise BadBundle(
        f"no bundle {name!r}", remedy=f"give a folder or zip, or one of the packaged ones: {names}"
    )


def _inside_zip(path: Path) -> Traversable:
    try:
        root = zipfile.Path(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise BadBundle("not a bundle: neither a folder nor a zip file", path=path) from error
    if root.joinpath(CARD).is_file():
        return root
    folders = [entry for entry in root.iterdir() if entry.is_dir() and entry.joinpath(CARD).is_file()]
    if len(folders) != 1:
        raise BadBundle(f"the zip holds no {CARD}", path=path)
    return folders[0]


def _open(root: Traversable) -> Bundle:
    try:
        document = json.loads(_read(root, CARD))
    except ValueError as error:
        raise BadBundle(f"{CARD} is not JSON: {error}", path=str(root)) from error
    card = parse_card(document, where=str(root))
    members = tuple(_open(root.joinpath(*PurePosixPath(m.path).parts)) for m in card.members)
    for member in members:
        if dict(member.card.tasks) != {t: c for t, c in card.tasks.items() if t in member.card.tasks}:
            raise BadBundle(f"member {member.card.name} has other tasks than the ensemble", path=str(root))
    for task in card.tasks if members else ():
        if not any(task in member.card.tasks for member in members):
            raise BadBundle(f"no member of the ensemble grades {task}", path=str(root))
    return Bundle(root, card, members)


def _read(root: Traversable, name: str) -> bytes:
    try:
        return root.joinpath(name).read_bytes()
    except (OSError, KeyError) as error:
        raise BadBundle(f"no {name} in the bundle", path=str(root)) from error


def parse_card(document: Mapping[str, Any], *, where: str) -> Card:
    """Check a card and give it types.

    Args:
        document: `card.json` as loaded.
        where: What error messages call the bundle.

    Raises:
        BadBundle: Naming the key that is missing or wrong.
    """
    try:
        members = tuple(_member(m, where) for m in document.get("members", ()))
        inputs = tuple(
            Input(
                i["name"],
                i["view"],
                (int(i["size"][0]), int(i["size"][1])),
                i["channels"],
                tuple(map(dict, i["steps"])),
            )
            for i in document.get("inputs", ())
        )
        card = Card(
            name=document["name"],
            version=document["version"],
            tasks=dict(document["tasks"]),
            inputs=inputs,
            side_convention=document["side_convention"],
            tta=tuple(document["tta"]),
            decision=dict(document["decision"]),
            calibration=_calibration(document["calibration"] or {}, document["tasks"], where),
            oa_from=document.get("oa_from", "head"),
            members=members,
            vote=document.get("vote", "soft"),
            kind=document.get("kind", "grader"),
            document=document,
        )
        _ = document["sha256"]
    except KeyError as error:
        raise BadBundle(f"the card has no {error}", path=where) from error
    except (TypeError, AttributeError, IndexError, ValueError) as error:
        raise BadBundle(f"the card's shape is wrong: {error}", path=where) from error
    _check(card, where)
    return card


def _member(entry: Mapping[str, Any], where: str) -> Member:
    path = PurePosixPath(entry["bundle"])
    # a backslash or a drive's colon would part folders on Windows, where this check does not see them
    if path.is_absolute() or ".." in path.parts or not path.parts or set("\\:") & set(entry["bundle"]):
        raise BadBundle(f"member {entry['bundle']!r} lies outside the bundle", path=where)
    weight = float(entry["weight"])
    if not 0.0 < weight < np.inf:
        raise BadBundle(f"member {entry['bundle']!r} has weight {weight:g}, not a positive one", path=where)
    return Member(entry["bundle"], weight)


def _calibration(entry: Mapping[str, Any], tasks: Mapping[str, int], where: str) -> Calibration:
    return Calibration(
        calibrators=_calibrators(entry, tasks, where),
        interval={
            task: Interval(float(i["threshold"]), float(i["coverage"]))
            for task, i in entry.get("conformal", {}).items()
        },
        refer_grades=(entry.get("refer") or {}).get("KL_interval_grades"),
        atypical=(entry.get("out_of_distribution") or {}).get("threshold"),
        side_certainty=float(entry.get("side_certainty", 0.95)),
        side_doubt=entry.get("side_doubt"),
    )


def _calibrators(entry: Mapping[str, Any], tasks: Mapping[str, int], where: str) -> dict[str, Calibrator]:
    """Of each task the one that the card has for it."""
    calibrators: dict[str, Calibrator] = {}
    try:
        for task, value in entry.get("temperature", {}).items():
            calibrators[task] = Temperature(float(value))
        for task, values in entry.get("dirichlet", {}).items():
            if task in calibrators:
                raise ValueError("a temperature and a Dirichlet map")
            weights, bias = (np.array(values[key], dtype=np.float64) for key in ("weights", "bias"))
            calibrators[task] = Dirichlet(weights, bias)
            if len(bias) != tasks.get(task):
                raise ValueError(f"a Dirichlet map of {len(bias)} classes")
    except ValueError as error:
        raise BadBundle(f"the card's calibration of {task} is wrong: {error}", path=where) from error
    return calibrators


def _check(card: Card, where: str) -> None:
    def one_of(key: str, value: object, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise BadBundle(f"the card's {key} is {value!r}, not one of {', '.join(allowed)}", path=where)

    one_of("kind", card.kind, ("grader", "localiser", "contour"))
    one_of("side_convention", card.side_convention, ("as_right", "none"))
    one_of("vote", card.vote, ("soft", "hard", "mixed"))
    one_of("oa_from", card.oa_from, ("head", "sum"))
    for view in card.tta:
        one_of("tta", view, TTA)
    for rule in card.decision.values():
        one_of("decision", rule, ("argmax", "median"))
    for task, classes in card.tasks.items():
        if task not in TASKS or TASKS[task].classes != classes:
            raise BadBundle(f"the card's task {task!r} with {classes} classes is not known", path=where)
    if bool(card.inputs) == bool(card.members):
        raise BadBundle("a card has either inputs (a network) or members (an ensemble)", path=where)
    _check_inputs(card, where)


def _check_inputs(card: Card, where: str) -> None:
    """Inputs that can be made, and tasks that can change places where the image may be mirrored."""
    turns = "flip" in card.tta or (card.side_convention == "as_right" and "SIDE" in card.tasks)
    for task in card.tasks if turns and card.inputs else ():
        if TASKS[task].mirrored not in card.tasks:
            raise BadBundle(
                f"the card's tasks have {task} without {TASKS[task].mirrored}, which it is when mirrored",
                path=where,
            )
    for entry in card.inputs:
        steps.validate(entry.steps)
        if entry.channels not in (1, 3):
            raise BadBundle(f"input {entry.name!r} has {entry.channels} channels, not 1 or 3", path=where)
