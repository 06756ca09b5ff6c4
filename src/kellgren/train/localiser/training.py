"""`kellgren train locate`: level 1, level 2, and level 2 tuned on real films, if there are any."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from kellgren.locate import Cascade
from kellgren.train import session
from kellgren.train.localiser import export, films, samples
from kellgren.train.localiser.boxed_film import BoxedFilm
from kellgren.train.localiser.export import LEVEL1, LEVEL2, TUNED, settings
from kellgren.train.localiser.level import stage
from kellgren.train.localiser.networks import WINDOW1, WINDOW2, Level1, Level2
from kellgren.train.localiser.recipe import LocaliserRecipe
from kellgren.train.localiser.samples import Samples
from kellgren.train.run import Run, Track, check, create_folder, silent


def train(run: Run[LocaliserRecipe], *, resume: bool = False, track: Track = silent) -> tuple[Level1, Level2]:
    """Train both levels, then tune the second on the real films, if there are any.

    Args:
        run: What and where.
        resume: Go on in a folder that holds a part of this very run.
        track: Progress display.

    Returns:
        Both networks, on the CPU, in evaluation mode.

    Raises:
        BadRecipe: See `run.check`; also if the loss diverges.
        BadDataset: If there are no key points, or no readable boxes.
    """
    check(run, resume=resume)
    torch.manual_seed(run.seed)
    recipe, threads = run.recipe, run.hardware.threads
    first, second = Level1(recipe.level1.width), Level2(recipe.level2.width)
    create_folder(run)
    learned = functools.cache(
        lambda: films.learned(run.training(), recipe.material, seed=run.seed, threads=threads)
    )
    level = functools.partial(stage, seed=run.seed, hardware=run.hardware)

    def windows1() -> Samples:
        return samples.joined([_first_samples(film, run) for film in track(learned(), len(learned()), "cut")])

    session.train(run, level(LEVEL1, first, recipe.level1, windows1, second=False), track=track)
    proposer = Cascade(export.graph(copy.deepcopy(first)), None, settings(recipe), threads=threads)
    windows2 = functools.cache(lambda: cut_second(learned(), run, proposer, track))
    session.train(run, level(LEVEL2, second, recipe.level2, windows2, second=True), track=track)
    if run.films is not None:
        tuned = replace(recipe.level2, epochs=recipe.tune.epochs, lr=recipe.tune.lr, cycle=True)
        real = films.real(run.films)
        windows3 = functools.partial(_tuning_samples, run, proposer, real, windows2)
        session.train(run, level(TUNED, second, tuned, windows3, second=True), track=track)
    return first, second


def cut_second(
    learned: list[BoxedFilm], run: Run[LocaliserRecipe], proposer: Cascade, track: Track = silent
) -> Samples:
    """Level 2's windows: around joints, anywhere, and wherever level 1 sees a knee."""
    return samples.joined([_second_samples(f, run, proposer) for f in track(learned, len(learned), "cut")])


def _tuning_samples(
    run: Run[LocaliserRecipe], proposer: Cascade, real: list[BoxedFilm], others: Callable[[], Samples]
) -> Samples:
    """Windows of changed copies of the real films, and as many of the other films."""
    copies = films.copies(real, run.recipe.material.real, seed=run.seed)
    return samples.mixed(cut_second(copies, run, proposer), others(), seed=run.seed)


def _first_samples(film: BoxedFilm, run: Run[LocaliserRecipe]) -> Samples:
    level = run.recipe.level1
    places = samples.around(film, samples.generator(film, run.seed, 1), near=level.near, far=level.far)
    return samples.cut(film, places, WINDOW1, equalise=True)


def _second_samples(film: BoxedFilm, run: Run[LocaliserRecipe], proposer: Cascade) -> Samples:
    level = run.recipe.level2
    places = samples.around(film, samples.generator(film, run.seed, 2), near=level.near, far=level.far)
    places = np.concatenate([places, proposer.propose(film.pixels)[0]])
    return samples.cut(film, places, WINDOW2, equalise=False)
