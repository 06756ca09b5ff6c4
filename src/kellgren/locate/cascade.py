"""The two-level cascade at work (Wang et al., Sci Rep 2021): film in, boxes and six key points out.

Level 1, fully convolutional, slides over an image pyramid and proposes; level 2 looks at each proposal,
rejects, corrects its box and names six key points. Each is followed by non-maximum suppression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kellgren.locate import boxes as box
from kellgren.locate import windows
from kellgren.model.bundle import Bundle
from kellgren.model.session import Session
from kellgren.vocabulary import FloatArray


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides which proposals become knees.

    Attributes:
        window1: Side of level 1's window, pixels; its stride is 8.
        window2: Side of level 2's window, pixels.
        propose: Probability from which level 1 proposes.
        accept: Probability from which level 2 accepts.
        proposals: Most proposals that level 2 looks at, best first.
        passes: How often level 2 looks: each time at the box that it gave before.
    """

    window1: int
    window2: int
    propose: float = 0.5
    accept: float = 0.8
    proposals: int = 24
    passes: int = 2


@dataclass(frozen=True, slots=True)
class Joint:
    """One tibiofemoral joint on a film.

    Attributes:
        box: (4,) x0, y0, x1, y1 in film pixels, square, framed as the published crops.
        score: Probability that it is a knee, 0..1.
        points: (6, 2) x, y in film pixels: femur's left margin, notch, right margin, then tibia's left
            margin, eminence, right margin, left and right being the image's.
    """

    box: FloatArray
    score: float
    points: FloatArray


class Cascade:
    """Both networks, ready. Safe to use from several threads at once.

    Args:
        level1: ONNX graph: `film` (1, 1, H, W) -> `knee` (1, h, w) logits, `box` (1, 4, h, w) offsets.
        level2: ONNX graph: `window` (N, 1, s, s) -> `knee` (N,), `box` (N, 4), `points` (N, 6, 2).
        settings: See `Settings`.
        threads: Threads of one evaluation.
        bundle: Where the graphs are from; None while they are being made.
    """

    def __init__(
        self,
        level1: bytes,
        level2: bytes | None,
        settings: Settings,
        *,
        threads: int = 1,
        bundle: Bundle | None = None,
    ) -> None:
        self.settings = settings
        self.bundle = bundle
        self._level1 = Session(level1, threads=threads, name="level 1")
        self._level2 = None if level2 is None else Session(level2, threads=threads, name="level 2")

    def find(self, film: windows.Pixels) -> tuple[Joint, ...]:
        """All knees of a film, from the image's left to right.

        Args:
            film: (H, W) grey, bone bright.
        """
        candidates, _ = self.propose(film)
        if not len(candidates):
            return ()
        located, scores, points = self.examine(film, candidates)
        sure = scores >= self.settings.accept
        located, scores, points = located[sure], scores[sure], points[sure]
        kept = box.suppress(located, scores, 0.3)
        joints = [Joint(located[i], float(scores[i]), points[i]) for i in kept]
        return tuple(sorted(joints, key=lambda joint: float(joint.box[0] + joint.box[2])))

    def on_crop(self, crop: windows.Pixels) -> Joint:
        """The joint of an image that is a crop of one, looked at by level 2 alone."""
        whole = np.array([[0.0, 0.0, crop.shape[1], crop.shape[0]]])
        located, scores, points = self.examine(crop, box.squared(whole))
        return Joint(located[0], float(scores[0]), points[0])

    def propose(self, film: windows.Pixels) -> tuple[FloatArray, FloatArray]:
        """Level 1: squares that may hold a knee, (n, 4) in film pixels, and their probabilities."""
        settings = self.settings
        image, scale = windows.searchable(film, settings.window1)
        located, scores = [np.empty((0, 4))], [np.empty(0)]
        for level, size, border in windows.pyramid(image, settings.window1):
            here, probability = self._slide(level)
            kept = box.suppress(here, probability, 0.5)[: settings.proposals]
            located.append((here[kept] - border) / (scale * size))
            scores.append(probability[kept])
        proposals, probability = np.concatenate(located), np.concatenate(scores)
        kept = box.suppress(proposals, probability, 0.6)[: settings.proposals]
        return proposals[kept], probability[kept]

    def _slide(self, level: npt.NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
        """Level 1 on one image: boxes in its pixels and probabilities, of places above the threshold."""
        knee, offsets = self._level1.run(["knee", "box"], {"film": windows.centred(level)[None, None]})
        probability = _sigmoid(knee[0])
        rows, columns = np.nonzero(probability >= self.settings.propose)
        corner = np.stack([columns, rows], axis=1) * 8.0
        places = np.concatenate([corner, corner + self.settings.window1], axis=1)
        moved = box.moved(places, offsets[0][:, rows, columns].T.astype(np.float64))
        return box.squared(moved), probability[rows, columns]

    def examine(
        self, film: windows.Pixels, candidates: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Level 2: corrected boxes (n, 4), probabilities (n,), key points (n, 6, 2), in film pixels."""
        if self._level2 is None:
            raise ValueError("a cascade without a second level can only propose")
        size = self.settings.window2
        for _ in range(self.settings.passes):
            pieces = [windows.cut(film, candidate, size) for candidate in candidates]
            shown = np.stack([piece for piece, _ in pieces])
            places = np.stack([place for _, place in pieces])
            knee, offsets, points = self._level2.run(
                ["knee", "box", "points"], {"window": windows.standardised(shown)}
            )
            candidates = box.squared(box.moved(places, offsets.astype(np.float64)))
        side = (places[:, 2] - places[:, 0])[:, None, None]
        # the network counts from the window's corner, pixel coordinates from the first pixel's centre
        located = places[:, None, :2] + points.astype(np.float64) * side - 0.5
        return candidates, _sigmoid(knee), located


def _sigmoid(logits: npt.NDArray[np.float32]) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
