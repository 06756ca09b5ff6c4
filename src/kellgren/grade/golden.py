"""Golden inputs: simulated images stored in a bundle with its answers, so that drift is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pydantic

from kellgren import locate, measure
from kellgren.errors import BadBundle, KellgrenError
from kellgren.model import steps
from kellgren.model.bundle import Bundle
from kellgren.model.card import Kind
from kellgren.model.predict import Model
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.vocabulary import Side

FOLDER: Final = "golden"
OUTPUTS: Final = "outputs.json"
TOLERANCE: Final = 1e-3
"""Largest difference in a probability, or in a place as a share of the image: processors differ by about
1e-6, a wrong step by far more."""

_KEYS: Final[Mapping[Kind, str]] = {"grader": "probabilities", "localiser": "joints", "contour": "points"}
_THINGS: Final = {"probabilities": "tasks", "joints": "numbers of knees", "points": "bones"}

Numbers = dict[str, list[float]]
"""A bundle's answer about one image: probabilities by task, or places by knee or bone."""

Answer = Callable[[npt.NDArray[np.uint16], Side | None], Numbers]
"""A film's pixels and the side it shows -> the bundle's answer."""


class _Stored(pydantic.BaseModel):
    """What `outputs.json` holds about one image; the answer's key depends on the kind of bundle."""

    side: Side | None
    probabilities: Numbers | None = None
    joints: Numbers | None = None
    points: Numbers | None = None

    def answer(self, kind: Kind) -> Numbers | None:
        return {"grader": self.probabilities, "localiser": self.joints, "contour": self.points}[kind]


_OUTPUTS: Final = pydantic.TypeAdapter(dict[str, _Stored])


@dataclass(frozen=True, slots=True)
class Check:
    """Result of checking a bundle.

    Attributes:
        title: `name@version`.
        inputs: Number of golden inputs.
        largest: Largest difference in any probability or place.
        passed: Whether it is within `TOLERANCE`.
    """

    title: str
    inputs: int
    largest: float
    passed: bool

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """For JSON output."""
        return {
            "model": self.title,
            "inputs": self.inputs,
            "largest_difference": self.largest,
            "passed": self.passed,
        }


def _answers(bundle: Bundle) -> Answer:
    """How a bundle answers, by its kind."""
    if bundle.card.kind == "localiser":
        cascade = locate.open_bundle(bundle)

        def joints(pixels: npt.NDArray[np.uint16], side: Side | None) -> Numbers:
            del side
            size = np.array([pixels.shape[1], pixels.shape[0]], dtype=np.float64)
            return {
                f"knee{i}": [*(joint.box / np.tile(size, 2)), joint.score, *(joint.points / size).ravel()]
                for i, joint in enumerate(cascade.find(pixels), 1)
            }

        return joints
    if bundle.card.kind == "contour":
        contour = measure.ContourModel(bundle)

        def points(pixels: npt.NDArray[np.uint16], side: Side | None) -> Numbers:
            crop = steps.unit_range(pixels)
            line = contour.find(steps.mirror(crop) if steps.mirrors(side, "as_right") else crop)
            size = np.array([pixels.shape[1], pixels.shape[0]], dtype=np.float64)
            return {
                "femur": [float(v) for v in (line.femur / size).ravel()],
                "tibia": [float(v) for v in (line.tibia / size).ravel()],
            }

        return points
    model = Model(bundle)

    def probabilities(pixels: npt.NDArray[np.uint16], side: Side | None) -> Numbers:
        return {task: list(values) for task, values in model.predict(pixels, side).probabilities.items()}

    return probabilities


def _outputs(answer: Answer, image: bytes, name: str, side: Side | None) -> Numbers:
    numbers = answer(standardise(read_bytes(image, name)).pixels, side)
    return {key: [round(float(number), 7) for number in values] for key, values in numbers.items()}


def write(bundle: Bundle, folder: Path, images: Mapping[str, tuple[bytes, Side | None]]) -> None:
    """Store simulated images and the bundle's answers under `folder/golden`.

    Args:
        bundle: The bundle that the folder will be.
        folder: Its folder.
        images: By file name: encoded image and the side it shows. Never a real radiograph.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    answer = _answers(bundle)
    outputs = {}
    for name, (image, side) in images.items():
        (target / name).write_bytes(image)
        outputs[name] = {"side": side, _KEYS[bundle.card.kind]: _outputs(answer, image, name, side)}
    (target / OUTPUTS).write_text(json.dumps(outputs, indent=1) + "\n", encoding="utf-8")


def check(bundle: Bundle) -> Check:
    """Compare a bundle's answers about its golden inputs with those stored when it was made.

    Raises:
        BadBundle: It has none, they cannot be read, or its hashes are wrong.
    """
    kind, where = bundle.card.kind, str(bundle.root)
    try:
        stored = _OUTPUTS.validate_json(bundle.read(f"{FOLDER}/{OUTPUTS}"))
    except (BadBundle, ValueError) as error:
        raise BadBundle("no readable golden outputs in the bundle", path=where) from error
    answer = _answers(bundle)
    largest = 0.0
    for name, entry in stored.items():
        expected = entry.answer(kind)
        try:
            now = _outputs(answer, bundle.read(f"{FOLDER}/{name}"), name, entry.side)
        except BadBundle:
            raise
        except (ValueError, KellgrenError) as error:
            raise BadBundle(f"golden input {name} cannot be read", path=where) from error
        if expected is None or _lengths(expected) != _lengths(now):
            raise BadBundle(f"golden outputs of {name} are for other {_THINGS[_KEYS[kind]]}", path=where)
        for thing, values in expected.items():
            difference = float(np.abs(np.array(values) - now[thing]).max(initial=0.0))
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return Check(bundle.card.title, len(stored), largest, bool(stored) and largest <= TOLERANCE)


def _lengths(numbers: Numbers) -> dict[str, int]:
    return {key: len(values) for key, values in numbers.items()}
