"""HOG + linear SVM: the detector of Tiulpin et al. (SCIA 2017), which Wang et al. compare with.

Histograms of oriented gradients (Dalal & Triggs, CVPR 2005) of a window, judged by a linear support vector
machine. Tiulpin et al. judge windows where anatomy suggests a joint; as no film here is known to be upright
and of two knees, all windows of the cascade's own image pyramid are judged. There is no box regression and
there are no key points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from kellgren.locate import boxes as box
from kellgren.locate import windows
from kellgren.locate.cascade import Joint
from kellgren.train.documents import STRICT, Share
from kellgren.train.localiser.samples import Samples
from kellgren.vocabulary import FloatArray

WINDOW: Final = 48
"""Side of the window, pixels: 6 x 6 cells of 8 pixels, next to the 46 of the cascade's first level."""

CELL: Final = 8
"""Side of a cell and pixels between two windows."""

BINS: Final = 9

_SPAN: Final = WINDOW // CELL - 1
"""Blocks across a window."""

FEATURES: Final = 4 * BINS * _SPAN**2

_AT_ONCE: Final = 1000
"""Windows whose gradients are held at once."""


@dataclass(frozen=True, slots=True, config=STRICT)
class HogSettings:
    """What decides which windows become knees.

    Attributes:
        accept: Margin of the support vector machine from which a window is a knee.
        overlap: Overlap from which two boxes count as one.
    """

    accept: Annotated[float, Field(ge=-1000, le=1000)]
    overlap: Share


class HogSvm:
    """The detector, ready.

    Args:
        weights: (901,) float32: a weight for each feature, then the bias.
        settings: See `HogSettings`.
    """

    def __init__(self, weights: npt.NDArray[np.float32], settings: HogSettings) -> None:
        self.weights = weights
        self.settings = settings

    def find(self, film: windows.Pixels) -> tuple[Joint, ...]:
        """All knees of a film, left to right, without key points.

        Args:
            film: (H, W) grey, bone bright.
        """
        places, margins = self.propose(film, self.settings.accept)
        kept = box.suppress(places, margins, self.settings.overlap)
        unknown = np.full((6, 2), np.nan)
        joints = [Joint(places[i], _share(margins[i]), unknown) for i in kept]
        return tuple(sorted(joints, key=lambda joint: float(joint.box[0] + joint.box[2])))

    def propose(self, film: windows.Pixels, margin: float) -> tuple[FloatArray, FloatArray]:
        """All windows judged at or above a margin: (n, 4) in film pixels, and their margins (n,)."""
        image, scale = windows.searchable(film, WINDOW)
        places, margins = [np.empty((0, 4))], [np.empty(0)]
        for level, size, border in windows.pyramid(image, WINDOW):
            judged = self._slide(level)
            rows, columns = np.nonzero(judged >= margin)
            corner = np.stack([columns, rows], axis=1) * float(CELL) - border
            places.append(np.concatenate([corner, corner + WINDOW], axis=1) / (scale * size))
            margins.append(judged[rows, columns].astype(np.float64))
        return np.concatenate(places), np.concatenate(margins)

    def _slide(self, level: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Margins of all windows of an image: a weighted sum over each one's blocks."""
        shown = blocks(level[None])[0]
        rows, columns = shown.shape[0] - _SPAN + 1, shown.shape[1] - _SPAN + 1
        # every block once times the weights of the 25 places that it can have in a window
        products = shown @ self.weights[:-1].reshape(_SPAN**2, -1).T
        total = np.full((rows, columns), self.weights[-1], np.float32)
        for i in range(_SPAN**2):
            y, x = divmod(i, _SPAN)
            total += products[y : y + rows, x : x + columns, i]
        return total

    def save(self, path: Path) -> None:
        """Store the weights as an array without pickles."""
        np.savez(path, weights=self.weights)

    @classmethod
    def load(cls, path: Path, settings: HogSettings) -> HogSvm:
        """A detector whose weights were stored.

        Raises:
            OSError, KeyError, ValueError: If the file is not there or holds something else.
        """
        with np.load(path, allow_pickle=False) as stored:
            return cls(np.asarray(stored["weights"], np.float32), settings)


def _share(margin: float) -> float:
    """A margin as a number in 0..1 that grows with it; it is no calibrated probability."""
    return float(1 / (1 + np.exp(-margin)))


def blocks(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Histograms of oriented gradients, every block of 2 x 2 cells of 8 pixels normalised by itself.

    As Dalal & Triggs: unsigned gradients of the square root of the grey levels, 9 orientations, each
    gradient shared between the two nearest ones, blocks normalised, clipped at 0.2 and normalised again.

    Args:
        images: (n, H, W); what goes beyond whole cells is left out.

    Returns:
        (n, H // 8 - 1, W // 8 - 1, 36).
    """
    rows, columns = images.shape[1] // CELL, images.shape[2] // CELL
    grey = np.sqrt(np.arange(256, dtype=np.float32))[images[:, : rows * CELL, : columns * CELL]]
    edged = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = edged[:, 1:-1, 2:] - edged[:, 1:-1, :-2]
    down = edged[:, 2:, 1:-1] - edged[:, :-2, 1:-1]
    strength = np.hypot(across, down)
    place = np.mod(np.arctan2(down, across), np.float32(np.pi)) * np.float32(BINS / np.pi) - np.float32(0.5)
    lower = np.floor(place)
    share, first = place - lower, np.mod(lower, BINS).astype(np.intp)
    cells = np.zeros((len(images), rows, columns, BINS), np.float32)
    shape = (len(images), rows, CELL, columns, CELL)
    for orientation in range(BINS):
        part = strength * ((first == orientation) * (1 - share) + (first == (orientation - 1) % BINS) * share)
        cells[..., orientation] = part.reshape(shape).sum(axis=(2, 4))
    joined = [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]]
    return _normal(np.minimum(_normal(np.concatenate(joined, axis=-1)), np.float32(0.2)))


def _normal(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each last-axis vector with norm 1, or less where there is next to no gradient."""
    return np.asarray(values / np.sqrt(np.square(values).sum(axis=-1, keepdims=True) + 1), np.float32)


def features(shown: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The (n, 900) features of (n, 48, 48) windows."""
    parts = [blocks(shown[i : i + _AT_ONCE]).reshape(-1, FEATURES) for i in range(0, len(shown), _AT_ONCE)]
    return np.concatenate([np.empty((0, FEATURES), np.float32), *parts])


def fit_svm(samples: Samples, *, c: float, seed: int) -> npt.NDArray[np.float32]:
    """Fit the support vector machine to knees and non-knees; partials are left out.

    Args:
        samples: Windows of 48 pixels of equalised films.
        c: Penalty of margins that are not kept.
        seed: Of the solver.

    Returns:
        (901,) weights and bias.
    """
    from sklearn.svm import LinearSVC

    said = np.flatnonzero(~np.isnan(samples.knee))
    machine = LinearSVC(C=c, dual=False, random_state=seed, tol=1e-3)
    machine.fit(features(samples.windows[said]), samples.knee[said] > 0.5)
    return np.concatenate([machine.coef_[0], machine.intercept_]).astype(np.float32)


def loss(weights: npt.NDArray[np.float32], samples: Samples) -> float:
    """Mean squared hinge loss of the windows of which a knee is said or denied: what the fit makes small."""
    said = np.flatnonzero(~np.isnan(samples.knee))
    margins = features(samples.windows[said]) @ weights[:-1] + weights[-1]
    signed = np.where(samples.knee[said] > 0.5, margins, -margins)
    return float(np.square(np.maximum(1 - signed, 0)).mean())
