"""Training of the joint-line model: one recipe, one data set with points, one run folder."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from kellgren.data import DataSet
from kellgren.errors import BadRecipe
from kellgren.measure import FEMUR_POINTS, POINTS
from kellgren.train.contour import losses, material
from kellgren.train.contour.network import ContourNet
from kellgren.train.contour.recipe import ContourRecipe
from kellgren.train.graders.optimiser import schedule
from kellgren.train.hardware import Hardware
from kellgren.train.run import WHOLE_SPLIT, Track, commit, save, silent

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ContourRun:
    """What one training run is made of.

    Attributes:
        recipe: What to train.
        dataset: All knees; folds of the train split are used.
        out: Run folder.
        fold: Held-out fold, or `WHOLE_SPLIT`.
        seed: Source of all random numbers.
        hardware: Where.
    """

    recipe: ContourRecipe
    dataset: DataSet
    out: Path
    fold: int
    seed: int
    hardware: Hardware

    def training(self) -> DataSet:
        """The knees that are learned from."""
        train = self.dataset.select(split="train")
        if self.fold == WHOLE_SPLIT:
            return train
        return train.select(folds={k.fold for k in train if k.fold is not None} - {self.fold})

    def held_out(self) -> DataSet | None:
        """The knees on which everything is chosen."""
        if self.fold == WHOLE_SPLIT:
            return None
        return self.dataset.select(split="train", folds={self.fold})


def train(run: ContourRun, *, track: Track = silent) -> ContourNet:
    """Train until the recipe's last epoch.

    Args:
        run: What and where. The run folder gets `run.json`, `log.jsonl` and `last.pt` (averaged weights).
        track: Progress display.

    Returns:
        The network with averaged weights, on the CPU, in evaluation mode.

    Raises:
        BadRecipe: If the folder holds a run already.
        BadDataset: If the data set has no points.
    """
    if (run.out / "run.json").exists():
        raise BadRecipe("the folder holds a run already", path=run.out, remedy="use another --out")
    run.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(run.seed)
    crops = material.preload(run.training(), run.recipe, threads=run.hardware.threads)
    held_out = run.held_out()
    check = None if held_out is None else material.preload(held_out, run.recipe, threads=run.hardware.threads)
    (run.out / "run.json").write_text(json.dumps(_record(run, len(crops)), indent=2) + "\n", encoding="utf-8")
    session = _Session(run, steps_per_epoch=max(1, len(crops) // run.recipe.optimise.batch))
    averaged: ContourNet = session.average.module
    for epoch in range(run.recipe.optimise.epochs):
        started = time.monotonic()
        entry: dict[str, Any] = {"epoch": epoch + 1, "loss": session.train_epoch(crops, epoch, track)}
        if check is not None:
            entry |= held_out_figures(averaged, check, run)
        entry["seconds"] = round(time.monotonic() - started, 1)
        log.info("%s", entry)
        with (run.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        save(run.out / "last.pt", {"model": averaged.state_dict(), "epoch": epoch + 1})
    return averaged.to("cpu").eval()


class _Session:
    """The moving parts of a run: network, average, optimiser, and the step that they are at."""

    def __init__(self, run: ContourRun, *, steps_per_epoch: int) -> None:
        self.run = run
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        net = ContourNet(POINTS, run.recipe.width)
        self.net = net.to(device=run.hardware.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimise = run.recipe.optimise
        (self.phase,) = optimise.phases
        self.average = ModelEmaV3(self.net, decay=optimise.ema, use_warmup=True, warmup_power=0.75)
        self.optimiser = torch.optim.AdamW(
            _groups(self.net, optimise.weight_decay), lr=self.phase.lr, foreach=True
        )

    def train_epoch(self, crops: material.Crops, epoch: int, track: Track) -> float:
        """One pass over the knees; returns the mean loss."""
        self.net.train()
        total = torch.zeros((), device=self.run.hardware.device)
        source = material.training_batches(
            crops, self.run.recipe, seed=self.run.seed, epoch=epoch, threads=self.run.hardware.threads
        )
        description = f"epoch {epoch + 1}/{self.run.recipe.optimise.epochs}"
        for batch in track(source, self.steps_per_epoch, description):
            total += self._learn(batch)
        return round(float(total) / self.steps_per_epoch, 4)

    def _learn(self, batch: material.Batch) -> Tensor:
        optimise, device = self.run.recipe.optimise, self.run.hardware.device
        factor = schedule(self.step / self.steps_per_epoch, self.phase)
        for group in self.optimiser.param_groups:
            group["lr"] = self.phase.lr * factor
        with self.run.hardware.autocast():
            heat = self.net.heat(batch.images.to(device, memory_format=torch.channels_last)).float()
        loss = losses.contour(heat, batch.points.to(device), batch.scores.to(device), self.run.recipe.loss)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), optimise.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.net, step=self.step)
        self.step += 1
        return loss.detach()


@torch.inference_mode()
def held_out_figures(net: ContourNet, crops: material.Crops, run: ContourRun) -> dict[str, float]:
    """Errors on the held-out fold, in per cent of the joint's width (the distance of the plateau's ends).

    `across` is the mean distance from the true curve, `point` the mean distance from the true point.
    """
    net.eval()
    across, point = [], []
    for batch in material.evaluation_batches(crops, run.recipe):
        images = batch.images.to(run.hardware.device, memory_format=torch.channels_last)
        found = net(images)[0].float().cpu()
        width = (batch.points[:, FEMUR_POINTS] - batch.points[:, -1]).norm(dim=1)[:, None]
        beside, along = losses.split(found, batch.points)
        across.append(beside / width)
        point.append(torch.hypot(beside, along) / width)
    figures = {"across": torch.cat(across), "point": torch.cat(point)}
    return {f"held_out_{name}": round(100 * float(values.mean()), 3) for name, values in figures.items()}


def _groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on kernels, not on biases and normalisation."""
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _record(run: ContourRun, knees: int) -> dict[str, Any]:
    return {
        "recipe": run.recipe.to_dict(),
        "data_sha256": run.dataset.sha256(),
        "fold": run.fold,
        "seed": run.seed,
        "knees": knees,
        "hardware": run.hardware.name,
        "torch": torch.__version__,
        "commit": commit(),
    }
