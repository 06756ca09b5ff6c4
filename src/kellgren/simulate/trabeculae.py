"""The pattern of spongy bone: band-limited noise, mostly along the lines of load."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate.view import View


def trabeculae(
    rng: np.random.Generator, view: View, *, roughness: float, mottle: float
) -> npt.NDArray[np.float32]:
    """Draw the relative change of spongy bone along each ray.

    Args:
        rng: Source of randomness.
        view: Gives the pixel grid; scales of the striation are in mm.
        roughness: Strength of the striation over that of the average knee.
        mottle: Standard deviation of patches about a tenth of the image wide.

    Returns:
        (H, W) float32, mean about 0, standard deviation of the striation about 0.12 * roughness.
    """
    vertical = _band(rng, view, (0.22, 1.3), (0.75, 2.2))
    across = _band(rng, view, (1.2, 0.25), (2.0, 0.8))
    fine = _band(rng, view, (0.25, 0.25), (0.9, 0.9))
    broad = _band(rng, view, (0.7, 2.5), (2.4, 7.0))
    pattern = 0.12 * roughness * (0.7 * vertical + 0.25 * across + 0.35 * fine + 0.7 * broad)
    pattern += mottle * patches(rng, view, 5.0, 1.0)
    return np.asarray(pattern, np.float32)


def patches(rng: np.random.Generator, view: View, cell: float, stretch: float) -> npt.NDArray[np.float32]:
    """Draw slow noise on a coarse grid.

    Args:
        rng: Source of randomness.
        view: Gives the image to fill.
        cell: Side of a cell of the grid, mm.
        stretch: How much longer patches are along the leg than across, in cells.

    Returns:
        (H, W) float32, standard deviation about 1.
    """
    rows, columns = (max(2, round(n * view.spacing / cell)) for n in view.shape)
    noise = rng.standard_normal((rows, columns), dtype=np.float32)
    coarse = cv2.GaussianBlur(noise, (0, 0), 1.0, sigmaY=stretch)
    unit = np.asarray(coarse / max(float(coarse.std()), 1e-6), np.float32)
    return np.asarray(cv2.resize(unit, view.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def fat_planes(rng: np.random.Generator, view: View) -> npt.NDArray[np.float32]:
    """Draw thin layers of fat between muscle bellies: level lines of slow noise stretched along the leg.

    Returns:
        (H, W) float32, 0-1.
    """
    level = patches(rng, view, 8.0, 6.0)
    steep = patches(rng, view, 20.0, 2.0)
    lines: npt.NDArray[np.float32] = np.exp(-((level / np.float32(0.12)) ** 2)) * np.clip(steep, 0, 1)
    return lines


def _band(
    rng: np.random.Generator, view: View, fine: tuple[float, float], coarse: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Draw white noise between two Gaussian scales (x, y) in mm, with unit variance."""
    noise = rng.standard_normal(view.shape, dtype=np.float32)
    # A scale below a third of a pixel cannot be drawn; it becomes white noise.
    (ax, ay), (bx, by) = ([max(s / view.spacing, 0.3) for s in scale] for scale in (fine, coarse))
    band = cv2.GaussianBlur(noise, (0, 0), ax, sigmaY=ay) - cv2.GaussianBlur(noise, (0, 0), bx, sigmaY=by)
    unit: npt.NDArray[np.float32] = band / max(float(band.std()), 1e-6)
    return unit
