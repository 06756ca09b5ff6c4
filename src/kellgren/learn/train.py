"""`kellgren train`: one recipe, one data set, one run folder that can be resumed.

Run folder: `run.json` (recipe, data, seed, machine), `log.jsonl` (one line an epoch), `last.pt`
(everything needed to go on), `best.pt` (averaged weights of the best epoch), then `bundle/`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from kellgren import calibrate
from kellgren.data import DataSet
from kellgren.errors import BadDataset, BadRecipe
from kellgren.learn import batches, losses, networks
from kellgren.learn.hardware import Hardware
from kellgren.learn.recipe import Recipe
from kellgren.study import calibration_error, metrics
from kellgren.vocabulary import MISSING, TASKS

log = logging.getLogger(__name__)

WHOLE_SPLIT = -1
"""`fold` value that trains on the whole train split, with no held-out knees to choose on."""

Track = Callable[[Iterable[Any], int, str], Iterator[Any]]
"""Wraps an iterable with a progress display: (items, total, description)."""


def silent(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
    """No progress display."""
    del total, description
    return iter(items)


@dataclass(frozen=True, slots=True)
class Run:
    """What one training run is made of.

    Attributes:
        recipe: What to train.
        dataset: All knees; the train split is used, and of the rest nothing is looked at.
        out: Run folder.
        fold: Held-out fold for every choice, or `WHOLE_SPLIT`.
        seed: Source of all random numbers.
        init: Initial weights, see `networks.build`.
        hardware: Where.
    """

    recipe: Recipe
    dataset: DataSet
    out: Path
    fold: int
    seed: int
    init: str | None
    hardware: Hardware

    def training(self) -> DataSet:
        """The knees that are learned from."""
        train = self.dataset.select(split="train")
        if self.fold == WHOLE_SPLIT:
            return train
        unassigned = [knee.name for knee in train if knee.fold is None]
        if unassigned:
            raise BadDataset(
                f"{len(unassigned)} train knees are in no fold, first {unassigned[0]!r}",
                path=self.dataset.root,
                remedy=f"complete folds.csv, or train on the whole split with --fold {WHOLE_SPLIT}",
            )
        return train.select(folds={k.fold for k in train if k.fold is not None} - {self.fold})

    def held_out(self) -> DataSet | None:
        """The knees on which epoch, temperature and thresholds are chosen."""
        if self.fold == WHOLE_SPLIT:
            return None
        return self.dataset.select(split="train", folds={self.fold})

    def initial_weights(self) -> str | None:
        """Name of the initial weights: the file's, `hub`, or None for a random start."""
        if self.init is None or self.init == "hub":
            return self.init
        return networks.weights_file(Path(self.init), self.recipe.network.backbone).name

    def record(self) -> dict[str, Any]:
        """What decides the run: a resumed run must have the same."""
        return {
            "recipe": json.loads(json.dumps(self.recipe.to_dict())),
            "data_sha256": self.dataset.sha256(),
            "fold": self.fold,
            "seed": self.seed,
            "init": self.initial_weights(),
        }


def train(run: Run, *, resume: bool = False, track: Track = silent) -> networks.MultiTaskNet:
    """Train until the recipe's last epoch.

    Args:
        run: What and where.
        resume: Go on from `last.pt`; without it a run folder that holds one is refused.
        track: Progress display.

    Returns:
        The network with the averaged weights of the best epoch (by held-out score; the last epoch
        when nothing is held out), on the CPU, in evaluation mode.

    Raises:
        BadRecipe: If the folder holds another run, resuming is asked for and nothing is there, or the
            recipe freezes stages that would start from random weights.
        BadDataset: If there are too few knees.
    """
    if run.recipe.network.freeze and run.init is None:
        raise BadRecipe(
            f"the recipe {run.recipe.name!r} freezes stages, which random weights would make useless",
            remedy="name initial weights: --init FILE, a folder of them, or --init hub to download",
        )
    _open_folder(run, resume=resume)
    torch.manual_seed(run.seed)
    crops = batches.preload(run.training(), run.recipe, threads=run.hardware.threads)
    held_out = run.held_out()
    check = None if held_out is None else batches.preload(held_out, run.recipe, threads=run.hardware.threads)
    if len(crops) < 2:
        raise BadDataset("fewer than two knees to train on", path=run.dataset.root)
    session = _Session(run, steps_per_epoch=max(1, len(crops) // run.recipe.optimise.batch))
    if resume:
        session.restore(run.out / "last.pt")
    while session.epoch < run.recipe.optimise.epochs:
        started = time.monotonic()
        loss = session.train_epoch(crops, track)
        entry: dict[str, Any] = {"epoch": session.epoch, "loss": loss}
        entry["images_per_s"] = round(len(crops) / (time.monotonic() - started), 2)
        if check is not None:
            entry |= {f"held_out_{k}": v for k, v in held_out_figures(session.averaged, check, run).items()}
        entry["seconds"] = round(time.monotonic() - started, 1)
        session.keep(entry)
        log.info("%s", entry)
    net = networks.build(run.recipe, init=None)
    net.load_state_dict(torch.load(run.out / "best.pt", weights_only=True)["model"])
    return net.eval()


class _Session:
    """The moving parts of a run: network, average, optimiser, and where they stand."""

    def __init__(self, run: Run, *, steps_per_epoch: int) -> None:
        self.run = run
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0
        self.step = 0
        self.best = float("-inf")
        self.entries: list[dict[str, Any]] = []
        device = run.hardware.device
        net = networks.build(run.recipe, init=run.init)
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimise = run.recipe.optimise
        self.average = ModelEmaV3(self.net, decay=optimise.ema, use_warmup=True, warmup_power=0.75)
        groups = networks.parameter_groups(
            self.net, lr=optimise.lr, head_lr=optimise.head_lr, weight_decay=optimise.weight_decay
        )
        self.optimiser = torch.optim.AdamW(groups, foreach=True)
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]

    @property
    def averaged(self) -> networks.MultiTaskNet:
        """The network with averaged weights."""
        net: networks.MultiTaskNet = self.average.module
        return net

    def train_epoch(self, crops: batches.Crops, track: Track) -> float:
        """One pass over the knees; returns the mean loss."""
        self.net.train()
        recipe, device = self.run.recipe, self.run.hardware.device
        total = torch.zeros((), device=device)
        # dropout and stochastic depth restart by epoch, so that resuming changes nothing
        torch.manual_seed(self.run.seed * 10_007 + self.epoch)
        source = batches.training_batches(
            crops, recipe, seed=self.run.seed, epoch=self.epoch, threads=self.run.hardware.threads
        )
        description = f"epoch {self.epoch + 1}/{recipe.optimise.epochs}"
        for batch in track(source, self.steps_per_epoch, description):
            total += self._learn(batch)
        self.epoch += 1
        return round(float(total) / self.steps_per_epoch, 4)

    def _learn(self, batch: batches.Batch) -> Tensor:
        optimise, device = self.run.recipe.optimise, self.run.hardware.device
        factor = schedule(self.step / self.steps_per_epoch, warmup=optimise.warmup, epochs=optimise.epochs)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        images = batch.images.to(device, memory_format=torch.channels_last, non_blocking=True)
        grades = {task: values.to(device, non_blocking=True) for task, values in batch.grades.items()}
        with self.run.hardware.autocast():
            logits = self.net(images)
        loss = losses.multi_task(logits, grades, self.run.recipe.tasks, self.run.recipe.target.spread)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), optimise.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.net, step=self.step)
        self.step += 1
        return loss.detach()

    def keep(self, entry: dict[str, Any]) -> None:
        """Write `best.pt` when this epoch is the best so far, the log line, and last of all `last.pt`.

        A run killed in between repeats the epoch, with the same outcome and one log line.
        """
        score = entry.get("held_out_score", float(self.epoch))
        entry["best"] = score > self.best
        if entry["best"]:
            self.best = score
            save(self.run.out / "best.pt", {"model": self.averaged.state_dict(), "epoch": self.epoch})
        self.entries.append(entry)
        lines = "".join(json.dumps(line) + "\n" for line in self.entries)
        (self.run.out / "log.jsonl").write_text(lines, encoding="utf-8")
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "entries": self.entries,
            "model": self.net.state_dict(),
            "average": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save(self.run.out / "last.pt", state)

    def restore(self, path: Path) -> None:
        """Go on where `last.pt` stands."""
        state = torch.load(path, weights_only=True, map_location=self.run.hardware.device)
        self.epoch, self.step, self.best = state["epoch"], state["step"], state["best"]
        self.entries = state["entries"]
        self.net.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def schedule(epoch: float, *, warmup: float, epochs: float) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine to zero.

    Args:
        epoch: Epochs done, fractional.
        warmup: Epochs of warm-up.
        epochs: Epochs in all.
    """
    if epoch < warmup:
        return 0.02 + 0.98 * epoch / warmup
    done = (epoch - warmup) / max(epochs - warmup, 1e-9)
    return float(0.5 * (1 + np.cos(np.pi * min(done, 1.0))))


@torch.inference_mode()
def predict_logits(
    net: networks.MultiTaskNet, crops: batches.Crops, recipe: Recipe, hardware: Hardware
) -> dict[str, npt.NDArray[np.float64]]:
    """Logits of every crop by task, (N, C), without test-time views."""
    net.eval()
    collected: dict[str, list[Tensor]] = {task: [] for task in recipe.tasks}
    for batch in batches.evaluation_batches(crops, recipe):
        with hardware.autocast():
            logits = net(batch.images.to(hardware.device, memory_format=torch.channels_last))
        for task, values in logits.items():
            collected[task].append(values.float().cpu())
    return {task: torch.cat(values).double().numpy() for task, values in collected.items()}


def held_out_figures(net: networks.MultiTaskNet, crops: batches.Crops, run: Run) -> dict[str, float]:
    """Figures of the held-out fold by which the epoch is chosen.

    `score` is the mean of accuracy and quadratic weighted kappa of the task with the largest weight.
    """
    logits = predict_logits(net, crops, run.recipe, run.hardware)
    figures: dict[str, float] = {}
    for task in run.recipe.tasks:
        truth = crops.grades[task]
        read = truth != MISSING
        probabilities = calibrate.softmax(logits[task][read])
        decided = calibrate.decide(probabilities, run.recipe.decision.get(task, "argmax"))
        confusion = metrics.confusion_matrix(truth[read], decided, TASKS[task].classes)
        figures[f"{task}_accuracy"] = float(metrics.accuracy(confusion))
        figures[f"{task}_qwk"] = float(metrics.qwk(confusion))
        if task == "KL":
            figures["KL_accuracy_pm1"] = float(metrics.accuracy_pm1(confusion))
            figures["KL_nll"] = calibration_error.nll(probabilities, truth[read])
    main = max(run.recipe.tasks, key=lambda task: run.recipe.tasks[task])
    figures["score"] = (figures[f"{main}_accuracy"] + figures[f"{main}_qwk"]) / 2
    return {name: round(value, 4) for name, value in figures.items()}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _open_folder(run: Run, *, resume: bool) -> None:
    """Create the run folder, or check that it holds this very run."""
    run.out.mkdir(parents=True, exist_ok=True)
    path, record = run.out / "run.json", run.record()
    begun = (run.out / "last.pt").is_file()
    if resume and not begun:
        raise BadRecipe("nothing to resume", path=run.out, remedy="start without --resume")
    if begun and not resume:
        raise BadRecipe(
            "the folder holds a run already", path=run.out, remedy="add --resume, or use another --out"
        )
    if resume:
        stored = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key, value in record.items() if stored.get(key) != value]
        if changed:
            raise BadRecipe(f"the folder holds a run with other {', '.join(changed)}", path=run.out)
        return
    machine = {"hardware": run.hardware.name, "torch": torch.__version__, "commit": commit()}
    path.write_text(json.dumps(record | machine, indent=2) + "\n", encoding="utf-8")


def commit() -> str | None:
    """Commit of the source tree that trains, None for an installed package."""
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],  # noqa: S607 - whichever git there is
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
