"""From a trained cascade to a bundle: graphs, proof of parity, golden films, card."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from kellgren import locate, simulate
from kellgren.calibrate import publish
from kellgren.data import DataSet
from kellgren.errors import BadBundle, BadRecipe
from kellgren.grade import golden
from kellgren.locate import LEVELS, Settings
from kellgren.model import bundle as bundles
from kellgren.model.card import Card, Input, LocaliserSettings, Parity, Training, write
from kellgren.model.framing import View
from kellgren.model.session import Session
from kellgren.train import card as cards
from kellgren.train import checkpoint, folder
from kellgren.train import graph as graphs
from kellgren.train.localiser.networks import WINDOW1, WINDOW2, Level1, Level2
from kellgren.train.localiser.recipe import LocaliserRecipe, from_dict
from kellgren.train.session import best_file, ended
from kellgren.vocabulary import Side

PARITY: Final = 1e-4
"""Largest difference of any output between torch and onnxruntime."""

LEVEL1, LEVEL2, TUNED = STAGES = ("level1", "level2", "tuned")
"""Stages of a run; the last where there are real films."""

_GOLDEN_SIDE: Final = 400
"""Longer side of the golden films, pixels."""


def settings(recipe: LocaliserRecipe) -> Settings:
    """The cascade's settings as the recipe has them."""
    return Settings(WINDOW1, WINDOW2, **asdict(recipe.search))


def export_localiser(run: Path, dataset: DataSet, out: Path, *, version: str = "0.1.0") -> Path:
    """Make a bundle of a finished run of `kellgren.train.localiser.training`.

    Args:
        run: Run folder.
        dataset: The data set that it was trained on.
        out: Folder for the bundle; replaced if it holds a bundle already.
        version: Version of the bundle.

    Returns:
        The bundle's folder.

    Raises:
        BadRecipe: If the run is not finished or the data set is another one.
        BadBundle: If the folder holds something else, or a graph does not agree with its network.
    """
    record, entries = folder.read_record(run), folder.read_log(run)
    recipe = from_dict(record.recipe)
    last = TUNED if record.films else LEVEL2
    if not ended(run, last, recipe.tune.epochs if record.films else recipe.level2.epochs):
        raise BadRecipe("the run is not finished", path=run, remedy="go on with --resume")
    first, second = Level1(recipe.level1.width), Level2(recipe.level2.width)
    levels: tuple[Level1 | Level2, ...] = (first, second)
    for net, stage in zip(levels, (LEVEL1, last), strict=True):
        net.load_state_dict(checkpoint.load_weights(best_file(run, stage))[0])
    sizes: tuple[tuple[View, int], ...] = (("film", WINDOW1), ("window", WINDOW2))
    card = cards.base(
        "localiser",
        recipe,
        record,
        entries,
        dataset,
        version=version,
        training=Training(
            films=record.films,
            epochs=(recipe.level1.epochs, recipe.level2.epochs),
            windows=tuple({entry.stage: entry.images for entry in entries}.values()),
            parameters=tuple(sum(p.numel() for p in net.parameters()) for net in levels),
        ),
        inputs=tuple(
            Input(name=view, view=view, size=(side, side), channels=1, steps=()) for view, side in sizes
        ),
        localiser=LocaliserSettings(**asdict(settings(recipe))),
    )
    with publish.replacing(out) as bundle:
        _write(card, levels, bundle)
    return out


def _write(card: Card, levels: tuple[Level1 | Level2, ...], bundle: Path) -> None:
    """Write graphs, golden films and the card."""
    largest = 0.0
    for name, net in zip(LEVELS, levels, strict=True):
        data = graph(net)
        difference = largest_difference(net, data)
        if not difference <= PARITY:
            raise BadBundle(f"torch and onnxruntime differ by {difference:.1e} in {name}", path=bundle)
        largest = max(largest, difference)
        (bundle / name).write_bytes(data)
    digests = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in LEVELS}
    parity = Parity(
        largest_difference=largest, parameters=sum(p.numel() for net in levels for p in net.parameters())
    )
    write(card.changed(sha256=digests, parity=parity), bundle / bundles.CARD)
    golden.write(bundles.load(bundle), bundle, golden_films())


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


def graph(net: Level1 | Level2) -> bytes:
    """Export a level; film size and number of windows stay free. Normalisations are folded in place.

    Args:
        net: The network; it is moved to the CPU and into evaluation mode.

    Returns:
        The ONNX file's bytes.
    """
    net.to("cpu").eval()
    first = isinstance(net, Level1)
    example = torch.zeros(1, 1, WINDOW1 + 32, WINDOW1 + 64) if first else torch.zeros(2, 1, WINDOW2, WINDOW2)
    graphs.fold_normalisation(net, example)
    free = dict.fromkeys((2, 3) if first else (0,), torch.export.Dim.AUTO)
    outputs = ["knee", "box"] if first else ["knee", "box", "points"]
    data: bytes = graphs.traced(
        net, [example], ["film" if first else "window"], outputs, free
    ).SerializeToString()
    return data


@torch.inference_mode()
def largest_difference(net: Level1 | Level2, data: bytes) -> float:
    """Largest difference between network and graph on random input of another size than the example's."""
    first = isinstance(net, Level1)
    shape = (1, 1, 3 * WINDOW1, 4 * WINDOW1) if first else (5, 1, WINDOW2, WINDOW2)
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    session = Session(data)
    answers = session.run(list(session.outputs), {"film" if first else "window": image})
    expected = net(torch.from_numpy(image))
    return float(np.max([np.abs(a - e.numpy()).max() for a, e in zip(answers, expected, strict=True)]))
