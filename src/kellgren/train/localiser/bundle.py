"""From a trained cascade to a bundle: graphs, proof of parity, golden films, card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from kellgren import locate, simulate
from kellgren._version import __version__
from kellgren.calibrate import publish
from kellgren.errors import BadBundle
from kellgren.grade import golden
from kellgren.locate import LEVELS
from kellgren.model import bundle as bundles
from kellgren.train.localiser import export
from kellgren.train.localiser.networks import WINDOW1, WINDOW2, Level1, Level2
from kellgren.train.localiser.train import LocaliserRun, read_log, settings
from kellgren.vocabulary import Side
from kellgren.writing import write_json

PARITY: Final = 1e-4
"""Largest difference of any output between torch and onnxruntime."""


_GOLDEN_SIDE: Final = 400
"""Longer side of the golden films, pixels."""


def write(run: LocaliserRun, nets: tuple[Level1, Level2], out: Path, *, version: str = "0.1.0") -> Path:
    """Write the bundle of a finished run.

    Args:
        run: The run; its folder holds `run.json` and `log.jsonl`.
        nets: Both networks, as `train` returned them.
        out: Folder for the bundle; replaced if it holds a bundle already.
        version: Version of the bundle.

    Returns:
        The folder.

    Raises:
        BadBundle: If the folder holds something else, or a graph does not agree with its network.
    """
    card = _card(run, nets, version)
    differences = {}
    levels: tuple[Level1 | Level2, ...] = nets
    with publish.replacing(out) as folder:
        for name, net in zip(LEVELS, levels, strict=True):
            data = export.graph(net)
            differences[name] = export.largest_difference(net, data)
            if differences[name] > PARITY:
                raise BadBundle(
                    f"torch and onnxruntime differ by {differences[name]:.1e} in {name}", path=out
                )
            (folder / name).write_bytes(data)
        card["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in LEVELS}
        card["parity"] = {
            "largest_difference": max(differences.values()),
            "parameters": sum(card["training"]["parameters"]),
        }
        write_json(folder / bundles.CARD, card)
        golden.write(bundles.load(folder), folder, golden_films())
    return out


def _card(run: LocaliserRun, nets: tuple[Level1, Level2], version: str) -> dict[str, Any]:
    recipe = run.recipe
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    log = read_log(run.out)
    sizes = {"film": WINDOW1, "window": WINDOW2}
    return {
        "kind": "localiser",
        "name": recipe.name,
        "version": version,
        "licence": "Apache-2.0",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kellgren_version": __version__,
        "description": recipe.title,
        "citation": recipe.source,
        "tasks": {},
        "inputs": [
            {"name": name, "view": name, "size": [side, side], "channels": 1, "steps": []}
            for name, side in sizes.items()
        ],
        "side_convention": "none",
        "tta": [],
        "decision": {},
        "calibration": None,
        "localiser": asdict(settings(recipe)),
        "training": {
            "data": run.dataset.root.name,
            "data_sha256": record["data_sha256"],
            "split": "train",
            "films": record["films"],
            "held_out_fold": None if run.fold < 0 else run.fold,
            "recipe": recipe.name,
            "size": recipe.size,
            "seeds": [run.seed],
            "epochs": [recipe.level1.epochs, recipe.level2.epochs],
            "windows": [entry["windows"] for entry in log],
            "minutes": round(sum(entry["seconds"] for entry in log) / 60, 1),
            "hardware": record["hardware"],
            "initial_weights": None,
            "parameters": [sum(p.numel() for p in net.parameters()) for net in nets],
            "commit": record["commit"],
            "settings": recipe.to_dict(),
        },
        "validation": None,
    }


def golden_films() -> dict[str, tuple[bytes, Side | None]]:
    """Two simulated films, one of two knees and one of one, small and encoded."""
    images: dict[str, tuple[bytes, Side | None]] = {}
    for knees in (1, 2):
        film = simulate.draw_film(np.random.default_rng((11, knees)), knees=knees, inverted=False)
        scale = _GOLDEN_SIDE / max(film.pixels.shape)
        small = cv2.resize(film.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".png", locate.eight_bit(np.asarray(small, dtype=np.uint16)))
        images[f"simulated-film-{knees}.png"] = (data.tobytes(), None)
    return images
