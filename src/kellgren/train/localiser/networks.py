"""The two networks of the cascade, as in Wang et al. 2021, Fig. 2.

The paper gives the layers and their order. Channels, kernel sizes and windows are ours: windows are chosen
so that no pooling drops a pixel, and every convolution is followed by batch normalisation and ReLU.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

WINDOW1: Final = 46
WINDOW2: Final = 70


def _stage(channels_in: int, channels: int, *, pool: bool, kernel: int = 3) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels, kernel, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


class Level1(nn.Module):
    """Proposes: three convolutions with maximum pooling, then three convolutions; fully convolutional.

    On a film of (N, 1, H, W) it judges every 46 x 46 window at a stride of 8 pixels.
    """

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _stage(1, width, pool=True),  # 46 -> 44 -> 22
            _stage(width, 2 * width, pool=True),  # 22 -> 20 -> 10
            _stage(2 * width, 4 * width, pool=True),  # 10 -> 8 -> 4
            _stage(4 * width, 4 * width, pool=False),  # 4 -> 2
            _stage(4 * width, 8 * width, pool=False, kernel=2),  # 2 -> 1
        )
        self.heads = nn.Conv2d(8 * width, 1 + 4, 1)

    def forward(self, film: Tensor) -> tuple[Tensor, Tensor]:
        """Judge all windows.

        Args:
            film: (N, 1, H, W), -1..1.

        Returns:
            `knee` (N, h, w) logits and `box` (N, 4, h, w) offsets in window sides,
            h = (H - 46) // 8 + 1.
        """
        answers = self.heads(self.features(film))
        return answers[:, 0], answers[:, 1:]


class Level2(nn.Module):
    """Decides: three convolutions with maximum pooling, one convolution, two fully connected layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _stage(1, width, pool=True),  # 70 -> 68 -> 34
            _stage(width, 2 * width, pool=True),  # 34 -> 32 -> 16
            _stage(2 * width, 4 * width, pool=True),  # 16 -> 14 -> 7
            _stage(4 * width, 6 * width, pool=False),  # 7 -> 5
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(6 * width * 25, 256), nn.ReLU(inplace=True))
        self.heads = nn.Linear(256, 1 + 4 + 12)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge windows.

        Args:
            window: (N, 1, 70, 70), mean 0 and standard deviation 1.

        Returns:
            `knee` (N,) logits, `box` (N, 4) offsets and `points` (N, 6, 2) places, in window sides.
        """
        answers = self.heads(self.hidden(self.features(window)))
        return answers[:, 0], answers[:, 1:5], torch.unflatten(answers[:, 5:], 1, (6, 2))
