"""Smooth curves through control points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]
"""(N, 2) points x, y."""


def smooth(points: npt.ArrayLike, *, closed: bool = False, per_span: int = 8) -> Curve:
    """Uniform Catmull-Rom curve: passes through every control point.

    Args:
        points: (N, 2) control points, N >= 2.
        closed: Join the last point to the first.
        per_span: Samples on each span between neighbours.

    Returns:
        (N * per_span, 2) closed, or ((N - 1) * per_span + 1, 2) open; control point i is at i * per_span.
    """
    p = np.asarray(points, dtype=np.float64)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    p = np.vstack([before, p, after])
    a, b, c, d = (p[i : len(p) - 3 + i, None, :] for i in range(4))
    t = (np.arange(per_span) / per_span)[None, :, None]
    spans = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve: Curve = spans.reshape(-1, 2)
    return curve if closed else np.vstack([curve, p[-2:-1]])


def area(polygon: Curve) -> float:
    """Area of a closed polygon (shoelace formula), in the square of its unit."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def gap(upper: Curve, lower: Curve, window: tuple[float, float]) -> tuple[float, float]:
    """Smallest and mean vertical distance from `upper` down to `lower` for x in `window`.

    Negative where they cross.
    """
    x = np.linspace(*window, 64)
    distance = np.interp(x, lower[:, 0], lower[:, 1]) - np.interp(x, upper[:, 0], upper[:, 1])
    return float(np.min(distance)), float(np.mean(distance))
