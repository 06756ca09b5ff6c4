"""How a knee in millimetres falls on the detector's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kellgren.simulate.curves import Curve
from kellgren.vocabulary import Side


@dataclass(frozen=True, slots=True)
class View:
    """A similarity from the knee's millimetres to pixels; a left knee is mirrored.

    Attributes:
        shape: Rows and columns of the image.
        spacing: Pixel spacing, mm.
        origin: Pixel (x, y) of the middle of the plateau; the centre of the first pixel is (0, 0).
        rotation: Turn of the knee on the film, degrees, clockwise as seen for a right knee.
        side: The knee's side.
    """

    shape: tuple[int, int]
    spacing: float
    origin: tuple[float, float]
    rotation: float
    side: Side

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(2, 2) mm to pixels, without the shift."""
        a = np.deg2rad(self.rotation)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        mirror = np.diag([-1.0 if self.side == "L" else 1.0, 1.0])
        matrix: npt.NDArray[np.float64] = mirror @ turn / self.spacing
        return matrix

    def place(self, curve: Curve) -> Curve:
        """(N, 2) mm to (N, 2) pixels."""
        placed: Curve = curve @ self.matrix.T + self.origin
        return placed

    def millimetres(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(H, W) x and (H, W) y of every pixel's centre in the knee's frame, mm."""
        h, w = self.shape
        back = np.linalg.inv(self.matrix).astype(np.float32)
        u = np.arange(w, dtype=np.float32)[None, :] - np.float32(self.origin[0])
        v = np.arange(h, dtype=np.float32)[:, None] - np.float32(self.origin[1])
        return back[0, 0] * u + back[0, 1] * v, back[1, 0] * u + back[1, 1] * v

    def finer(self, factor: int) -> View:
        """Divide every pixel into `factor` x `factor` smaller ones."""
        x, y = ((o + 0.5) * factor - 0.5 for o in self.origin)
        h, w = self.shape
        return View((h * factor, w * factor), self.spacing / factor, (x, y), self.rotation, self.side)

    def part(self, x0: int, y0: int, x1: int, y1: int) -> View:
        """Cut the image to columns x0 .. x1 - 1 and rows y0 .. y1 - 1."""
        origin = (self.origin[0] - x0, self.origin[1] - y0)
        return View((y1 - y0, x1 - x0), self.spacing, origin, self.rotation, self.side)
