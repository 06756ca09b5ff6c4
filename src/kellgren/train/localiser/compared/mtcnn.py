"""Three-level MTCNN (Zhang et al., IEEE SPL 2016), which Wang et al. compare their two levels with.

P-Net slides over the cascade's own image pyramid and proposes, R-Net refines, O-Net decides and names the
six key points. Layers, window sizes and loss weights are the paper's; films are grey, and key points are six
instead of a face's five.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from kellgren.locate import boxes as box
from kellgren.locate import windows
from kellgren.locate.cascade import Joint
from kellgren.model.session import Session
from kellgren.train.documents import STRICT, Count, Share
from kellgren.train.graph import traced
from kellgren.vocabulary import FloatArray

SIDES: Final = (12, 24, 48)
"""Windows of P-Net, R-Net and O-Net, pixels."""

GRAPHS: Final = ("p.onnx", "r.onnx", "o.onnx")

STRIDE: Final = 2
"""Pixels between two windows of P-Net."""

OUTPUTS: Final = ("knee", "box", "points")


def _stage(channels_in: int, channels: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels, kernel), nn.PReLU(channels)]


class PNet(nn.Module):
    """Proposes: fully convolutional, judges every 12 x 12 window at a stride of 2."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_stage(1, width, 3),  # 12 -> 10
            nn.MaxPool2d(2, ceil_mode=True),  # -> 5
            *_stage(width, 16, 3),  # -> 3
            *_stage(16, 32, 3),  # -> 1
        )
        self.heads = nn.Conv2d(32, 1 + 4 + 12, 1)

    def forward(self, film: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge all windows.

        Args:
            film: (N, 1, H, W), -1..1.

        Returns:
            `knee` (N, h, w) logits, `box` (N, 4, h, w) offsets and `points` (N, 12, h, w) in window sides.
        """
        answers = self.heads(self.features(film))
        return answers[:, 0], answers[:, 1:5], answers[:, 5:]


class _Judge(nn.Module):
    """R-Net and O-Net: convolutions, a fully connected layer, heads."""

    def __init__(self, features: nn.Sequential, flat: int, hidden: int) -> None:
        super().__init__()
        self.features = features
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(flat, hidden), nn.PReLU(hidden))
        self.heads = nn.Linear(hidden, 1 + 4 + 12)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge (N, 1, s, s) windows: `knee` (N,), `box` (N, 4), `points` (N, 6, 2) in window sides."""
        answers = self.heads(self.hidden(self.features(window)))
        return answers[:, 0], answers[:, 1:5], torch.unflatten(answers[:, 5:], 1, (6, 2))


class RNet(_Judge):
    """Refines windows of 24 pixels."""

    def __init__(self, width: int = 28) -> None:
        features = nn.Sequential(
            *_stage(1, width, 3),  # 24 -> 22
            nn.MaxPool2d(3, 2, ceil_mode=True),  # -> 11
            *_stage(width, 48, 3),  # -> 9
            nn.MaxPool2d(3, 2, ceil_mode=True),  # -> 4
            *_stage(48, 64, 2),  # -> 3
        )
        super().__init__(features, 64 * 9, 128)


class ONet(_Judge):
    """Decides on windows of 48 pixels."""

    def __init__(self, width: int = 32) -> None:
        features = nn.Sequential(
            *_stage(1, width, 3),  # 48 -> 46
            nn.MaxPool2d(3, 2, ceil_mode=True),  # -> 23
            *_stage(width, 64, 3),  # -> 21
            nn.MaxPool2d(3, 2, ceil_mode=True),  # -> 10
            *_stage(64, 64, 3),  # -> 8
            nn.MaxPool2d(2, ceil_mode=True),  # -> 4
            *_stage(64, 128, 2),  # -> 3
        )
        super().__init__(features, 128 * 9, 256)


def graph(net: PNet | RNet | ONet) -> bytes:
    """Export a level as ONNX; film size and number of windows stay free.

    Args:
        net: It is moved to the CPU and into evaluation mode.
    """
    net.to("cpu").eval()
    if isinstance(net, PNet):
        example, free = torch.zeros(1, 1, 44, 76), dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    else:
        side = SIDES[1] if isinstance(net, RNet) else SIDES[2]
        example, free = torch.zeros(2, 1, side, side), {0: torch.export.Dim.AUTO}
    data: bytes = traced(net, [example], ["window"], list(OUTPUTS), free).SerializeToString()
    return data


@dataclass(frozen=True, slots=True, config=STRICT)
class MtcnnSettings:
    """What decides which proposals become knees.

    Attributes:
        propose: Probability from which P-Net proposes.
        refine: Probability from which R-Net hands on.
        accept: Probability from which O-Net accepts.
        proposals: Most windows that a level hands on, best first.
    """

    propose: Share
    refine: Share
    accept: Share
    proposals: Count


class Mtcnn:
    """The levels at work, through onnxruntime as the cascade.

    Args:
        graphs: ONNX graphs of P-Net, R-Net and O-Net; with fewer it can only propose.
        settings: See `MtcnnSettings`.
        threads: Threads of one evaluation.
    """

    def __init__(self, graphs: tuple[bytes, ...], settings: MtcnnSettings, *, threads: int = 1) -> None:
        self.graphs, self.settings = graphs, settings
        self._sessions = [Session(data, threads=threads) for data in graphs]

    def find(self, film: windows.Pixels) -> tuple[Joint, ...]:
        """All knees of a film, left to right.

        Args:
            film: (H, W) grey, bone bright.
        """
        candidates = self.propose(film)
        if not len(candidates):
            return ()
        boxes, scores, points = self._judge(film, candidates, 2, self.settings.accept)
        kept = box.suppress(boxes, scores, 0.3)
        joints = [Joint(boxes[i], float(scores[i]), points[i]) for i in kept]
        return tuple(sorted(joints, key=lambda joint: float(joint.box[0] + joint.box[2])))

    def propose(self, film: windows.Pixels) -> FloatArray:
        """Squares (n, 4) that the levels before the last hand on: of P-Net, and of R-Net if it is there."""
        candidates = self._slide(film)
        if len(self._sessions) == 1 or not len(candidates):
            return candidates
        boxes, scores, _ = self._judge(film, candidates, 1, self.settings.refine)
        return boxes[box.suppress(boxes, scores, 0.7)[: self.settings.proposals]]

    def _slide(self, film: windows.Pixels) -> FloatArray:
        """P-Net on the pyramid; suppression at 0.5 within a size and 0.7 between sizes, as in MTCNN."""
        most = self.settings.proposals
        image, scale = windows.searchable(film, SIDES[0])
        squares, scores = [np.empty((0, 4))], [np.empty(0)]
        for level, size, border in windows.pyramid(image, SIDES[0]):
            shown = windows.centred(level)[None, None]
            knee, offsets = self._sessions[0].run(list(OUTPUTS[:2]), {"window": shown})
            probability = _sigmoid(knee[0])
            rows, columns = np.nonzero(probability >= self.settings.propose)
            corner = np.stack([columns, rows], axis=1) * float(STRIDE)
            places = np.concatenate([corner, corner + SIDES[0]], axis=1)
            moved = box.squared(box.moved(places, offsets[0][:, rows, columns].T.astype(np.float64)))
            sure = probability[rows, columns]
            kept = box.suppress(moved, sure, 0.5)[:most]
            squares.append((moved[kept] - border) / (scale * size))
            scores.append(sure[kept])
        proposals = np.concatenate(squares)
        return proposals[box.suppress(proposals, np.concatenate(scores), 0.7)[:most]]

    def _judge(
        self, film: windows.Pixels, candidates: FloatArray, level: int, threshold: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """A later level: boxes (n, 4), probabilities (n,) and points (n, 6, 2) of those above a threshold."""
        pieces = [windows.cut(film, candidate, SIDES[level]) for candidate in candidates]
        places = np.stack([place for _, place in pieces])
        shown = windows.standardised(np.stack([piece for piece, _ in pieces]))
        knee, offsets, points = self._sessions[level].run(list(OUTPUTS), {"window": shown})
        side = (places[:, 2] - places[:, 0])[:, None, None]
        # the network counts from the window's corner, pixel coordinates from the first pixel's centre
        located = places[:, None, :2] + points.astype(np.float64) * side - 0.5
        boxes = box.squared(box.moved(places, offsets.astype(np.float64)))
        probability = _sigmoid(knee)
        sure = probability >= threshold
        return boxes[sure], probability[sure], located[sure]


def _sigmoid(logits: npt.NDArray[np.float32]) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
