"""From logits to calibrated probabilities.

Temperature scaling (Guo et al., ICML 2017) has one number per task: how sure a network may be. Dirichlet
calibration (Kull et al., NeurIPS 2019) has a matrix and a bias: also which grades it takes for which.
`kellgren.calibrate` fits them.

Everything is float64 numpy; what was fitted survives a round trip through JSON unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import FloatArray

NEVER: Final = 1e-12
"""Least probability: its logarithm, divided by a temperature, must stay finite."""

RARE: Final = 1e-6
"""Probability below which a Dirichlet map says nothing apart: it is fitted on hundreds of knees and must not
carry on in a straight line to where there were none."""


def softmax(logits: npt.ArrayLike) -> FloatArray:
    """Softmax over the last axis, safe for any finite logits: (..., C) -> (..., C), rows sum to 1."""
    z = np.asarray(logits, dtype=np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def log_probabilities(probabilities: npt.ArrayLike, least: float = NEVER) -> FloatArray:
    """Logits of a distribution, (..., C): its logarithms, none less than that of `least`."""
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), least)))


@dataclass(frozen=True, slots=True)
class Temperature:
    """Calibrated probabilities softmax(z / T) (Guo et al. 2017, eq. 9). The most probable grade stays.

    Attributes:
        value: T > 0; above 1 it softens, below 1 it sharpens.

    Raises:
        ValueError: If the temperature is not a positive number.
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.value < np.inf:
            raise ValueError(f"temperature must be positive and finite, not {self.value:g}")

    def logits(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated logits, (..., C) -> (..., C)."""
        return np.asarray(np.asarray(logits, dtype=np.float64) / self.value)

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated probabilities, (..., C) -> (..., C)."""
        return softmax(self.logits(logits))

    def maps(self, maps: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Class activation maps whose means are the calibrated logits: (C, h, w) -> (C, h, w)."""
        return np.asarray(maps.astype(np.float64) / self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Dirichlet:
    """Calibrated probabilities softmax(W log p + b), p = softmax(z) (Kull et al. 2019, eq. 2, linear form).

    The most probable grade may change: a network that reads grade 1 where readers differ between 0 and 2 is
    put right.

    Attributes:
        weights: (C, C) W; the identity changes nothing.
        bias: (C,) b.

    Raises:
        ValueError: If shapes differ or a value is not finite.
    """

    weights: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        classes = self.bias.shape[0] if self.bias.ndim == 1 else 0
        if not classes or self.weights.shape != (classes, classes):
            raise ValueError(f"Dirichlet weights {self.weights.shape} and bias {self.bias.shape} do not fit")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ValueError("Dirichlet weights or bias hold values that are not finite")

    def logits(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated logits, (..., C) -> (..., C); what is less probable than `RARE` counts as that."""
        return np.asarray(log_probabilities(softmax(logits), RARE) @ self.weights.T + self.bias)

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated probabilities, (..., C) -> (..., C)."""
        return softmax(self.logits(logits))

    def maps(self, maps: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Class activation maps whose means are the calibrated logits: (C, h, w) -> (C, h, w).

        Each place gets its share by the weights; what no place has said is spread evenly.
        """
        mixed = np.tensordot(self.weights, maps.astype(np.float64), axes=1)
        means = maps.astype(np.float64).mean(axis=(1, 2))
        return np.asarray(mixed + (self.logits(means) - self.weights @ means)[:, None, None])


Calibrator = Temperature | Dirichlet
"""How the logits of one task become probabilities."""

Method = Literal["temperature", "best"]
"""Which calibrator a task gets. `temperature` keeps the most probable grade: a published system's own answer.
`best` takes a Dirichlet map where it is clearly better on knees that it was not fitted on."""
