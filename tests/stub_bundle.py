"""A bundle whose network is a few lines of arithmetic, so that every number can be worked out by hand.

The stub looks at the mean of the left half (l) and of the right half (r) of a 64 x 64 crop:

    SIDE  [certainty * (l - r), 0]      the brighter half is lateral
    FL    [0, l, 0, 0]                  FM  [0, 0, 2 r, 0]
    KL    [l, r, 3, 0, 0]               OA  [0, l + r]

Maps hold l and r at the two places of a (1, 2) grid (FM twice that), the embedding is [l, r].
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import numpy as np

from kellgren.locate import Joint, Settings
from kellgren.measure import FEMUR_POINTS, TIBIA_POINTS, Contour

TASKS = {"KL": 5, "OA": 2, "FL": 4, "FM": 4, "SIDE": 2}

CARD = {
    "name": "stub",
    "version": "1.2.3",
    "licence": "Apache-2.0",
    "created": "2026-01-01T00:00:00+00:00",
    "kellgren_version": "0.1.0",
    "sha256": {},
    "description": "a stub",
    "citation": "nobody",
    "tasks": TASKS,
    "oa_from": "head",
    "inputs": [
        {
            "name": "joint",
            "view": "joint",
            "size": [64, 64],
            "channels": 1,
            "steps": [{"step": "resize", "height": 64, "width": 64}],
        }
    ],
    "side_convention": "as_right",
    "tta": [],
    "decision": {},
    "calibration": None,
    "training": None,
    "validation": None,
}


class StubSession:
    """Stands in for a `kellgren.model.session.Session`."""

    def __init__(self, certainty: float = 4.0) -> None:
        self.certainty = certainty
        self.seen: list[np.ndarray] = []
        self.inputs = {}
        self.outputs = {f"logits_{task}": (None, classes) for task, classes in TASKS.items()}
        self.outputs |= {f"maps_{task}": (None, classes, 1, 2) for task, classes in TASKS.items()}
        self.outputs["embedding"] = (None, 2)

    def open(self, graph, *, threads=1, name="", path=""):
        """Take the place of the class: the inputs are those of the card, or of the stub's in a zip."""
        card = Path(path) / "card.json"
        document = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else CARD
        self.inputs = {i["name"]: (None, i["channels"], *i["size"]) for i in document["inputs"]}
        return self

    def run(self, names, feeds):
        (images,) = feeds.values()
        self.seen.append(images)
        rows = [self.answers(float(i[..., :32].mean()), float(i[..., 32:].mean())) for i in images]
        return [np.stack([row[name] for row in rows]).astype(np.float32) for name in names]

    def answers(self, left, right):
        logits = {
            "SIDE": [self.certainty * (left - right), 0],
            "FL": [0, left, 0, 0],
            "FM": [0, 0, 2 * right, 0],
            "KL": [left, right, 3, 0, 0],
            "OA": [0, left + right],
        }
        named = {f"logits_{task}": np.array(values, float) for task, values in logits.items()}
        for task, classes in TASKS.items():
            named[f"maps_{task}"] = np.tile([[[left, right]]], (classes, 1, 1)) * (2 if task == "FM" else 1)
        named["embedding"] = np.array([left, right])
        return named


def card(**changes):
    """The stub's card with other values; None deletes a key."""
    document = copy.deepcopy(CARD)
    for key, value in changes.items():
        if value is None and key not in ("calibration", "training", "validation"):
            del document[key]
        else:
            document[key] = value
    return document


def write_bundle(folder: Path, document=None, graph: bytes | None = b"stub graph") -> Path:
    """Put a card, and a graph with its sha256 in the card, into a folder."""
    document = card() if document is None else document
    folder.mkdir(parents=True, exist_ok=True)
    if graph is not None:
        (folder / "model.onnx").write_bytes(graph)
        if isinstance(document, dict) and document.get("sha256") == {}:
            document = {**document, "sha256": {"model.onnx": hashlib.sha256(graph).hexdigest()}}
    (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


class CropsOnly:
    """A localiser that finds nothing on films and takes every square image for a crop of one joint."""

    settings = Settings(46, 70)
    bundle = None

    def find(self, film):
        return ()

    def on_crop(self, crop):
        height, width = crop.shape
        return Joint(np.array([0.0, 0.0, width, height]), 1.0, np.full((6, 2), width / 2))


class SureLine:
    """A joint-line model that sees a level joint in the middle of every image."""

    bundle = None

    def find(self, crop):
        height, width = crop.shape

        def level(points, y):
            x = np.linspace(0.1 * width, 0.9 * width, points)
            return np.stack([x, np.full(points, y * height)], axis=1)

        return Contour(level(FEMUR_POINTS, 0.48), level(TIBIA_POINTS, 0.53), 0.9)
