"""Golden inputs: simulated crops stored in a bundle with what it said of them, so that drift is noticed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kellgren.bundle import Bundle
from kellgren.errors import BadBundle
from kellgren.predict import Model
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.vocabulary import Side

FOLDER: Final = "golden"
OUTPUTS: Final = "outputs.json"
TOLERANCE: Final = 1e-3
"""Largest difference in a probability: processors differ by about 1e-6, a wrong step by far more."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of checking a bundle.

    Attributes:
        title: `name@version`.
        inputs: Number of golden inputs.
        largest: Largest difference in any probability.
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


def _outputs(model: Model, image: bytes, name: str, side: Side) -> dict[str, list[float]]:
    film = standardise(read_bytes(image, name))
    probabilities = model.predict(film.pixels, side).probabilities
    return {task: [round(float(p), 7) for p in values] for task, values in probabilities.items()}


def write(bundle: Bundle, folder: Path, images: dict[str, tuple[bytes, Side]]) -> None:
    """Store simulated images and what the bundle says of them under `folder/golden`.

    Args:
        bundle: The bundle that the folder will be.
        folder: Its folder.
        images: By file name: encoded image and the side it shows. Never a real radiograph.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    model = Model(bundle)
    outputs = {}
    for name, (image, side) in images.items():
        (target / name).write_bytes(image)
        outputs[name] = {"side": side, "probabilities": _outputs(model, image, name, side)}
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
    model = Model(bundle)
    largest = 0.0
    for name, entry in stored.items():
        now = _outputs(model, folder.joinpath(name).read_bytes(), name, entry["side"])
        if now.keys() != entry["probabilities"].keys():
            raise BadBundle(f"golden outputs of {name} are for other tasks", path=str(bundle.root))
        for task, values in entry["probabilities"].items():
            largest = max(largest, float(np.abs(np.array(values) - now[task]).max()))
    return Check(bundle.card.title, len(stored), largest, bool(stored) and largest <= TOLERANCE)
