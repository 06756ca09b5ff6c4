"""From a training run to a model bundle: graph, calibration on the held-out fold, golden outputs, card.

Nothing here looks at the validation split except the last step, which reports on it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kellgren._version import __version__
from kellgren.calibrate import publish
from kellgren.calibrate.held_out import fit_calibration, observe
from kellgren.data import DataSet
from kellgren.data import load as load_data
from kellgren.errors import BadBundle, BadRecipe
from kellgren.grade import golden
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.model.calibrators import Method
from kellgren.model.ood import Typical
from kellgren.model.predict import Model
from kellgren.model.tta import Look
from kellgren.parallel import in_order, processors
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.train import graph
from kellgren.train.checkpoint import BEST
from kellgren.train.graders import batches, networks
from kellgren.train.graders import recipe as recipes
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.recipe import Recipe
from kellgren.train.run import LOG, RECORD, WHOLE_SPLIT, Track
from kellgren.vocabulary import TASKS
from kellgren.writing import write_json

PARITY: Final = 1e-4
"""Largest difference of a probability between torch and onnxruntime, both with the same rounded weights."""

ROUNDING: Final = 0.02
"""Largest change of a probability by rounding weights to fp16; beyond it the graph holds fp32."""

_TYPICAL_KNEES: Final = 1500
_PARITY_KNEES: Final = 64


def export_run(
    run: Path,
    data: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str = "0.1.0",
    calibration: Method | None = None,
    track: Track,
) -> Path:
    """Make a bundle of a finished training run.

    Args:
        run: Run folder with `run.json` and `best.pt`.
        data: The data set folder it was trained on.
        out: Folder for the bundle; replaced if it holds a bundle already.
        name: Name of the bundle; the recipe's by default.
        version: Version of the bundle.
        calibration: How tasks are calibrated; as the recipe says by default.
        track: Progress display.

    Returns:
        The bundle's folder.

    Raises:
        BadRecipe: If the run is not finished or the data set is another one.
        BadBundle: If the graph does not agree with the network.
    """
    record = _read_record(run)
    recipe = recipes.from_dict(record["recipe"])
    if calibration is not None:
        recipe = replace(recipe, calibration=calibration)
    dataset = load_data(data)
    if dataset.sha256() != record["data_sha256"]:
        raise BadRecipe("the data set is not the one that the run was trained on", path=data)
    card = _first_card(recipe, record, run, dataset, name or recipe.name, version)
    with publish.replacing(out) as folder:
        _make(card, recipe, run, _parts(dataset, record["fold"]), folder, track)
        if (found := publish.validate(bundles.load(folder), dataset, track)) is not None:
            write_json(folder / bundles.CARD, card | {"validation": found})
    return out


def _make(
    card: dict[str, Any],
    recipe: Recipe,
    run: Path,
    parts: tuple[DataSet, DataSet | None],
    folder: Path,
    track: Track,
) -> None:
    """Write all that a bundle holds but its figures, each part with those before it; the card grows."""
    training, held_out = parts
    card["parity"] = _write_graph(recipe, run, held_out or training, folder)
    card["sha256"] = {bundles.GRAPH: hashlib.sha256((folder / bundles.GRAPH).read_bytes()).hexdigest()}
    write_json(folder / bundles.CARD, card)
    _write_typical(folder, training, track)
    if held_out is not None:
        observed = observe(Model(bundles.load(folder)), held_out, track)
        fold = card["training"]["held_out_fold"]
        card["decision"], card["calibration"] = fit_calibration(
            observed, recipe.decision, {fold}, method=recipe.calibration
        )
    write_json(folder / bundles.CARD, card)
    golden.write(bundles.load(folder), folder, publish.golden_images())


def _read_record(run: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecipe("no readable run.json: not a run folder", path=run) from error
    entries = _entries(run)
    wanted = recipes.from_dict(record["recipe"]).optimise.epochs
    if len(entries) < wanted and not (entries and entries[-1].get("stopped")):
        raise BadRecipe(
            f"the run has {len(entries)} of {wanted} epochs", path=run, remedy="go on with --resume"
        )
    return record


def _entries(run: Path) -> list[dict[str, Any]]:
    """The lines of the run's log, one an epoch."""
    path = run / LOG
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines()]


def _parts(dataset: DataSet, fold: int) -> tuple[DataSet, DataSet | None]:
    train = dataset.select(split="train")
    if fold == WHOLE_SPLIT:
        return train, None
    others = {knee.fold for knee in train if knee.fold is not None} - {fold}
    return train.select(folds=others), train.select(folds={fold})


def _first_card(
    recipe: Recipe, record: dict[str, Any], run: Path, dataset: DataSet, name: str, version: str
) -> dict[str, Any]:
    """The card before anything has been measured."""
    entries = _entries(run)
    best = max(range(len(entries)), key=lambda i: (entries[i]["best"], i))
    return {
        "name": name,
        "version": version,
        "licence": "Apache-2.0",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kellgren_version": __version__,
        "sha256": {},
        "description": recipe.title,
        "citation": recipe.source,
        "tasks": {task: TASKS[task].classes for task in recipe.tasks},
        "oa_from": "head" if "OA" in recipe.tasks else "sum",
        "inputs": [
            {
                "name": name,
                "view": name,
                "size": list(steps.output_size((*view.prepare, *view.finish))),
                "channels": view.channels,
                "steps": [*view.prepare, *view.finish],
            }
            for name, view in recipe.views.items()
        ],
        "side_convention": recipe.side_convention,
        "tta": list(recipe.tta),
        "decision": dict(recipe.decision),
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
            "epochs": len(entries),
            "best_epoch": entries[best]["epoch"],
            "minutes": round(sum(entry["seconds"] for entry in entries) / 60, 1),
            "hardware": record["hardware"],
            "initial_weights": record["init"],
            "backbone": recipe.network.backbone,
            "commit": record["commit"],
            "settings": recipe.to_dict(),
        },
        "validation": None,
    }


def _write_graph(recipe: Recipe, run: Path, sample: DataSet, out: Path) -> dict[str, Any]:
    """Write the graph, with weights in fp16 unless the network then says something else; return the proof."""
    net = networks.build(recipe, init=None)
    net.load_state_dict(torch.load(run / BEST, weights_only=True, map_location="cpu")["model"])
    net.eval()
    some = replace(sample, knees=sample.knees[:_PARITY_KNEES])
    crops = batches.preload(some, recipe, threads=processors())
    every = list(batches.evaluation_batches(crops, recipe))
    views = [torch.cat(parts) for parts in zip(*(batch.views for batch in every), strict=True)]
    whole = graph.folded(net, [view[:2] for view in views])
    rounded = copy.deepcopy(whole)
    graph.round_weights(rounded)
    by_rounding = _change(whole, rounded, recipe, views)
    proof: dict[str, Any] = {}
    for weights, candidate in (("fp16", rounded), ("fp32", whole)):
        if weights == "fp16" and not by_rounding <= ROUNDING:
            continue
        graph.export(candidate, recipe, views, out / bundles.GRAPH)
        proof["largest_probability_difference"] = graph.largest_difference(
            candidate, recipe, out / bundles.GRAPH, views
        )
        proof["weights"] = weights
        if proof["largest_probability_difference"] <= PARITY:
            break
    else:
        largest = proof["largest_probability_difference"]
        raise BadBundle(f"torch and onnxruntime differ by {largest:.1e} in a probability", path=out)
    return proof | {
        "largest_rounding_difference": by_rounding if proof["weights"] == "fp16" else 0.0,
        "knees": len(some),
        "parameters": networks.count_parameters(net),
    }


def _change(one: KneeNet, other: KneeNet, recipe: Recipe, views: Sequence[Tensor]) -> float:
    """Largest difference in a probability between two networks; infinite where one answers no numbers."""
    largest = 0.0
    for chunk in zip(*(torch.split(view, 16) for view in views), strict=True):
        first = graph.probabilities(one, recipe, chunk)
        second = graph.probabilities(other, recipe, chunk)
        for task, values in first.items():
            largest = max(largest, float((values - second[task]).abs().nan_to_num(nan=math.inf).max()))
    return largest


def _write_typical(out: Path, training: DataSet, track: Track) -> None:
    """Fit what ordinary inputs look like on a random part of the training knees."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(training))[:_TYPICAL_KNEES]
    model = Model(bundles.load(out))

    def embed(index: int) -> npt.NDArray[np.float32]:
        knee = training.knees[index]
        film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
        look = Look(steps.mirrors(knee.side, model.card.side_convention))
        tensors = model.tensors(film.pixels, look)
        embedding: npt.NDArray[np.float32] = model.run(tensors, ["embedding"])["embedding"][0]
        return embedding

    rows = list(track(in_order(embed, chosen.tolist(), workers=processors()), len(chosen), "embedding"))
    np.savez_compressed(out / bundles.TYPICAL, allow_pickle=False, **Typical.fit(np.stack(rows)).to_arrays())
