"""How weights are learned in one phase: which, by which rule, at which rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from kellgren.train.graders import networks
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.recipe import Optimise, Phase


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


def parameter_groups(net: KneeNet, phase: Phase, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters by learning rate; biases and normalisation are not decayed."""
    groups: list[dict[str, object]] = []
    head_lr = phase.head_lr or phase.lr
    for rate, members in (
        (phase.lr, networks.backbone_parameters(net)),
        (head_lr, networks.head_parameters(net)),
    ):
        for decayed in (False, True):
            chosen = [p for p in members if p.requires_grad and (p.ndim > 1) == decayed]
            if chosen:
                decay = weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay})
    return groups


def build(net: KneeNet, phase: Phase, optimise: Optimise) -> torch.optim.Optimizer:
    """The optimiser of a phase, with what it remembers of gradients empty.

    Every group carries its peak learning rate as `peak`.
    """
    groups = parameter_groups(net, phase, optimise.weight_decay)
    if optimise.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, foreach=True)
    if optimise.optimiser == "adam":
        return torch.optim.Adam(groups, foreach=True)
    return torch.optim.AdamW(groups, foreach=True)


def choose_trained(net: KneeNet, phase: Phase, trainable: frozenset[nn.Parameter]) -> None:
    """Set which parameters get gradients in a phase.

    Args:
        net: The network.
        phase: Whose `train` decides.
        trainable: Those that the network itself does not freeze.
    """
    backbone = set(networks.backbone_parameters(net)) if phase.train == "heads" else set()
    for parameter in net.parameters():
        parameter.requires_grad_(parameter in trainable and parameter not in backbone)


def training_mode(net: KneeNet, phase: Phase) -> None:
    """Training mode; a backbone that a phase leaves alone keeps its batch statistics and drops nothing."""
    net.train()
    if phase.train == "heads":
        for backbone in net.backbones:
            backbone.eval()
