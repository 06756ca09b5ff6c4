"""Grading: a file in, one assessment per knee out.

The way of a radiograph: read, standardise, locate, settle the side, predict, decide, measure; each once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from kellgren import locate, measure
from kellgren.errors import NotAKnee, WrongUse
from kellgren.grade import explanation, polarity
from kellgren.grade import side as knee_side
from kellgren.grade.assessment import Assessment, Grading
from kellgren.grade.reasons import reasons
from kellgren.grade.side import Layout, Orientation
from kellgren.locate import InputKind, JointCrop
from kellgren.measure import JointSpace
from kellgren.model import bundle as bundles
from kellgren.model import decision, steps
from kellgren.model.bundle import CARD, Bundle
from kellgren.model.predict import Model, Prediction, oriented_tasks
from kellgren.parallel import processors
from kellgren.read import DEFAULT_LIMITS, Limits, Metadata, Radiograph, Stated, read_bytes
from kellgren.read.files import load as load_bytes
from kellgren.read.laterality import side_word
from kellgren.read.memory import encoded, from_array
from kellgren.read.metadata import NOTHING_STATED, apply_stated
from kellgren.standardise import Film
from kellgren.vocabulary import Side

Image = Path | str | bytes | npt.NDArray[Any] | Dataset
"""What is graded: a file's path or bytes, a grey array (height, width), or a pydicom data set."""


class Reader(Protocol):
    """What `kellgren.read.read_bytes` is."""

    def __call__(  # noqa: D102
        self, data: bytes, path: Path | str, *, side: Side | None, stated: Stated, limits: Limits
    ) -> Radiograph: ...


@dataclass(frozen=True, slots=True)
class Version:
    """Which network this is.

    Attributes:
        id: `name@version` of its bundle.
        sha256: Of the card and of each graph, by path inside the bundle.
    """

    id: str
    sha256: Mapping[str, str]

    @classmethod
    def of(cls, bundle: Bundle) -> Version:
        """The version of a bundle."""
        return cls(bundle.card.title, _hashes(bundle))


class Grader:
    """All networks of the way, opened once. Safe to use from several threads at once.

    Args:
        bundle: The bundle that grades.
        localiser: Finds the joints on films; the packaged one by default.
        joint_line: Finds the joint line on crops; the packaged one by default.
        threads: Threads per network evaluation, all available ones by default; for throughput use one and
            grade several films at once.
        limits: Sizes that are checked before a file is decoded.
        reader: How a file's bytes become a radiograph: in this process, or `IsolatedReader.read_bytes`.

    Raises:
        BadBundle: A bundle cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        localiser: locate.Cascade | None = None,
        joint_line: measure.ContourModel | None = None,
        threads: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        reader: Reader = read_bytes,
    ) -> None:
        count = processors() if threads is None else threads
        self.model = Model(bundle, threads=count)
        self.localiser = locate.load(threads=count) if localiser is None else localiser
        self.joint_line = measure.load(threads=count) if joint_line is None else joint_line
        self.limits = limits
        self._read = reader

    def __repr__(self) -> str:
        return f"Grader({', '.join(version.id for version in self.versions().values())})"

    @property
    def title(self) -> str:
        """The bundle's `name@version`."""
        return self.model.card.title

    def versions(self) -> dict[str, Version]:
        """Which networks are at work, by what they do: `model`, `localiser`, `contour`."""
        opened = {
            "model": self.model.bundle,
            "localiser": self.localiser.bundle,
            "contour": self.joint_line.bundle,
        }
        return {name: Version.of(bundle) for name, bundle in opened.items() if bundle is not None}

    def grade(
        self,
        image: Image,
        *,
        input: InputKind = "auto",  # noqa: A002 - the contract's word
        side: str | None = None,
        metadata: Metadata | Stated | None = None,
        layout: Layout = "auto",
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of one image.

        Args:
            image: Path of a DICOM, PNG, JPEG, TIFF or WebP file, or its bytes; a pydicom data set; or a grey
                array (height, width) in any linear scale, whose polarity the image decides.
            input: `crop`: the image is one tibiofemoral joint; `film`: find the knees first; `auto`: tell
                which from the image.
            side: Which knee it shows, by what the user states: `R`, `L`, `left`, `Right`, ...
            metadata: What else the user states about this file, or a table with a row about it.
            layout: How two knees lie on a film, if the user knows it.
            explain: Also keep class activation maps and what the network saw.

        Returns:
            One assessment per knee, from the image's left to right.

        Raises:
            UnreadableImage: The file cannot be decoded.
            NotAKnee: There is nothing to grade; the message says why.
            WrongUse: `input`, `side` or `layout` is an unknown word, or `image` of another kind.
        """
        if isinstance(image, np.ndarray):
            _check_words(input=(input, InputKind), layout=(layout, Layout))
            radiograph = from_array(image, side=_side(side), limits=self.limits)
            stated = metadata if isinstance(metadata, Stated) else NOTHING_STATED
            radiograph = apply_stated(radiograph, stated, _side(side))
            return self.grade_radiograph(radiograph, input=input, layout=layout, explain=explain)
        if isinstance(image, bytes):
            data, path = image, Path("bytes")
        elif isinstance(image, Dataset):
            data, path = encoded(image), Path("dataset.dcm")
        else:
            path = _path(image)
            data = load_bytes(path, self.limits)
        return self.grade_bytes(
            data, path, input=input, side=side, metadata=metadata, layout=layout, explain=explain
        )

    def grade_bytes(
        self,
        data: bytes,
        path: Path | str,
        *,
        input: InputKind = "auto",  # noqa: A002
        side: str | None = None,
        metadata: Metadata | Stated | None = None,
        layout: Layout = "auto",
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of a file that is already in memory; `path` is what it is called.

        Arguments, result and errors are those of `grade`.
        """
        _check_words(input=(input, InputKind), layout=(layout, Layout))
        stated = _stated(metadata, path)
        film = self._read(data, path, side=_side(side), stated=stated, limits=self.limits)
        return self.grade_radiograph(film, input=input, layout=layout, explain=explain)

    def grade_radiograph(
        self,
        radiograph: Radiograph,
        *,
        input: InputKind = "auto",  # noqa: A002
        layout: Layout = "auto",
        explain: bool = False,
    ) -> list[Assessment]:
        """Grade every knee of a radiograph that was read already.

        Result and errors are those of `grade`.
        """
        film, crops = polarity.settle(
            radiograph,
            lambda pixels: locate.joint_crops(pixels, input, self.localiser, radiograph.path),
            self.joint_line,
        )
        looks = [partial(self._side_shown, crop) for crop in crops]
        sides = knee_side.orient(film.laterality, looks, layout)
        return [
            self._assess(film, crop, side, number, radiograph, explain=explain)
            for number, (crop, side) in enumerate(zip(crops, sides, strict=True), start=1)
        ]

    def _side_shown(self, crop: JointCrop) -> Side | None:
        return knee_side.shown(self.model.side(crop.pixels))

    def _assess(
        self,
        film: Film,
        crop: JointCrop,
        orientation: Orientation,
        knee: int,
        radiograph: Radiograph,
        *,
        explain: bool,
    ) -> Assessment:
        card = self.model.card
        prediction = self.model.predict(crop.pixels, orientation.side, maps=explain)
        gradings = self._decide(prediction)
        space, remarks = self._measure(film, crop, orientation.side)
        accept = self.localiser.settings.accept
        doubts = reasons(crop, orientation, prediction, gradings, space, card.calibration, accept=accept)
        x0, y0, x1, y1 = (float(c) for c in crop.box)
        return Assessment(
            path=radiograph.path,
            knee=knee,
            side=orientation.side,
            side_source=orientation.source,
            box=radiograph.stored_box((x0, y0, x1, y1)),
            points=crop.joint.points,
            joint_space=space,
            gradings=gradings,
            reasons=(*film.flags, *doubts),
            notes=(*film.notes, *remarks),
            model=card.title,
            explanation=explanation.explain(film, crop, self.model, prediction) if explain else None,
        )

    def _decide(self, prediction: Prediction) -> dict[str, Grading]:
        """Grades from probabilities; tasks that depend on the side are left undecided where it is unknown."""
        card = self.model.card
        oriented = prediction.side is not None or card.side_convention == "none"
        hidden = () if oriented else oriented_tasks(card.tasks)
        gradings = {}
        for task, probabilities in prediction.probabilities.items():
            if task == "SIDE" or task in hidden:
                continue
            row = probabilities[None]
            decided = decision.decide(row, card.decision.get(task, "argmax"))
            interval = None
            if task in card.calibration.conformal:
                low, high = decision.interval(row, decided, card.calibration.conformal[task].threshold)
                interval = (int(low[0]), int(high[0]))
            gradings[task] = Grading(
                task,
                int(decided[0]),
                tuple(float(p) for p in probabilities),
                interval,
                task in card.calibration.calibrators,
            )
        return gradings

    def _measure(
        self, film: Film, crop: JointCrop, side: Side | None
    ) -> tuple[JointSpace | None, tuple[str, ...]]:
        """Joint space width of one knee, or why there is none."""
        if side is None:
            return None, ("no joint space width: the side is unknown",)
        image = steps.unit_range(crop.pixels)
        if steps.mirrors(side, "as_right"):
            image = steps.mirror(image)
        spacing = film.spacing
        try:
            if spacing is None:
                space = measure.joint_space(image, self.joint_line)
            else:
                millimetres = (spacing.row, spacing.column)
                space = measure.joint_space(image, self.joint_line, millimetres, spacing.source)
        except NotAKnee as error:
            return None, (error.reason,)
        if space.withheld_mm is None:
            return space, ()
        by_it = f"by it the tibial plateau is {space.withheld_mm:.0f} mm wide, which no adult's is"
        return space, (f"pixel spacing withheld, joint space given in joint widths: {by_it}",)


def _hashes(bundle: Bundle) -> dict[str, str]:
    """sha256 of the card and of each graph, by path inside the bundle."""
    hashes = {CARD: hashlib.sha256(bundle.read(CARD)).hexdigest()}
    if not bundle.members:
        own = bundle.card.sha256
        hashes |= {name: own[name] for name in sorted(own) if name.endswith(".onnx")}
    for member, inner in zip(bundle.card.members, bundle.members, strict=True):
        hashes |= {f"{member.bundle}/{name}": digest for name, digest in _hashes(inner).items()}
    return hashes


def _path(image: Path | str) -> Path:
    try:
        return Path(image)
    except TypeError:
        remedy = "give a path, bytes, a grey array or a pydicom data set"
        raise WrongUse(f"a {type(image).__name__} cannot be graded", remedy=remedy) from None


def _side(word: str | None) -> Side | None:
    """The side that a caller names.

    Raises:
        WrongUse: It is neither right nor left.
    """
    side = side_word(word)
    if side == "R" or side == "L":
        return side
    if word is None:
        return None
    raise WrongUse(f"the side {word!r} is neither right nor left", remedy="use R, L, right or left")


def _check_words(**words: tuple[str, object]) -> None:
    """Refuse an unknown word for an option; each is given with the `Literal` of those that are known.

    Raises:
        WrongUse: Naming the option and its words.
    """
    for option, (word, kind) in words.items():
        if word not in get_args(kind):
            raise WrongUse(f"{option} {word!r} is unknown", remedy=f"use {', '.join(get_args(kind))}")


def _stated(metadata: Metadata | Stated | None, path: Path | str) -> Stated:
    """What the user states about one file."""
    row = metadata.find(path) if isinstance(metadata, Metadata) else metadata
    return row or NOTHING_STATED


def load(model: str | os.PathLike[str] = bundles.DEFAULT, *, threads: int | None = None) -> Grader:
    """A grader with a packaged bundle, or one in a folder or zip.

    Args:
        model: Name or path of the bundle.
        threads: Threads for one network evaluation; all available ones by default.

    Raises:
        BadBundle: If there is no such bundle or it cannot be used.
    """
    return Grader(bundles.load(model), threads=threads)
