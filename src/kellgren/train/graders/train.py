"""`kellgren train`: one recipe, one data set, one run folder that can be resumed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kellgren.errors import BadDataset, BadRecipe
from kellgren.train import distributed, scalars
from kellgren.train.checkpoint import BEST
from kellgren.train.graders import batches, held_out, networks
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.session import Session
from kellgren.train.run import Run, Track, check_folder, check_start, create_folder, silent

log = logging.getLogger(__name__)


def train(run: Run, *, resume: bool = False, track: Track = silent) -> KneeNet:
    """Train until the recipe's last epoch, or until patience ends.

    Args:
        run: What and where.
        resume: Go on from `last.pt`; without it a run folder that holds one is refused.
        track: Progress display.

    Returns:
        The network with the weights of the best epoch (by held-out score; the last epoch when nothing is held
        out), on the CPU, in evaluation mode.

    Raises:
        BadRecipe: If the folder holds another run, resuming is asked for and nothing is there, the recipe
            trains nothing or freezes what would start from random weights, goes on from a network that has
            learned from its held-out knees, or the loss diverges.
        BadDataset: If there are too few knees.
    """
    _check(run)
    check_folder(run, resume=resume)
    check_start(run)
    torch.manual_seed(run.seed)
    net = networks.build(run.recipe, init=run.init)
    if not run.hardware.rank:
        create_folder(run)
    with distributed.joined(run.hardware):
        distributed.wait(run.hardware)
        _epochs(run, net, resume=resume, track=track)
        distributed.wait(run.hardware)
    net = networks.build(run.recipe, init=None)
    net.load_state_dict(torch.load(run.out / BEST, weights_only=True, map_location="cpu")["model"])
    return net.eval()


def _check(run: Run) -> None:
    recipe, world = run.recipe, run.hardware.world
    heads_only = all(phase.train == "heads" for phase in recipe.optimise.phases)
    if run.init is None and (recipe.network.freeze or heads_only):
        raise BadRecipe(
            f"the recipe {recipe.name!r} freezes stages, which random weights would make useless",
            remedy="name initial weights: --init FILE, a folder of them, or --init hub to download",
        )
    if recipe.optimise.batch % world:
        raise BadRecipe(f"optimise.batch is {recipe.optimise.batch}, which {world} processes cannot share")


def _epochs(run: Run, net: KneeNet, *, resume: bool, track: Track) -> None:
    training, held = run.training(), run.held_out()
    threads = run.hardware.threads
    crops = batches.preload(training, run.recipe, threads=threads).to(run.hardware.device)
    check = None
    if held is not None and not run.hardware.rank:
        check = batches.preload(held, run.recipe, threads=threads).to(run.hardware.device)
    if len(crops) < 2:
        raise BadDataset("fewer than two knees to train on", path=run.dataset.root)
    session = Session(run, net, steps_per_epoch=batches.steps_per_epoch(crops, run.recipe))
    if resume:
        session.restore()
    writer = None if run.hardware.rank else scalars.open_writer(run.out, epoch=session.epoch + 1)
    while not session.finished:
        started = time.monotonic()
        entry = session.train_epoch(crops, silent if run.hardware.rank else track)
        if held is not None:
            found = (
                {} if check is None else held_out.figures(session.learned, check, run.recipe, run.hardware)
            )
            found = distributed.from_first(found, run.hardware)
            entry |= {f"held_out_{name}": value for name, value in found.items()}
        entry["seconds"] = round(time.monotonic() - started, 1)
        entry["seconds_left"] = _left([*session.entries, entry], run.recipe.optimise.epochs)
        session.keep(entry)
        if writer is not None:
            scalars.write(writer, entry)
        if not run.hardware.rank:
            log.info("%s", line(entry, run.recipe.optimise.epochs))


def _left(entries: Sequence[Mapping[str, Any]], epochs: int) -> float:
    """Seconds until the last epoch's end, by the mean of the last three epochs."""
    recent: list[float] = [entry["seconds"] for entry in entries[-3:]]
    to_do: int = epochs - entries[-1]["epoch"]
    return round(to_do * sum(recent) / len(recent), 1)


def line(entry: Mapping[str, Any], epochs: int) -> str:
    """An epoch in words, for the log."""
    parts = [f"epoch {entry['epoch']}/{epochs}", f"loss {entry['loss']:g}"]
    parts += [
        f"{name} {entry[f'held_out_{name}']:.3f}"
        for name in ("KL_accuracy", "KL_qwk", "score")
        if f"held_out_{name}" in entry
    ]
    parts += [f"{entry['images_per_s']:.0f} images/s", f"{entry['seconds']:.0f} s"]
    parts += ["best so far"] if entry.get("best") else []
    if entry.get("stopped"):
        parts.append("stopped: no better for as long as patience allows")
    elif entry["seconds_left"]:
        minutes = round(entry["seconds_left"] / 60)
        parts.append(
            f"{minutes // 60} h {minutes % 60:02} min left" if minutes else "less than a minute left"
        )
    return ", ".join(parts)
