"""From a grader's training run to a bundle: graph, calibration on the held-out fold, golden outputs, card.

Nothing here looks at the validation split except the last step, which reports on it.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kellgren.calibrate import publish
from kellgren.calibrate.held_out import fit_calibration, observe
from kellgren.data import DataSet
from kellgren.data import load as load_data
from kellgren.errors import BadBundle, BadRecipe
from kellgren.grade import golden
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.model.calibrators import Method
from kellgren.model.card import Card, Input, Parity, Training, write
from kellgren.model.framing import view_of
from kellgren.model.ood import Typical
from kellgren.model.predict import Model
from kellgren.model.session import Session
from kellgren.model.tta import Look
from kellgren.parallel import in_order, processors
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.train import card as cards
from kellgren.train import checkpoint, folder, graph
from kellgren.train.folder import BEST, Entry, Record
from kellgren.train.graders import batches, losses, networks
from kellgren.train.graders import recipe as recipes
from kellgren.train.graders.losses import Objective
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.recipe import Recipe, View
from kellgren.train.run import Track, folds
from kellgren.vocabulary import TASKS

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
    record, entries = folder.read_record(run), folder.read_log(run)
    recipe = recipes.from_dict(record.recipe)
    epochs = recipe.optimise.epochs
    if not folder.finished(entries, epochs):
        raise BadRecipe(
            f"the run has {len(entries)} of {epochs} epochs", path=run, remedy="go on with --resume"
        )
    if calibration is not None:
        recipe = replace(recipe, calibration=calibration)
    dataset = load_data(data)
    card = _first_card(recipe, record, entries, dataset, version, name)
    with publish.replacing(out) as bundle:
        card = _make(card, recipe, run, folds(dataset, record.fold), bundle, track)
        validation = publish.validate(bundles.load(bundle), dataset, track)
        write(card.changed(validation=validation), bundle / bundles.CARD)
    return out


def _make(
    card: Card,
    recipe: Recipe,
    run: Path,
    parts: tuple[DataSet, DataSet | None],
    bundle: Path,
    track: Track,
) -> Card:
    """Write all that a bundle holds but its validation, each part with those before it; return the card."""
    training, held_out = parts
    parity = write_graph(recipe, run / BEST, held_out or training, bundle)
    digest = hashlib.sha256((bundle / bundles.GRAPH).read_bytes()).hexdigest()
    card = card.changed(parity=parity, sha256={bundles.GRAPH: digest})
    write(card, bundle / bundles.CARD)
    _write_typical(bundle, training, track)
    if held_out is not None and card.training is not None and card.training.held_out_fold is not None:
        observed = observe(Model(bundles.load(bundle)), held_out, track)
        left_out = {card.training.held_out_fold}
        rules, fitted = fit_calibration(observed, recipe.decision, left_out, method=recipe.calibration)
        card = card.changed(decision=rules, calibration=fitted)
        write(card, bundle / bundles.CARD)
    golden.write(bundles.load(bundle), bundle, publish.golden_images())
    return card


def _first_card(
    recipe: Recipe,
    record: Record,
    entries: Sequence[Entry],
    dataset: DataSet,
    version: str,
    name: str | None,
) -> Card:
    """The card before anything has been measured."""
    return cards.base(
        "grader",
        recipe,
        record,
        entries,
        dataset,
        version=version,
        name=name,
        training=Training(backbone=recipe.network.backbone),
        tasks={task: TASKS[task].classes for task in recipe.tasks},
        oa_from="head" if "OA" in recipe.tasks else "sum",
        inputs=tuple(_input(name, view) for name, view in recipe.views.items()),
        side_convention=recipe.side_convention,
        tta=recipe.tta,
        decision=dict(recipe.decision),
    )


def _input(name: str, view: View) -> Input:
    prepared = (*view.prepare, *view.finish)
    size = steps.output_size(prepared)
    return Input(name=name, view=view_of(prepared), size=size, channels=view.channels, steps=prepared)


def write_graph(recipe: Recipe, weights: Path, sample: DataSet, out: Path) -> Parity:
    """Write the graph, with weights in fp16 unless the network then says something else.

    Args:
        recipe: Of the run.
        weights: Its `best.pt`.
        sample: Knees to prove parity on; some of them are used.
        out: Folder of the bundle.

    Raises:
        BadBundle: If the graph does not agree with the network.
    """
    net = networks.build(recipe, init=None)
    net.load_state_dict(checkpoint.load_weights(weights)[0])
    net.eval()
    some = replace(sample, knees=sample.knees[:_PARITY_KNEES])
    crops = batches.preload(some, recipe, threads=processors())
    every = list(batches.evaluation_batches(crops, recipe))
    views = [torch.cat(parts) for parts in zip(*(batch.views for batch in every), strict=True)]
    whole = graph.folded(net, [view[:2] for view in views])
    rounded = copy.deepcopy(whole)
    graph.round_weights(rounded)
    by_rounding = _change(whole, rounded, recipe, views)
    largest = math.inf
    for stored, candidate, change in (("fp16", rounded, by_rounding), ("fp32", whole, 0.0)):
        if not change <= ROUNDING:
            continue
        export(candidate, recipe, views, out / bundles.GRAPH)
        largest = largest_difference(candidate, recipe, out / bundles.GRAPH, views)
        if largest <= PARITY:
            return Parity(
                largest_probability_difference=largest,
                weights="fp16" if stored == "fp16" else "fp32",
                largest_rounding_difference=change,
                knees=len(some),
                parameters=networks.count_parameters(net),
            )
    raise BadBundle(f"torch and onnxruntime differ by {largest:.1e} in a probability", path=out)


def _change(net: KneeNet, other: KneeNet, recipe: Recipe, views: Sequence[Tensor]) -> float:
    """Largest difference in a probability between two networks; infinite where one answers no numbers."""
    largest = 0.0
    for chunk in zip(*(torch.split(view, 16) for view in views), strict=True):
        first = probabilities(net, recipe, chunk)
        second = probabilities(other, recipe, chunk)
        for task, values in first.items():
            largest = max(largest, float((values - second[task]).abs().nan_to_num(nan=math.inf).max()))
    return largest


def _write_typical(out: Path, training: DataSet, track: Track) -> None:
    """Fit what ordinary inputs look like on a random part of the training knees."""
    rng = np.random.default_rng(0)
    sample = rng.permutation(len(training))[:_TYPICAL_KNEES]
    model = Model(bundles.load(out))

    def embed(index: int) -> npt.NDArray[np.float32]:
        knee = training.knees[index]
        film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
        look = Look(steps.mirrors(knee.side, model.card.side_convention))
        tensors = model.tensors(film.pixels, look)
        embedding: npt.NDArray[np.float32] = model.run(tensors, ["embedding"])["embedding"][0]
        return embedding

    rows = list(track(in_order(embed, sample.tolist(), workers=processors()), len(sample), "embedding"))
    np.savez_compressed(out / bundles.TYPICAL, allow_pickle=False, **Typical.fit(np.stack(rows)).to_arrays())


class _Outputs(nn.Module):
    """The network as a graph: logits and maps by task in order, then the embedding."""

    def __init__(self, net: KneeNet, recipe: Recipe) -> None:
        super().__init__()
        self.net = net
        self.objectives = objectives(recipe)

    def forward(self, *views: Tensor) -> tuple[Tensor, ...]:
        raw, maps, embedding = self.net.explain(*views)
        logits = [objective.logits(raw[task]) for task, objective in self.objectives.items()]
        exact = [maps[task] for task, objective in self.objectives.items() if has_maps(maps, task, objective)]
        return (*logits, *exact, embedding)


def objectives(recipe: Recipe) -> dict[str, Objective]:
    """What each task's head is asked for, in the order of the graph's outputs."""
    return {task: losses.build(recipe.loss_of(task), recipe.classes_of(task)) for task in recipe.tasks}


def has_maps(maps: Mapping[str, Tensor], task: str, objective: Objective) -> bool:
    """Whether a task's maps are shares of its logits: only where these are the head's raw outputs."""
    return task in maps and objective.linear


def export(net: KneeNet, recipe: Recipe, views: Sequence[Tensor], path: Path) -> None:
    """Write the graph.

    Args:
        net: The network; weights that are exact in fp16 are stored so and cast when loaded.
        recipe: Names the inputs (its views, in order), the tasks and what the heads are asked for.
        views: Inputs, each (N, C, h, w), N > 1.
        path: Where to; overwritten. Outputs are `logits_TASK`, `maps_TASK` of the tasks that have exact ones,
            and `embedding`; the batch dimension is free.
    """
    named = objectives(recipe)
    with torch.inference_mode():
        _, maps, _ = net.eval().explain(*views)
    outputs = [f"logits_{task}" for task in named]
    outputs += [f"maps_{task}" for task, objective in named.items() if has_maps(maps, task, objective)]
    free = {0: torch.export.Dim("n")}
    examples = [torch.zeros_like(view[:2]) for view in views]
    model = graph.traced(_Outputs(net, recipe), examples, list(recipe.views), [*outputs, "embedding"], free)
    path.write_bytes(model.SerializeToString())


def largest_difference(net: KneeNet, recipe: Recipe, path: Path, views: Sequence[Tensor]) -> float:
    """Largest difference in any task's probability between torch and onnxruntime.

    Args:
        net: The network with the weights that the graph holds.
        recipe: As for `export`.
        path: The graph.
        views: Inputs, each (N, C, h, w).
    """
    session = Session(path.read_bytes(), name=path.name)
    named = objectives(recipe)
    largest = 0.0
    for chunk in zip(*(torch.split(view, 16) for view in views), strict=True):
        expected = probabilities(net, recipe, chunk)
        inputs = {name: view.numpy() for name, view in zip(recipe.views, chunk, strict=True)}
        logits_by_task = session.run([f"logits_{task}" for task in named], inputs)
        for task, logits in zip(named, logits_by_task, strict=True):
            difference = expected[task] - torch.from_numpy(logits).softmax(1)
            largest = max(largest, float(difference.abs().nan_to_num(nan=math.inf).max()))
    return largest


@torch.inference_mode()
def probabilities(net: KneeNet, recipe: Recipe, views: Sequence[Tensor]) -> dict[str, Tensor]:
    """Class probabilities by task, (N, classes), before calibration."""
    raw = net.eval()(*(view.contiguous() for view in views))
    return {task: objective.logits(raw[task]).softmax(1) for task, objective in objectives(recipe).items()}
