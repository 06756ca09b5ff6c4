"""How weights are learned in one phase: which, by which rule, at which rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, TypedDict

import torch
from torch import nn

from kellgren.train.graders.recipe import Optimise, Phase

_FIRST, _LAST, _RISE = 1 / 25, 1 / 25e4, 0.15
"""One cycle: shares of the peak rate at its beginning and end, and the share of steps in which it rises."""

_CALM, _FAST = 0.95, 0.85
"""One cycle: decay of the first moment at the ends and at the peak: momentum runs against the rate."""

_BETA2: Final = 0.999


class Group(TypedDict):
    """Parameters with one rate; `peak` is the rate that the schedule scales."""

    params: list[nn.Parameter]
    lr: float
    peak: float
    weight_decay: float


def schedule(epoch: float, phase: Phase) -> float:
    """Share of the peak learning rate: linear warm-up, then as the phase says.

    Args:
        epoch: Epochs of the phase done, fractional.
        phase: Gives warm-up, length and whether the rate stays or falls by half a cosine to zero.
    """
    if epoch < phase.warmup:
        return 0.02 + 0.98 * epoch / phase.warmup
    if phase.schedule == "constant":
        return 1.0
    done = (epoch - phase.warmup) / max(phase.epochs - phase.warmup, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def one_cycle(step: int, total: int) -> tuple[float, float]:
    """Share of the peak rate and decay of the first moment: up and down once, both by half a cosine.

    The figures are those of `torch.optim.lr_scheduler.OneCycleLR`, with `pct_start` 0.15.

    Args:
        step: From 0.
        total: Steps of the phase.
    """
    top = _RISE * total - 1
    if step <= top:
        return _between(_FIRST, 1.0, step / top), _between(_CALM, _FAST, step / top)
    done = (step - top) / (total - 1 - top)
    return _between(1.0, _LAST, done), _between(_FAST, _CALM, done)


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


def set_rate(optimiser: torch.optim.Optimizer, phase: Phase, *, step: int, steps: int) -> None:
    """Set every group's rate for a step.

    Args:
        optimiser: As `build` makes it.
        phase: Gives the schedule.
        step: Of the phase, from 0.
        steps: Of an epoch.
    """
    if phase.schedule == "one_cycle":
        factor, beta1 = one_cycle(step, steps * phase.epochs)
        for group in optimiser.param_groups:
            group["betas"] = (beta1, _BETA2)
    else:
        factor = schedule(step / steps, phase)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def parameter_groups(
    net: nn.Module, backbones: Sequence[nn.Module], phase: Phase, weight_decay: float
) -> list[Group]:
    """Trainable parameters by learning rate; biases and normalisation are not decayed."""
    groups: list[Group] = []
    held = parameters_of(backbones)
    backbone = [p for p in net.parameters() if p in held]
    heads = [p for p in net.parameters() if p not in held]
    for rate, members in ((phase.lr, backbone), (phase.head_lr or phase.lr, heads)):
        for decayed in (False, True):
            trained = [p for p in members if p.requires_grad and (p.ndim > 1) == decayed]
            if trained:
                decay = weight_decay if decayed else 0.0
                groups.append({"params": trained, "lr": rate, "peak": rate, "weight_decay": decay})
    return groups


def build(
    net: nn.Module, backbones: Sequence[nn.Module], phase: Phase, optimise: Optimise
) -> torch.optim.Optimizer:
    """The optimiser of a phase, with what it remembers of gradients empty.

    Every group carries its peak learning rate as `peak`.
    """
    groups = [dict(group) for group in parameter_groups(net, backbones, phase, optimise.weight_decay)]
    if optimise.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, foreach=True)
    if optimise.optimiser == "adam":
        return torch.optim.Adam(groups, foreach=True)
    return torch.optim.AdamW(groups, foreach=True)


def parameters_of(modules: Iterable[nn.Module]) -> frozenset[nn.Parameter]:
    """All parameters of some modules."""
    return frozenset(parameter for module in modules for parameter in module.parameters())


def select_trained(
    net: nn.Module, backbones: Sequence[nn.Module], phase: Phase, trainable: frozenset[nn.Parameter]
) -> None:
    """Set which parameters get gradients in a phase.

    Args:
        net: The network.
        backbones: Its parts that `Phase.train: heads` leaves as they are.
        phase: Whose `train` decides.
        trainable: Those that the network itself does not freeze.
    """
    left = parameters_of(backbones) if phase.train == "heads" else frozenset()
    for parameter in net.parameters():
        parameter.requires_grad_(parameter in trainable and parameter not in left)


def training_mode(net: nn.Module, backbones: Sequence[nn.Module], phase: Phase) -> None:
    """Training mode; a backbone that a phase leaves alone keeps its batch statistics and drops nothing."""
    net.train()
    if phase.train == "heads":
        for backbone in backbones:
            backbone.eval()
