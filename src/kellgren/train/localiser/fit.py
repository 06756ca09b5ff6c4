"""Fits one level of the cascade to its samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from kellgren.locate import windows
from kellgren.train.hardware import Hardware
from kellgren.train.localiser import losses
from kellgren.train.localiser.recipe import Level
from kellgren.train.localiser.samples import Samples


def fit(
    net: nn.Module, samples: Samples, level: Level, *, second: bool, seed: int, hardware: Hardware
) -> list[float]:
    """Train in place.

    Args:
        net: `Level1` or `Level2`.
        samples: What to learn from.
        level: How.
        second: Whether windows are standardised each by itself, as level 2 sees them.
        seed: Source of order and augmentation.
        hardware: Where.

    Returns:
        Mean loss of each epoch.
    """
    device = hardware.device
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(net.parameters(), lr=level.lr)
    steps = max(1, len(samples) // level.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=level.lr, total_steps=steps * level.epochs, pct_start=0.15
    )
    history = []
    for epoch in range(level.epochs):
        total = 0.0
        for window, *truth in batches(
            samples, level.batch, np.random.default_rng([seed, epoch]), second=second
        ):
            with hardware.autocast():
                answers = net(window.to(device))
            answers = tuple(a.float().flatten(2).mean(-1) if a.ndim == 4 else a.float() for a in answers)
            answers = (answers[0].reshape(len(window)), *answers[1:])
            knee, box, points = (t.to(device) for t in truth)
            loss = losses.cascade(answers, (knee, box, points), level.loss, hardest=level.hardest)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if level.cycle:
                schedule.step()
            total += float(loss.detach())
        history.append(total / steps)
    net.eval()
    return history


def batches(
    samples: Samples, batch: int, rng: np.random.Generator, *, second: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Shuffled batches, half of each mirrored, with other exposure and noise.

    Yields:
        Windows (N, 1, s, s), knee (N,), box (N, 4), points (N, 6, 2).
    """
    order = rng.permutation(len(samples))
    for start in range(0, len(order) - batch + 1, batch):
        chosen = np.sort(order[start : start + batch])
        shown = samples.windows[chosen].astype(np.float32)
        box, points = samples.box[chosen].copy(), samples.points[chosen].copy()
        flip = rng.random(len(chosen)) < 0.5
        shown[flip] = shown[flip, :, ::-1]
        box[flip] = box[flip][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        turned = points[flip][:, [2, 1, 0, 5, 4, 3]]
        points[flip] = np.stack([1 - turned[..., 0], turned[..., 1]], axis=-1)
        shape = (len(chosen), 1, 1)
        gamma = np.exp(rng.normal(0, 0.2, shape), dtype=np.float32)
        shown = np.asarray(255 * (shown / 255) ** gamma, dtype=np.float32)
        shown += rng.normal(0, 8, shape).astype(np.float32)
        grain = rng.uniform(0, 4, shape).astype(np.float32)
        shown += rng.standard_normal(shown.shape, dtype=np.float32) * grain
        np.clip(shown, 0, 255, out=shown)
        ready = windows.standardised(shown) if second else windows.centred(shown)[:, None]
        yield (
            torch.from_numpy(ready),
            torch.from_numpy(samples.knee[chosen]),
            torch.from_numpy(box),
            torch.from_numpy(points),
        )
