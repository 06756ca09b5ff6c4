"""Trains the detectors that the cascade is compared with, on the same films as the cascade.

MTCNN has a stage for each of its networks, and two more that tune the last two on real films; HOG + SVM has
two fits of its support vector machine. What comes out is the run's `detector/`, which `detector.load` opens.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kellgren.train import checkpoint, session
from kellgren.train.localiser import films, samples
from kellgren.train.localiser.boxed_film import BoxedFilm
from kellgren.train.localiser.compared import detector, hog, mtcnn
from kellgren.train.localiser.compared.hog import HogSvm
from kellgren.train.localiser.compared.mtcnn import Mtcnn, ONet, PNet, RNet
from kellgren.train.localiser.compared.recipe import ComparatorRecipe, HogRecipe, MtcnnRecipe
from kellgren.train.localiser.level import stage
from kellgren.train.localiser.samples import Samples
from kellgren.train.run import Run, Track, check, create_folder, silent
from kellgren.vocabulary import FloatArray, Image

Net = PNet | RNet | ONet

Films = Callable[[], list[BoxedFilm]]
"""Makes films when they are needed; a stage that has ended needs none."""

Propose = Callable[[BoxedFilm], FloatArray]


def train(run: Run[ComparatorRecipe], *, resume: bool = False, track: Track = silent) -> Path:
    """Train a comparator.

    Args:
        run: What and where.
        resume: Go on in a folder that holds a part of this very run.
        track: Progress display.

    Returns:
        Its folder, for `detector.load`.

    Raises:
        BadRecipe: See `run.check`; also if the loss diverges.
        BadDataset: If there are no key points, or no readable boxes.
    """
    check(run, resume=resume)
    recipe, threads = run.recipe, run.hardware.threads
    create_folder(run)
    learned = functools.cache(
        lambda: films.learned(run.training(), recipe.material, seed=run.seed, threads=threads)
    )
    real = functools.cache(
        lambda: (
            []
            if run.films is None
            else films.copies(films.real(run.films), recipe.material.real, seed=run.seed)
        )
    )
    if isinstance(recipe, HogRecipe):
        trained: HogSvm | Mtcnn = train_hog(recipe, run, lambda: learned() + real())
    else:
        trained = train_mtcnn(recipe, run, learned, real if run.films is not None else None, track=track)
    return detector.save(trained, run.out / "detector")


def train_hog(recipe: HogRecipe, run: Run[ComparatorRecipe], learned: Films) -> HogSvm:
    """Fit, look for false knees on all films, fit again with these (Dalal & Triggs 2005, section 4).

    Args:
        recipe: What to train.
        run: Seed and folder.
        learned: All films to learn from.
    """
    places = (recipe.near, recipe.far)
    drawn = functools.cache(lambda: cut(learned(), run.seed, 1, places, hog.WINDOW))
    first = HogSvm(_fitted(recipe, run, "svm", drawn), recipe.search)

    def false_knees(film: BoxedFilm) -> FloatArray:
        boxes, margins = first.propose(film.pixels, 0.0)
        return boxes[np.argsort(-margins, kind="stable")[: recipe.mined]]

    def with_mined() -> Samples:
        mined = cut(learned(), run.seed, 1, (0, 0), hog.WINDOW, propose=false_knees)
        return samples.joined([drawn(), mined.taken(np.flatnonzero(mined.knee == 0))])

    return HogSvm(_fitted(recipe, run, "mined", with_mined), recipe.search)


def _fitted(
    recipe: HogRecipe, run: Run[ComparatorRecipe], name: str, windows: Callable[[], Samples]
) -> Image:
    """A fit of the support vector machine: stored, or made now and stored."""
    path = session.best_file(run.out, name)
    if not session.ended(run.out, name, 1):
        started, shown = time.monotonic(), windows()
        weights = hog.fit_svm(shown, c=recipe.penalty, seed=run.seed)
        seconds = time.monotonic() - started
        loss = hog.loss(weights, shown)
        entry = session.fitted_entry(name, loss=loss, images=len(shown), seconds=seconds)
        session.keep_fitted(run.out, entry, {"weights": torch.from_numpy(weights)})
    stored: dict[str, Tensor] = checkpoint.load_weights(path)[0]
    return np.asarray(stored["weights"].numpy(), np.float32)


def train_mtcnn(
    recipe: MtcnnRecipe,
    run: Run[ComparatorRecipe],
    learned: Films,
    real: Films | None,
    *,
    track: Track = silent,
) -> Mtcnn:
    """Train P-Net, then R-Net with windows that P-Net proposes, then O-Net with those of both.

    Then R-Net and O-Net go on with changed copies of real films and as many of the other windows, as the
    cascade's second level does; P-Net does not.

    Args:
        recipe: What to train.
        run: Seed, folder and hardware.
        learned: Composed and simulated films.
        real: Changed copies of the real films; None where there are none.
        track: Progress display.
    """
    torch.manual_seed(run.seed)
    nets: tuple[Net, ...] = (
        PNet(recipe.level1.width),
        RNet(recipe.level2.width),
        ONet(recipe.level3.width),
    )
    graphs: list[Callable[[], bytes]] = []
    windows: list[Callable[[], Samples]] = []
    learn = functools.partial(stage, seed=run.seed, hardware=run.hardware)

    def exported(net: Net) -> Callable[[], bytes]:
        copied = copy.deepcopy(net)  # tuning goes on with the network itself
        return functools.cache(lambda: mtcnn.graph(copied))

    for number, (net, level) in enumerate(zip(nets, recipe.levels, strict=True), 1):
        cut_now = functools.partial(stage_windows, number, tuple(graphs), recipe, run, learned)
        windows.append(functools.cache(cut_now))
        session.train(run, learn(f"level{number}", net, level, windows[-1], second=number > 1), track=track)
        graphs.append(exported(net))
    if real is not None:
        for number, net in ((2, nets[1]), (3, nets[2])):
            fresh = functools.partial(stage_windows, number, tuple(graphs[: number - 1]), recipe, run, real)
            mixed = functools.partial(_mixed, fresh, windows[number - 1], run.seed)
            level = recipe.levels[number - 1]
            level = replace(level, epochs=recipe.tune.epochs, lr=recipe.tune.lr, cycle=True)
            session.train(run, learn(f"tuned{number}", net, level, mixed, second=True), track=track)
            graphs[number - 1] = exported(net)
    return Mtcnn(tuple(graph() for graph in graphs), recipe.search)


def _mixed(fresh: Callable[[], Samples], others: Callable[[], Samples], seed: int) -> Samples:
    return samples.mixed(fresh(), others(), seed=seed)


def stage_windows(
    number: int,
    graphs: tuple[Callable[[], bytes], ...],
    recipe: MtcnnRecipe,
    run: Run[ComparatorRecipe],
    learned: Films,
) -> Samples:
    """What a level learns from.

    Args:
        number: Of the level, from 1.
        graphs: Of the levels before it.
        recipe: What to train.
        run: Seed and hardware.
        learned: Films to cut windows from.
    """
    level, size = recipe.levels[number - 1], mtcnn.SIDES[number - 1]
    places = (level.near, level.far)
    if number == 1:
        return cut(learned(), run.seed, 1, places, size)
    before = Mtcnn(tuple(graph() for graph in graphs), recipe.search, threads=run.hardware.threads)
    return cut(learned(), run.seed, 2, places, size, propose=lambda film: before.propose(film.pixels))


def cut(
    learned: list[BoxedFilm],
    seed: int,
    level: int,
    places: tuple[int, int],
    size: int,
    *,
    propose: Propose | None = None,
) -> Samples:
    """Windows at the places where the cascade's training has them, and where a detector proposes.

    Args:
        learned: Films.
        seed: Source of the places.
        level: 1 for windows of the equalised film, 2 for windows of the film itself.
        places: Windows around each joint, and anywhere on each film.
        size: Side of the windows, pixels.
        propose: Where else to look.
    """
    parts = []
    for film in learned:
        # seeded as the cascade's own windows are
        where = samples.around(film, samples.generator(film, seed, level), near=places[0], far=places[1])
        if propose is not None:
            where = np.concatenate([where, propose(film)])
        parts.append(samples.cut(film, where, size, equalise=level == 1))
    return samples.joined(parts)
