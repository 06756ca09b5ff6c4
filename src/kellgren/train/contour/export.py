"""From a trained joint-line network to a bundle: graph, proof of parity, golden points, card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kellgren._version import __version__
from kellgren.calibrate import publish
from kellgren.data import DataSet
from kellgren.errors import BadBundle, BadRecipe
from kellgren.grade import golden
from kellgren.measure import POINTS
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.model.session import Session
from kellgren.train import graph
from kellgren.train.contour import material
from kellgren.train.contour.network import ContourNet
from kellgren.train.contour.recipe import ContourRecipe, from_dict
from kellgren.train.run import WHOLE_SPLIT
from kellgren.writing import write_json

PARITY: Final = 1e-4
"""Largest difference of a point between torch and onnxruntime, fractions of the image."""

_PARITY_KNEES: Final = 32


def export_contour(run: Path, dataset: DataSet, out: Path, *, version: str = "0.1.0") -> Path:
    """Make a bundle of a finished run of `kellgren.train.contour.train`.

    A run that was stopped is exported as far as it came, and its card says how far.

    Args:
        run: Run folder with `run.json`, `log.jsonl` and `last.pt`.
        dataset: The data set that it was trained on.
        out: Folder for the bundle; replaced if it holds a bundle already.
        version: Version of the bundle.

    Returns:
        The bundle's folder.

    Raises:
        BadRecipe: If the run has no finished epoch or the data set is another one.
        BadBundle: If the folder holds something else, or the graph does not agree with the network.
    """
    record, entries = _read_run(run)
    recipe = from_dict(record["recipe"])
    if dataset.sha256() != record["data_sha256"]:
        raise BadRecipe("the data set is not the one that the run was trained on", path=dataset.root)
    net = ContourNet(POINTS, recipe.width)
    state = torch.load(run / "last.pt", weights_only=True)
    net.load_state_dict(state["model"])
    net.eval()
    card = _card(recipe, record, entries[: state["epoch"]], dataset, version)
    with publish.replacing(out) as folder:
        largest, knees = _write_graph(net, recipe, _sample(dataset, record["fold"]), folder)
        card["sha256"] = {bundles.GRAPH: hashlib.sha256((folder / bundles.GRAPH).read_bytes()).hexdigest()}
        card["parity"] = {
            "largest_point_difference": largest,
            "knees": knees,
            "parameters": sum(p.numel() for p in net.parameters()),
        }
        write_json(folder / bundles.CARD, card)
        golden.write(bundles.load(folder), folder, publish.golden_images())
    return out


def _read_run(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadRecipe("no readable run.json and log.jsonl: no epoch was finished", path=run) from error
    return record, [json.loads(line) for line in lines]


def _sample(dataset: DataSet, fold: int) -> DataSet:
    """Some knees for the proof of parity: held-out ones where there are any."""
    train = dataset.select(split="train")
    known = train if fold == WHOLE_SPLIT else train.select(folds={fold})
    return replace(known, knees=known.knees[:_PARITY_KNEES])


def _write_graph(net: ContourNet, recipe: ContourRecipe, some: DataSet, out: Path) -> tuple[float, int]:
    """Write the graph; return the largest difference from torch on some knees, and their number."""
    crops = material.preload(some, recipe, threads=1)
    images = torch.cat([batch.images for batch in material.evaluation_batches(crops, recipe)])
    graph.fold_normalisation(net, images[:2])
    graph.round_weights(net)
    free = {0: torch.export.Dim("n")}
    model = graph.traced(net, [torch.zeros_like(images[:2])], [graph.INPUT], ["points", "spread"], free)
    (out / bundles.GRAPH).write_bytes(model.SerializeToString())
    session = Session((out / bundles.GRAPH).read_bytes(), name=bundles.GRAPH)
    with torch.inference_mode():
        expected = net(images)[0].numpy()
    found = session.run(["points"], {graph.INPUT: images.numpy()})[0]
    largest = float(np.abs(expected - found).max())
    if largest > PARITY:
        raise BadBundle(f"torch and onnxruntime differ by {largest:.1e} of the image in a point", path=out)
    return largest, len(some)


def _card(
    recipe: ContourRecipe,
    record: dict[str, Any],
    entries: list[dict[str, Any]],
    dataset: DataSet,
    version: str,
) -> dict[str, Any]:
    height, width = steps.output_size(recipe.steps)
    return {
        "kind": "contour",
        "name": recipe.name,
        "version": version,
        "licence": "Apache-2.0",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kellgren_version": __version__,
        "sha256": {},
        "description": recipe.title,
        "citation": recipe.source,
        "tasks": {},
        "inputs": [
            {
                "name": graph.INPUT,
                "view": "joint",
                "size": [height, width],
                "channels": 1,
                "steps": list(recipe.steps),
            }
        ],
        "side_convention": recipe.side_convention,
        "tta": [],
        "decision": {},
        "calibration": None,
        "training": {
            "data": dataset.root.name,
            "data_sha256": record["data_sha256"],
            "split": "train",
            "folds": sorted({k.fold for k in dataset if k.fold is not None} - {record["fold"]}),
            "held_out_fold": None if record["fold"] == WHOLE_SPLIT else record["fold"],
            "recipe": recipe.name,
            "size": recipe.size,
            "seeds": [record["seed"]],
            "epochs": recipe.optimise.epochs,
            "best_epoch": entries[-1]["epoch"],
            "minutes": round(sum(entry["seconds"] for entry in entries) / 60, 1),
            "hardware": record["hardware"],
            "initial_weights": None,
            "commit": record.get("commit"),
            "settings": recipe.to_dict(),
            "held_out": {key: value for key, value in entries[-1].items() if key.startswith("held_out_")},
        },
        "validation": None,
    }
