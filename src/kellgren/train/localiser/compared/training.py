"""Trains the detectors that the cascade is compared with, on the same films as the cascade.

Run folder: `run.json` (recipe, data, seed, machine), `log.jsonl` (a line for each thing trained) and
`detector/`, which `detector.load` opens.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kellgren.data import DataSet
from kellgren.data.films import load_films
from kellgren.errors import BadRecipe
from kellgren.train.hardware import Hardware
from kellgren.train.localiser import detector, films, samples
from kellgren.train.localiser.compared import hog, mtcnn
from kellgren.train.localiser.compared.hog import HogSvm
from kellgren.train.localiser.compared.mtcnn import Mtcnn, ONet, PNet, RNet
from kellgren.train.localiser.compared.recipe import ComparatorRecipe, HogRecipe, MtcnnRecipe
from kellgren.train.localiser.fit import fit
from kellgren.train.localiser.material import BoxedFilm
from kellgren.train.localiser.recipe import Level, Material
from kellgren.train.run import WHOLE_SPLIT, commit
from kellgren.vocabulary import FloatArray

log = logging.getLogger(__name__)

Nets = tuple[PNet, RNet, ONet]
Propose = Callable[[BoxedFilm], FloatArray]


@dataclass(frozen=True, slots=True)
class ComparatorRun:
    """What one training run is made of; see `LocaliserRun`."""

    recipe: ComparatorRecipe
    dataset: DataSet
    films: Path | None
    out: Path
    fold: int
    seed: int
    hardware: Hardware

    def material(self) -> list[BoxedFilm]:
        """The composed and simulated films that the cascade of this fold and seed learns from."""
        crops = self.dataset.select(split="train")
        if self.fold != WHOLE_SPLIT:
            crops = crops.select(folds={k.fold for k in crops if k.fold is not None} - {self.fold})
        what, threads = self.recipe.material, self.hardware.threads
        made = films.composed(crops, what, seed=self.seed, threads=threads)
        return made + films.simulated(what.simulated, seed=self.seed, threads=threads)


def train(run: ComparatorRun) -> Path:
    """Train a comparator.

    Returns:
        Its folder, for `detector.load`.

    Raises:
        BadRecipe: If the folder holds a run already.
        BadDataset: If there are no key points, or no readable boxes.
    """
    _open_folder(run)
    torch.manual_seed(run.seed)
    material = run.material()
    real = [] if run.films is None else films.real(run.films)
    recipe = run.recipe
    if isinstance(recipe, HogRecipe):
        trained: HogSvm | Mtcnn = train_hog(recipe, run, material + changed(real, recipe.material, run.seed))
    else:
        nets, windows = train_mtcnn(recipe, run, material)
        if real:
            tune(nets, recipe, run, real, windows)
        trained = Mtcnn(tuple(mtcnn.graph(net) for net in nets), recipe.search)
    return detector.save(trained, run.out / "detector")


def changed(real: list[BoxedFilm], material: Material, seed: int) -> list[BoxedFilm]:
    """The changed copies of real films that the cascade's second level is tuned on."""
    return [copy for film in real for copy in films.varied(film, material.real, seed=seed)]


def train_hog(recipe: HogRecipe, run: ComparatorRun, material: list[BoxedFilm]) -> HogSvm:
    """Fit, look for false knees on all films, fit again with these (Dalal & Triggs 2005, section 4).

    Args:
        recipe: What to train.
        run: Seed and folder.
        material: All films to learn from.
    """
    started = time.monotonic()
    drawn = cut(material, run.seed, 1, (recipe.near, recipe.far), hog.WINDOW)
    weights = hog.fit_svm(drawn, c=recipe.penalty, seed=run.seed)
    first = HogSvm(weights, recipe.search)

    def false_knees(film: BoxedFilm) -> FloatArray:
        found, margins = first.propose(film.pixels, 0.0)
        return found[np.argsort(-margins, kind="stable")[: recipe.mined]]

    mined = cut(material, run.seed, 1, (0, 0), hog.WINDOW, propose=false_knees)
    false = mined.taken(np.flatnonzero(mined.knee == 0))
    _log(run, {"level": "svm", "windows": len(drawn), "mined": len(false)}, started)
    return HogSvm(hog.fit_svm(samples.joined([drawn, false]), c=recipe.penalty, seed=run.seed), recipe.search)


def train_mtcnn(
    recipe: MtcnnRecipe, run: ComparatorRun, material: list[BoxedFilm]
) -> tuple[Nets, list[samples.Samples]]:
    """Train P-Net, then R-Net with windows that P-Net proposes, then O-Net with those of both.

    Args:
        recipe: What to train.
        run: Seed, folder and hardware.
        material: Composed and simulated films.

    Returns:
        The networks, and each one's windows.
    """
    nets = (PNet(recipe.level1.width), RNet(recipe.level2.width), ONet(recipe.level3.width))
    seen: list[samples.Samples] = []
    for number, (net, level) in enumerate(zip(nets, recipe.levels, strict=True), 1):
        seen.append(_stage_windows(number, nets, recipe, run, material))
        _fit(net, seen[-1], level, run, f"level{number}", second=number > 1)
    return nets, seen


def tune(
    nets: Nets, recipe: MtcnnRecipe, run: ComparatorRun, real: list[BoxedFilm], seen: list[samples.Samples]
) -> None:
    """Go on with changed copies of real films and as many of the other windows, in place; not P-Net.

    Args:
        nets: As trained without real films.
        recipe: How.
        run: Seed, folder and hardware.
        real: The real films to learn from.
        seen: Windows that the networks have been trained with.
    """
    copies = changed(real, recipe.material, run.seed)
    for number in (2, 3):
        fresh = _stage_windows(number, nets, recipe, run, copies)
        others = seen[number - 1]
        chosen = np.random.default_rng([run.seed, 3]).permutation(len(others))[: len(fresh)]
        mixed = samples.joined([fresh, others.taken(np.sort(chosen))])
        level = replace(recipe.levels[number - 1], epochs=recipe.tune.epochs, lr=recipe.tune.lr, cycle=True)
        _fit(nets[number - 1], mixed, level, run, f"tuned{number}", second=True)


def _stage_windows(
    number: int, nets: Nets, recipe: MtcnnRecipe, run: ComparatorRun, material: list[BoxedFilm]
) -> samples.Samples:
    level, size = recipe.levels[number - 1], mtcnn.SIDES[number - 1]
    if number == 1:
        return cut(material, run.seed, 1, (level.near, level.far), size)
    graphs = tuple(mtcnn.graph(net) for net in nets[: number - 1])
    before = Mtcnn(graphs, recipe.search, threads=run.hardware.threads)
    return cut(
        material, run.seed, 2, (level.near, level.far), size, propose=lambda film: before.propose(film.pixels)
    )


def cut(
    material: list[BoxedFilm],
    seed: int,
    level: int,
    places: tuple[int, int],
    size: int,
    *,
    propose: Propose | None = None,
) -> samples.Samples:
    """Windows at the places where the cascade's training has them, and where a detector proposes.

    Args:
        material: Films.
        seed: Source of the places.
        level: 1 for windows of the equalised film, 2 for windows of the film itself.
        places: Windows around each joint, and anywhere on each film.
        size: Side of the windows, pixels.
        propose: Where else to look.
    """
    parts = []
    for film in material:
        # seeded as the cascade's own windows are
        rng = np.random.default_rng([seed, level, *film.name.encode(), film.pixels.size])
        where = samples.around(film, rng, near=places[0], far=places[1])
        if propose is not None:
            where = np.concatenate([where, propose(film)])
        parts.append(samples.cut(film, where, size, equalise=level == 1))
    return samples.joined(parts)


def _fit(
    net: torch.nn.Module, shown: samples.Samples, level: Level, run: ComparatorRun, name: str, *, second: bool
) -> None:
    started = time.monotonic()
    history = fit(net, shown, level, second=second, seed=run.seed, hardware=run.hardware)
    net.to("cpu")
    entry = {"level": name, "windows": len(shown), "knees": int(np.nansum(shown.knee))}
    _log(run, entry | {"loss": [round(loss, 5) for loss in history]}, started)


def _log(run: ComparatorRun, entry: dict[str, Any], started: float) -> None:
    entry = entry | {"seconds": round(time.monotonic() - started, 1)}
    log.info("%s", entry)
    with (run.out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _open_folder(run: ComparatorRun) -> None:
    run.out.mkdir(parents=True, exist_ok=True)
    path = run.out / "run.json"
    if path.is_file():
        raise BadRecipe("the folder holds a run already", path=run.out, remedy="use another --out")
    record = {
        "recipe": dataclasses.asdict(run.recipe),
        "data_sha256": run.dataset.sha256(),
        "films": 0 if run.films is None else len(load_films(run.films)),
        "fold": run.fold,
        "seed": run.seed,
        "hardware": run.hardware.name,
        "torch": torch.__version__,
        "commit": commit(),
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
