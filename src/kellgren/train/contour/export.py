"""From a trained joint-line network to a bundle: graph, proof of parity, golden points, card."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from kellgren.calibrate import publish
from kellgren.data import DataSet
from kellgren.errors import BadBundle, BadRecipe
from kellgren.grade import golden
from kellgren.measure import POINTS
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.model.card import Card, Input, Parity, Training, write
from kellgren.model.session import Session
from kellgren.train import card as cards
from kellgren.train import checkpoint, folder, graph
from kellgren.train.contour import crops as pointed_crops
from kellgren.train.contour.network import ContourNet
from kellgren.train.contour.recipe import ContourRecipe, from_dict
from kellgren.train.folder import BEST, Entry, Record
from kellgren.train.run import folds

PARITY: Final = 1e-4
"""Largest difference of a point between torch and onnxruntime, fractions of the image."""

_PARITY_KNEES: Final = 32


def export_contour(run: Path, dataset: DataSet, out: Path, *, version: str = "0.1.0") -> Path:
    """Make a bundle of a run of `kellgren.train.contour.training`.

    A run that was stopped is exported as far as it came, and its card says how far.

    Args:
        run: Run folder with `run.json`, `log.jsonl` and `best.pt`.
        dataset: The data set that it was trained on.
        out: Folder for the bundle; replaced if it holds a bundle already.
        version: Version of the bundle.

    Returns:
        The bundle's folder.

    Raises:
        BadRecipe: If the run has no finished epoch or the data set is another one.
        BadBundle: If the folder holds something else, or the graph does not agree with the network.
    """
    record, entries = folder.read_record(run), folder.read_log(run)
    if not entries:
        raise BadRecipe("no epoch was finished", path=run, remedy="go on with --resume")
    recipe = from_dict(record.recipe)
    card = _card(recipe, record, entries, dataset, version)
    net = ContourNet(POINTS, recipe.width)
    net.load_state_dict(checkpoint.load_weights(run / BEST)[0])
    net.eval()
    training, held_out = folds(dataset, record.fold)
    with publish.replacing(out) as bundle:
        largest, knees = _write_graph(net, recipe, held_out or training, bundle)
        digest = hashlib.sha256((bundle / bundles.GRAPH).read_bytes()).hexdigest()
        parameters = sum(p.numel() for p in net.parameters())
        parity = Parity(largest_point_difference=largest, knees=knees, parameters=parameters)
        write(card.changed(sha256={bundles.GRAPH: digest}, parity=parity), bundle / bundles.CARD)
        golden.write(bundles.load(bundle), bundle, publish.golden_images())
    return out


def _card(
    recipe: ContourRecipe, record: Record, entries: list[Entry], dataset: DataSet, version: str
) -> Card:
    shown = Input(
        name=graph.INPUT,
        view="joint",
        size=steps.output_size(recipe.steps),
        channels=1,
        steps=recipe.steps,
    )
    metrics = {f"held_out_{name}": value for name, value in entries[-1].held_out.items()}
    return cards.base(
        "contour",
        recipe,
        record,
        entries,
        dataset,
        version=version,
        training=Training(epochs=recipe.optimise.epochs, held_out=metrics),
        inputs=(shown,),
        side_convention=recipe.side_convention,
    )


def _write_graph(net: ContourNet, recipe: ContourRecipe, sample: DataSet, out: Path) -> tuple[float, int]:
    """Write the graph; return the largest difference from torch on some knees, and their number."""
    some = replace(sample, knees=sample.knees[:_PARITY_KNEES])
    crops = pointed_crops.preload(some, recipe, threads=1)
    images = torch.cat([batch.images for batch in pointed_crops.evaluation_batches(crops, recipe)])
    graph.fold_normalisation(net, images[:2])
    graph.round_weights(net)
    free = {0: torch.export.Dim("n")}
    model = graph.traced(net, [torch.zeros_like(images[:2])], [graph.INPUT], ["points", "spread"], free)
    (out / bundles.GRAPH).write_bytes(model.SerializeToString())
    session = Session((out / bundles.GRAPH).read_bytes(), name=bundles.GRAPH)
    with torch.inference_mode():
        expected = net(images)[0].numpy()
    answers = session.run(["points"], {graph.INPUT: images.numpy()})[0]
    largest = float(np.abs(expected - answers).max())
    if not largest <= PARITY:
        raise BadBundle(f"torch and onnxruntime differ by {largest:.1e} of the image in a point", path=out)
    return largest, len(some)
