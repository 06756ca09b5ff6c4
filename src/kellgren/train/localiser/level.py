"""One level of the cascade, or of MTCNN, as a stage of training: windows with what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kellgren.locate import windows
from kellgren.train.graders.recipe import Optimise, Phase
from kellgren.train.hardware import Hardware
from kellgren.train.localiser.recipe import Level, Weights
from kellgren.train.localiser.samples import Samples
from kellgren.train.session import Data, Stage

Net = TypeVar("Net", bound=nn.Module)

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Windows (N, 1, s, s), knee (N,), box (N, 4), points (N, 6, 2)."""


def stage(
    name: str,
    net: Net,
    level: Level,
    samples: Callable[[], Samples],
    *,
    second: bool,
    seed: int,
    hardware: Hardware,
) -> Stage[Net, Batch]:
    """A level's training.

    Args:
        name: Of the stage.
        net: Its network.
        level: How it is trained.
        samples: Cuts what it learns from.
        second: Whether windows are standardised each by itself, as level 2 sees them.
        seed: Source of order and augmentation.
        hardware: The machine.
    """
    phase = Phase(epochs=level.epochs, lr=level.lr, schedule="one_cycle" if level.cycle else "constant")
    optimise = Optimise(phases=(phase,), batch=level.batch, optimiser="adam")

    def loss(callable_net: nn.Module, batch: Batch) -> Tensor:
        window, *truth = (part.to(hardware.device) for part in batch)
        with hardware.autocast():
            answers = callable_net(window)
        answers = tuple(a.float().flatten(2).mean(-1) if a.ndim == 4 else a.float() for a in answers)
        answers = (answers[0].reshape(len(window)), *answers[1:])
        knee, box, points = truth
        return loss_of(answers, (knee, box, points), level.loss, hardest=level.hardest)

    def data() -> Data[Net, Batch]:
        cut = samples()
        steps = max(1, len(cut) // level.batch)

        def shuffled(epoch: int) -> Iterator[Batch]:
            return batches(cut, level.batch, np.random.default_rng([seed, epoch]), second=second)

        return Data(steps, shuffled, images=len(cut))

    return Stage(net, optimise, loss, data, name=name)


def batches(samples: Samples, batch: int, rng: np.random.Generator, *, second: bool) -> Iterator[Batch]:
    """Shuffled batches, half of each mirrored, with other exposure and noise.

    The last incomplete one is dropped, unless there is no other.
    """
    order = rng.permutation(len(samples))
    batch = min(batch, len(order))
    for start in range(0, len(order) - batch + 1, batch):
        index = np.sort(order[start : start + batch])
        shown = samples.windows[index].astype(np.float32)
        box, points = samples.box[index].copy(), samples.points[index].copy()
        flip = rng.random(len(index)) < 0.5
        shown[flip] = shown[flip, :, ::-1]
        box[flip] = box[flip][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        turned = points[flip][:, [2, 1, 0, 5, 4, 3]]
        points[flip] = np.stack([1 - turned[..., 0], turned[..., 1]], axis=-1)
        shape = (len(index), 1, 1)
        gamma = np.exp(rng.normal(0, 0.2, shape), dtype=np.float32)
        shown = np.asarray(255 * (shown / 255) ** gamma, dtype=np.float32)
        shown += rng.normal(0, 8, shape).astype(np.float32)
        grain = rng.uniform(0, 4, shape).astype(np.float32)
        shown += rng.standard_normal(shown.shape, dtype=np.float32) * grain
        np.clip(shown, 0, 255, out=shown)
        ready = windows.standardised(shown) if second else windows.centred(shown)[:, None]
        yield (
            torch.from_numpy(ready),
            torch.from_numpy(samples.knee[index]),
            torch.from_numpy(box),
            torch.from_numpy(points),
        )


def loss_of(
    answers: tuple[Tensor, ...], truth: tuple[Tensor, Tensor, Tensor], weights: Weights, *, hardest: float
) -> Tensor:
    """Eq. (1) of Wang et al. 2021: weighted sum of cross entropy and two Euclidean losses.

    Args:
        answers: `knee` (N,) logits, `box` (N, 4), and from level 2 `points` (N, 6, 2).
        truth: The same of the samples; NaN where nothing is known.
        weights: The alphas.
        hardest: Share of the samples, the worst answered, whose cross entropy counts (MTCNN's online
            hard sample mining keeps 0.7).

    Returns:
        Scalar. The Euclidean losses are means over the samples of squared distances summed over the
        coordinates, as in MTCNN's eq. (2) and (3).
    """
    knee, box = answers[0], answers[1]
    said = ~torch.isnan(truth[0])
    each = F.binary_cross_entropy_with_logits(knee[said], truth[0][said], reduction="none")
    kept = torch.topk(each, max(1, int(hardest * len(each)))).values if len(each) else each.sum()[None]
    loss = weights.knee * kept.mean() + weights.box * _euclidean(box, truth[1])
    if weights.points:
        loss = loss + weights.points * _euclidean(answers[2].flatten(1), truth[2].flatten(1))
    return loss


def _euclidean(answers: Tensor, truth: Tensor) -> Tensor:
    """Mean over samples with known truth of the squared distance; 0 where there is none."""
    known = ~torch.isnan(truth).any(dim=1)
    if not bool(known.any()):
        return answers.sum() * 0
    return (answers[known] - truth[known]).square().sum(dim=1).mean()
