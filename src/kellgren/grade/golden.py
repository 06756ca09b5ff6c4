"""Golden inputs: simulated images stored in a bundle with what it said of them, so that drift is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren import locate, measure
from kellgren.errors import BadBundle
from kellgren.model import steps
from kellgren.model.bundle import Bundle, Kind
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

Say = Callable[[npt.NDArray[np.uint16], Side | None], dict[str, list[float]]]
"""A film's pixels and the side it shows -> named numbers that the bundle gives for it."""


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

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "model": self.title,
            "inputs": self.inputs,
            "largest_difference": self.largest,
            "passed": self.passed,
        }


def _voice(bundle: Bundle) -> Say:
    """What a bundle has to say, by its kind."""
    if bundle.card.kind == "localiser":
        cascade = locate.open_bundle(bundle)

        def joints(pixels: npt.NDArray[np.uint16], side: Side | None) -> dict[str, list[float]]:
            del side
            size = np.array([pixels.shape[1], pixels.shape[0]], dtype=np.float64)
            return {
                f"knee{i}": [*(joint.box / np.tile(size, 2)), joint.score, *(joint.points / size).ravel()]
                for i, joint in enumerate(cascade.find(pixels), 1)
            }

        return joints
    if bundle.card.kind == "contour":
        contour = measure.ContourModel(bundle)

        def points(pixels: npt.NDArray[np.uint16], side: Side | None) -> dict[str, list[float]]:
            crop = steps.unit_range(pixels)
            found = contour.find(steps.mirror(crop) if steps.mirrors(side, "as_right") else crop)
            size = np.array([pixels.shape[1], pixels.shape[0]], dtype=np.float64)
            return {
                "femur": [float(v) for v in (found.femur / size).ravel()],
                "tibia": [float(v) for v in (found.tibia / size).ravel()],
            }

        return points
    model = Model(bundle)

    def probabilities(pixels: npt.NDArray[np.uint16], side: Side | None) -> dict[str, list[float]]:
        return {task: list(values) for task, values in model.predict(pixels, side).probabilities.items()}

    return probabilities


def _outputs(say: Say, image: bytes, name: str, side: Side | None) -> dict[str, list[float]]:
    numbers = say(standardise(read_bytes(image, name)).pixels, side)
    return {key: [round(float(number), 7) for number in values] for key, values in numbers.items()}


def write(bundle: Bundle, folder: Path, images: Mapping[str, tuple[bytes, Side | None]]) -> None:
    """Store simulated images and what the bundle says of them under `folder/golden`.

    Args:
        bundle: The bundle that the folder will be.
        folder: Its folder.
        images: By file name: encoded image and the side it shows. Never a real radiograph.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    say = _voice(bundle)
    outputs = {}
    for name, (image, side) in images.items():
        (target / name).write_bytes(image)
        outputs[name] = {"side": side, _KEYS[bundle.card.kind]: _outputs(say, image, name, side)}
    (target / OUTPUTS).write_text(json.dumps(outputs, indent=1) + "\n", encoding="utf-8")


def check(bundle: Bundle) -> Check:
    """Compare what a bundle says of its golden inputs with what it said when it was made.

    Raises:
        BadBundle: If it has none, or its hashes are wrong.
    """
    folder = bundle.root.joinpath(FOLDER)
    try:
        stored = json.loads(folder.joinpath(OUTPUTS).read_text(encoding="utf-8"))
    except (OSError, KeyError, ValueError) as error:
        raise BadBundle("no readable golden outputs in the bundle", path=str(bundle.root)) from error
    say, key = _voice(bundle), _KEYS[bundle.card.kind]
    largest = 0.0
    for name, entry in stored.items():
        now = _outputs(say, folder.joinpath(name).read_bytes(), name, entry["side"])
        if now.keys() != entry[key].keys():
            raise BadBundle(f"golden outputs of {name} are for other {_THINGS[key]}", path=str(bundle.root))
        for thing, values in entry[key].items():
            largest = max(largest, float(np.abs(np.array(values) - now[thing]).max()))
    return Check(bundle.card.title, len(stored), largest, bool(stored) and largest <= TOLERANCE)
