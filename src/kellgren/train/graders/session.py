"""The moving parts of a run, and how an epoch moves them."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train import distributed
from kellgren.train.checkpoint import BEST, LAST
from kellgren.train.graders import batches, losses, optimiser
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.recipe import Phase
from kellgren.train.run import LOG, Run, Track, save


class Session:
    """Network, average and optimiser of a run, and where they stand.

    Args:
        run: What is trained.
        net: The network with its initial weights, not yet on the device.
        steps_per_epoch: Batches of an epoch.
    """

    def __init__(self, run: Run, net: KneeNet, *, steps_per_epoch: int) -> None:
        self.run = run
        self.optimise = run.recipe.optimise
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0
        self.step = 0
        self.entries: list[dict[str, Any]] = []
        hardware = run.hardware
        net = distributed.shared_statistics(net, hardware)
        self.net: KneeNet = net.to(hardware.device).to(memory_format=torch.channels_last)
        self.average = None
        if self.optimise.ema > 0:
            self.average = ModelEmaV3(self.net, decay=self.optimise.ema, use_warmup=True, warmup_power=0.75)
        self.trainable = frozenset(p for p in self.net.parameters() if p.requires_grad)
        self._begin(0)

    @property
    def learned(self) -> KneeNet:
        """The network that counts: with averaged weights where the recipe wants them."""
        net: KneeNet = self.net if self.average is None else self.average.module
        return net

    @property
    def best(self) -> float:
        """The best score so far."""
        return max((entry["score"] for entry in self.entries), default=-math.inf)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has ended the run."""
        return self.epoch >= self.optimise.epochs or (bool(self.entries) and "stopped" in self.entries[-1])

    def _begin(self, index: int) -> None:
        """Enter a phase: its parameters get gradients, its optimiser has seen none yet."""
        self.phase_index = index
        self.phase: Phase = self.optimise.phases[index]
        self.phase_start = sum(phase.epochs for phase in self.optimise.phases[:index])
        optimiser.choose_trained(self.net, self.phase, self.trainable)
        self.optimiser = optimiser.build(self.net, self.phase, self.optimise)
        self.callable: nn.Module = distributed.in_parallel(self.net, self.run.hardware)

    def _phase_of(self, epoch: int) -> int:
        """Index of the phase that an epoch (from 0) belongs to."""
        ends = [
            sum(p.epochs for p in self.optimise.phases[: i + 1]) for i in range(len(self.optimise.phases))
        ]
        return next((i for i, end in enumerate(ends) if epoch < end), len(ends) - 1)

    def train_epoch(self, crops: batches.Crops, track: Track) -> dict[str, Any]:
        """One pass over the knees; returns the epoch's number, loss and speed.

        Raises:
            BadRecipe: If the loss is no longer a finite number.
        """
        index = self._phase_of(self.epoch)
        if index != self.phase_index:
            self._begin(index)
        recipe, hardware = self.run.recipe, self.run.hardware
        started = time.monotonic()
        optimiser.training_mode(self.net, self.phase)
        total = torch.zeros((), device=hardware.device)
        # dropout and stochastic depth restart by epoch, so that resuming changes nothing
        torch.manual_seed((self.run.seed * 10_007 + self.epoch) * hardware.world + hardware.rank)
        source = batches.training_batches(
            crops, recipe, seed=self.run.seed, epoch=self.epoch, part=(hardware.rank, hardware.world)
        )
        for batch in track(source, self.steps_per_epoch, f"epoch {self.epoch + 1}/{self.optimise.epochs}"):
            total += self._learn(batch)
        self.epoch += 1
        loss = float(total) / self.steps_per_epoch
        if not math.isfinite(loss):
            raise BadRecipe(
                f"the loss is {loss} in epoch {self.epoch}", remedy="lower the learning rates, or set clip"
            )
        seconds = time.monotonic() - started
        return {
            "epoch": self.epoch,
            "phase": index + 1,
            "loss": round(loss, 4),
            "images_per_s": round(self.steps_per_epoch * recipe.optimise.batch / seconds, 2),
        }

    def _learn(self, batch: batches.Batch) -> Tensor:
        """One step; returns the loss of the whole batch."""
        hardware, recipe = self.run.hardware, self.run.recipe
        done = self.step / self.steps_per_epoch - self.phase_start
        factor = optimiser.schedule(done, self.phase)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        with hardware.autocast():
            raw: dict[str, Tensor] = self.callable(*hardware.place(batch.views))
        raw = {head: values.float() for head, values in raw.items()}  # losses are no place for bfloat16
        loss = losses.multi_task(distributed.gathered(raw, hardware), batch.grades, recipe)
        (loss * hardware.world).backward()  # type: ignore[no-untyped-call]  # gradients are averaged
        if self.optimise.clip > 0:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.optimise.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.net, step=self.step)
        self.step += 1
        return loss.detach()

    def keep(self, entry: dict[str, Any]) -> None:
        """Judge an epoch; write `best.pt` if it is the best so far, the log, and last of all `last.pt`.

        A run killed in between repeats the epoch, with the same outcome and one log line.
        """
        entry["score"] = entry.get("held_out_score", float(self.epoch))
        entry["best"] = entry["score"] > self.best
        self.entries.append(entry)
        if self._out_of_patience():
            entry["stopped"] = True
        if self.run.hardware.rank:
            return
        out = self.run.out
        if entry["best"]:
            save(out / BEST, {"model": self.learned.state_dict(), "epoch": self.epoch})
        lines = "".join(json.dumps(line) + "\n" for line in self.entries)
        (out / LOG).write_text(lines, encoding="utf-8")
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "phase": self.phase_index,
            "entries": self.entries,
            "model": self.net.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save(out / LAST, state)

    def _out_of_patience(self) -> bool:
        patience, last = self.optimise.patience, self.phase_index == len(self.optimise.phases) - 1
        if not patience or not last or "held_out_score" not in self.entries[-1]:
            return False
        best: int = max(entry["epoch"] for entry in self.entries if entry["best"])
        return self.epoch - max(best, self.phase_start) >= patience

    def restore(self) -> None:
        """Go on where `last.pt` stands."""
        state = torch.load(self.run.out / LAST, weights_only=True, map_location=self.run.hardware.device)
        self.epoch, self.step, self.entries = state["epoch"], state["step"], state["entries"]
        self._begin(state["phase"])
        self.net.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
