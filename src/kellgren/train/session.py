"""One session for every kind: a network learns epoch by epoch, and goes on wherever it was ended.

A kind supplies `Stage`s: a network, what it learns from, and its loss. After every epoch `best.pt` (if it is
the best so far), the log and last of all `last.pt` are replaced: a run killed in between repeats the epoch,
with the same outcome and one line in the log.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train import checkpoint, distributed, folder, optimiser
from kellgren.train.folder import BEST, LAST, Entry
from kellgren.train.graders.recipe import Optimise
from kellgren.train.run import R, Run, Track, silent

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

Net = TypeVar("Net", bound=nn.Module)
Batch = TypeVar("Batch")

_LOGGED = ("KL_accuracy", "KL_qwk", "across", "score")
"""Metrics of the held-out fold that the line of an epoch shows."""


@dataclass(frozen=True, slots=True)
class Data(Generic[Net, Batch]):
    """What a stage learns from.

    Attributes:
        steps: Batches of an epoch.
        batches: The batches of an epoch, counted from 0.
        metrics: Metrics of the network on the held-out fold; `score` among them chooses the epoch, else the
            last is the best. None where nothing is held out.
        images: How many there are.
    """

    steps: int
    batches: Callable[[int], Iterable[Batch]]
    metrics: Callable[[Net], dict[str, float]] | None = None
    images: int = 0


@dataclass(frozen=True, slots=True)
class Stage(Generic[Net, Batch]):
    """One network to be trained.

    Attributes:
        net: With its initial weights, not yet on the device.
        optimise: Phases, optimiser, average, patience.
        loss: Mean loss of a whole batch, with gradient, by the network as it is called in training.
        data: Reads what it learns from; not called when the stage has ended.
        backbones: Parts of the network that `Phase.train: heads` leaves as they are.
        name: Of several stages of a run; empty where there is one.
    """

    net: Net
    optimise: Optimise
    loss: Callable[[nn.Module, Batch], Tensor]
    data: Callable[[], Data[Net, Batch]]
    backbones: tuple[nn.Module, ...] = ()
    name: str = ""


def train(run: Run[R], stage: Stage[Net, Batch], *, track: Track = silent) -> Net:
    """Train a stage until its last epoch or until patience ends, from where the run folder stands.

    Args:
        run: Its folder, seed and hardware.
        stage: What is trained.
        track: Progress display.

    Returns:
        The stage's network with the weights of the best epoch (by held-out score; else of the last epoch), on
        the CPU, in evaluation mode.

    Raises:
        BadRecipe: If the loss diverges, or `last.pt` is damaged.
    """
    best = best_file(run.out, stage.name)
    if not ended(run.out, stage.name, stage.optimise.epochs):
        session = Session(run, stage, stage.data())
        session.restore()
        writer = None if run.hardware.rank else event_writer(run.out / stage.name, epoch=session.epoch + 1)
        while not session.finished:
            entry = session.epoch_done(*session.train_epoch(track))
            if writer is not None:
                _write(writer, entry)
            if not run.hardware.rank:
                log.info("%s", line(entry, stage.optimise.epochs))
        distributed.wait(run.hardware)
    weights, _ = checkpoint.load_weights(best)
    stage.net.load_state_dict(weights)
    stage.net.to("cpu").eval()
    return stage.net


def best_file(out: Path, stage: str = "") -> Path:
    """Where the weights of a stage's best epoch lie."""
    return out / (f"{stage}.pt" if stage else BEST)


def ended(out: Path, stage: str, epochs: int) -> bool:
    """Whether a stage needs no more training."""
    entries = [entry for entry in folder.read_log(out) if entry.stage == stage]
    return best_file(out, stage).is_file() and folder.finished(entries, epochs)


class State(BaseModel):
    """`last.pt`: everything that a session needs to go on."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    stage: str = ""
    epoch: int
    step: int
    phase: int
    entries: tuple[Entry, ...]
    model: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimiser: dict[str, object]

    def save(self, out: Path) -> None:
        """Replace `last.pt`."""
        plain = {name: getattr(self, name) for name in type(self).model_fields}
        checkpoint.save(out / LAST, plain | {"entries": [entry.plain() for entry in self.entries]})


def read_state(out: Path, device: torch.device) -> State | None:
    """`last.pt` of a run folder; None if there is none.

    Raises:
        BadRecipe: If it is damaged.
    """
    path = out / LAST
    if not path.is_file():
        return None
    try:
        return State.model_validate(checkpoint.load(path, device=device))
    except ValidationError as error:
        raise BadRecipe("not the state of a run", path=path, remedy="start again in another --out") from error


class Session(Generic[Net, Batch]):
    """Network, average and optimiser of a stage, and where they stand.

    Args:
        run: Its folder, seed and hardware.
        stage: What is trained.
        data: What it learns from.
    """

    def __init__(self, run: Run[R], stage: Stage[Net, Batch], data: Data[Net, Batch]) -> None:
        self.out, self.seed, self.hardware = run.out, run.seed, run.hardware
        self.stage, self.data, self.optimise = stage, data, stage.optimise
        self.epoch = self.step = 0
        self.entries: list[Entry] = []
        """Of this stage."""
        self.earlier: tuple[Entry, ...] = ()
        """Of the stages before it."""
        net = distributed.shared_statistics(stage.net, run.hardware)
        self.net: Net = net.to(run.hardware.device).to(memory_format=torch.channels_last)
        self.average = None
        if self.optimise.ema > 0:
            self.average = ModelEmaV3(self.net, decay=self.optimise.ema, use_warmup=True, warmup_power=0.75)
        self.trainable = frozenset(p for p in self.net.parameters() if p.requires_grad)
        self._begin(0)

    @property
    def learned(self) -> Net:
        """The network that counts: with averaged weights where the recipe wants them."""
        return self.net if self.average is None else cast("Net", self.average.module)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has ended the stage."""
        return folder.finished(self.entries, self.optimise.epochs)

    def _begin(self, index: int) -> None:
        """Enter a phase: its parameters get gradients, its optimiser has seen none yet."""
        self.phase_index, self.phase = index, self.optimise.phases[index]
        self.phase_start = sum(phase.epochs for phase in self.optimise.phases[:index])
        optimiser.select_trained(self.net, self.stage.backbones, self.phase, self.trainable)
        self.optimiser = optimiser.build(self.net, self.stage.backbones, self.phase, self.optimise)
        self.callable: nn.Module = distributed.in_parallel(self.net, self.hardware)

    def _phase_of(self, epoch: int) -> int:
        """Index of the phase that an epoch (from 0) belongs to."""
        last = 0
        for index, phase in enumerate(self.optimise.phases):
            last += phase.epochs
            if epoch < last:
                return index
        return len(self.optimise.phases) - 1

    def train_epoch(self, track: Track = silent) -> tuple[float, float]:
        """One pass over the data; returns the mean loss and the seconds that it took.

        Raises:
            BadRecipe: If the loss is no longer a finite number.
        """
        if (index := self._phase_of(self.epoch)) != self.phase_index:
            self._begin(index)
        started, hardware, steps = time.monotonic(), self.hardware, self.data.steps
        optimiser.training_mode(self.net, self.stage.backbones, self.phase)
        total = torch.zeros((), device=hardware.device)
        # dropout and stochastic depth restart by epoch, so that resuming changes nothing
        torch.manual_seed((self.seed * 10_007 + self.epoch) * hardware.world + hardware.rank)
        title = f"epoch {self.epoch + 1}/{self.optimise.epochs}"
        if self.stage.name:
            title += f" of {self.stage.name}"
        for batch in track(self.data.batches(self.epoch), steps, title):
            total += self._learn(batch)
        self.epoch += 1
        loss = float(total) / steps
        if not math.isfinite(loss):
            raise BadRecipe(
                f"the loss is {loss} in epoch {self.epoch}", remedy="lower the learning rates, or set clip"
            )
        return loss, time.monotonic() - started

    def _learn(self, batch: Batch) -> Tensor:
        """One step; returns the loss of the whole batch."""
        position = self.step - self.phase_start * self.data.steps
        optimiser.set_rate(self.optimiser, self.phase, step=position, steps=self.data.steps)
        loss = self.stage.loss(self.callable, batch)
        (loss * self.hardware.world).backward()  # type: ignore[no-untyped-call]  # gradients are averaged
        if self.optimise.clip > 0:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.optimise.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.net, step=self.step)
        self.step += 1
        return loss.detach()

    def epoch_done(self, loss: float, seconds: float) -> Entry:
        """Judge an epoch and write it down."""
        started, metrics = time.monotonic(), {}
        if self.data.metrics is not None:
            metrics = {} if self.hardware.rank else self.data.metrics(self.learned)
            metrics = distributed.from_first(metrics, self.hardware)
            # kappa of a single grade is not a number
            metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        score = metrics.get("score", float(self.epoch))
        spent = round(seconds + time.monotonic() - started, 1)
        values: dict[str, float | str] = {
            **({"stage": self.stage.name, "images": self.data.images} if self.stage.name else {}),
            "epoch": self.epoch,
            "phase": self.phase_index + 1,
            "loss": round(loss, 5),
            "images_per_s": round(self.data.steps * self.optimise.batch / max(seconds, 1e-9), 2),
            **{f"held_out_{name}": value for name, value in metrics.items()},
            "seconds": spent,
            "score": score,
            "best": score > max((entry.score for entry in self.entries), default=-math.inf),
        }
        recent = [*(entry.seconds for entry in self.entries[-2:]), spent]
        values["seconds_left"] = round((self.optimise.epochs - self.epoch) * sum(recent) / len(recent), 1)
        if self._out_of_patience(bool(values["best"]), "score" in metrics):
            values["stopped"] = "patience"
        entry = Entry.model_validate(values)
        self.entries.append(entry)
        if not self.hardware.rank:
            self._write(best=entry.best)
        return entry

    def _write(self, *, best: bool) -> None:
        if best:
            path = best_file(self.out, self.stage.name)
            checkpoint.save(path, {"model": self.learned.state_dict(), "epoch": self.epoch})
        entries = (*self.earlier, *self.entries)
        folder.write_log(self.out, entries)
        average = None if self.average is None else self.average.module.state_dict()
        State.model_construct(
            stage=self.stage.name,
            epoch=self.epoch,
            step=self.step,
            phase=self.phase_index,
            entries=entries,
            model=self.net.state_dict(),
            average=average,
            optimiser=self.optimiser.state_dict(),
        ).save(self.out)

    def _out_of_patience(self, best: bool, scored: bool) -> bool:
        patience, last = self.optimise.patience, self.phase_index == len(self.optimise.phases) - 1
        if not patience or not last or not scored:
            return False
        latest = self.epoch if best else max(entry.epoch for entry in self.entries if entry.best)
        return self.epoch - max(latest, self.phase_start) >= patience

    def restore(self) -> None:
        """Go on where `last.pt` stands; it may be that of a stage before this one, or not be there."""
        self.earlier = tuple(entry for entry in folder.read_log(self.out) if entry.stage != self.stage.name)
        state = read_state(self.out, self.hardware.device)
        if state is None or state.stage != self.stage.name:
            return
        self.epoch, self.step = state.epoch, state.step
        self.entries = [entry for entry in state.entries if entry.stage == self.stage.name]
        self._begin(state.phase)
        try:
            self.net.load_state_dict(state.model)
            if self.average is not None:
                self.average.module.load_state_dict(state.average or {})
            self.optimiser.load_state_dict(state.optimiser)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            raise BadRecipe("the state of another network", path=self.out / LAST) from error


def fitted_entry(stage: str, *, loss: float, images: int, seconds: float) -> Entry:
    """The line of a stage that is fitted in one piece."""
    values = {"stage": stage, "epoch": 1, "loss": round(loss, 5), "images": images}
    speed = {"images_per_s": round(images / max(seconds, 1e-9), 2), "seconds": round(seconds, 1)}
    return Entry.model_validate(values | speed | {"score": 1.0, "best": True})


def keep_fitted(out: Path, entry: Entry, weights: dict[str, Tensor]) -> None:
    """Keep a stage that is fitted in one piece, as a session keeps an epoch."""
    checkpoint.save(best_file(out, entry.stage), {"model": weights, "epoch": entry.epoch})
    entries = (*(e for e in folder.read_log(out) if e.stage != entry.stage), entry)
    folder.write_log(out, entries)
    State(
        stage=entry.stage,
        epoch=1,
        step=1,
        phase=0,
        entries=entries,
        model=weights,
        average=None,
        optimiser={},
    ).save(out)


def line(entry: Entry, epochs: int) -> str:
    """An epoch in words, for the log."""
    parts = [f"{entry.stage} epoch {entry.epoch}/{epochs}".strip(), f"loss {entry.loss:g}"]
    parts += [f"{name} {entry.held_out[name]:.3f}" for name in _LOGGED if name in entry.held_out]
    parts += [f"{entry.images_per_s:.0f} images/s", f"{entry.seconds:.0f} s"]
    parts += ["best so far"] if entry.best else []
    if entry.stopped:
        parts.append("stopped: no better for as long as patience allows")
    elif entry.seconds_left:
        hours, minutes = divmod(round(entry.seconds_left / 60), 60)
        parts.append(f"{hours} h {minutes:02} min left" if hours or minutes else "less than a minute left")
    return ", ".join(parts)


def event_writer(out: Path, *, epoch: int) -> SummaryWriter | None:
    """TensorBoard's writer; None, and a notice, where it is not installed.

    Args:
        out: Folder of the events; `tensorboard --logdir` is given this or one above it.
        epoch: The first that will be written: what an interrupted run wrote from there on does not count.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("tensorboard is not installed: the metrics of the epochs are in log.jsonl alone")
        return None
    return SummaryWriter(str(out), purge_step=epoch)


def _write(writer: SummaryWriter, entry: Entry) -> None:
    """Write the numbers of an entry at once; words and switches in it are left out."""
    for name, value in entry.plain().items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            writer.add_scalar(name, value, entry.epoch)
    writer.flush()
