"""The joint line as 30 points, and how it is found on a crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from kellgren.errors import BadBundle
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.model.bundle import Bundle
from kellgren.model.session import Session
from kellgren.vocabulary import FloatArray, Image

FEMUR_POINTS: Final = 13
TIBIA_POINTS: Final = 17
POINTS: Final = FEMUR_POINTS + TIBIA_POINTS

DEFAULT: Final = "contour"
"""The packaged joint-line bundle."""

KEY_POINTS: Final = (0, 6, 12, 13, 21, 29)
"""Lateral margin, notch, medial margin of the femur; lateral margin, eminence, medial margin of the tibia."""

_SURE: Final = 0.1
"""Spread of the heat maps, in joint widths, at which `Contour.score` is one half."""


@dataclass(frozen=True, slots=True)
class Contour:
    """The joint line of one crop, in the crop's pixels: (0, 0) is the centre of the first pixel.

    Attributes:
        femur: (13, 2) points as (x, y): lateral margin of the condyle, notch at index 6, medial margin.
        tibia: (17, 2): lateral margin of the plateau, eminence at index 8, medial margin.
        score: How sure the network is of the points on the whole, 0 .. 1 (see `docs/explanation`).
    """

    femur: FloatArray
    tibia: FloatArray
    score: float

    @property
    def width(self) -> float:
        """The joint's width: distance of the two margins of the plateau, pixels."""
        return float(np.hypot(*(self.tibia[-1] - self.tibia[0])))

    @property
    def key_points(self) -> FloatArray:
        """(6, 2): lateral margin, notch, medial margin of the femur; the same of the tibia (eminence)."""
        return np.concatenate((self.femur, self.tibia))[list(KEY_POINTS)]

    def mirrored(self, columns: int) -> Contour:
        """The same contour on the crop flipped left to right; index 0 stays lateral.

        Args:
            columns: Width of the crop, pixels.
        """
        flip, shift = np.array([-1.0, 1.0]), np.array([columns - 1.0, 0.0])
        return Contour(self.femur * flip + shift, self.tibia * flip + shift, self.score)


class ContourModel:
    """A joint-line bundle ready to find contours. Safe to use from several threads at once.

    Args:
        bundle: A bundle whose graph gives `points` (N, 30, 2) and `spread` (N, 30) in fractions of the image.
        threads: Threads that one evaluation may use.

    Raises:
        BadBundle: If it is not such a bundle.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        if bundle.card.kind != "contour":
            raise BadBundle(f"{bundle.card.title} is a {bundle.card.kind}, not a joint-line model")
        self.bundle = bundle
        where = str(bundle.root)
        self._session = Session(bundle.graph(), threads=threads, name=bundles.GRAPH, path=where)
        outputs = self._session.outputs
        shapes = (outputs.get("points", ()), outputs.get("spread", ()))
        if [shape[1:] for shape in shapes] != [(POINTS, 2), (POINTS,)] or len(bundle.card.inputs) != 1:
            raise BadBundle(f"not a joint-line bundle: the graph gives no {POINTS} points", path=where)

    def find(self, crop: Image) -> Contour:
        """Find the joint line.

        Args:
            crop: (H, W) float32 in [0, 1], bone bright, lateral on the left: a left knee is mirrored first.

        Returns:
            The contour before refinement, in pixels of `crop`.
        """
        entry = self.bundle.card.inputs[0]
        tensor = steps.apply(crop, entry.steps)[None, None]
        points, spread = self._session.run(["points", "spread"], {entry.name: tensor})
        size = np.array([crop.shape[1], crop.shape[0]], dtype=np.float64)
        pixels = points[0].astype(np.float64) * size - 0.5
        femur, tibia = pixels[:FEMUR_POINTS], pixels[FEMUR_POINTS:]
        width = max(float(np.hypot(*(tibia[-1] - tibia[0]))), 1.0)
        doubt = float(np.median(spread[0])) * float(size.mean()) / width
        return Contour(femur, tibia, 1.0 / (1.0 + (doubt / _SURE) ** 2))


def load(name_or_path: str = DEFAULT, *, threads: int = 1) -> ContourModel:
    """The packaged joint-line model, or one in a folder or zip.

    Raises:
        BadBundle: If there is no such bundle or it cannot be used.
    """
    return ContourModel(bundles.load(name_or_path), threads=threads)
