"""How ordinary an input looks to a network: distance of its embedding from those of training crops.

The distance is Mahalanobis' in the leading principal components of the training embeddings plus the
residual outside them (probabilistic PCA, Tipping & Bishop 1999; as an out-of-distribution score Lee et
al. 2018), divided by the embedding's dimension so that an ordinary input has a distance near 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Typical:
    """A Gaussian model of ordinary embeddings.

    Attributes:
        mean: (D,).
        components: (K, D) orthonormal leading directions.
        variances: (K,) variance along each.
        residual: Mean variance of the other directions.
    """

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    variances: npt.NDArray[np.float32]
    residual: float

    @classmethod
    def fit(cls, embeddings: npt.NDArray[np.floating[Any]], *, components: int = 48) -> Typical:
        """Fit to embeddings (N, D) of ordinary inputs, N > components."""
        mean = embeddings.mean(axis=0, dtype=np.float64)
        centred = embeddings.astype(np.float64) - mean
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        variances = singular**2 / (len(embeddings) - 1)
        rest = max(embeddings.shape[1] - components, 1)
        residual = max(float(variances[components:].sum()) / rest, 1e-12)
        return cls(
            mean.astype(np.float32),
            directions[:components].astype(np.float32),
            np.maximum(variances[:components], residual).astype(np.float32),
            residual,
        )

    def distance(self, embeddings: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Distance of each embedding (N, D): (N,), about 1 for an ordinary one."""
        centred = (embeddings - self.mean).astype(np.float64)
        along = centred @ self.components.T.astype(np.float64)
        outside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        total = (along**2 / self.variances).sum(axis=1) + outside / self.residual
        return np.asarray(total / centred.shape[1])

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for `typical.npz` (components as fp16: they only steer a threshold fitted with them)."""
        return {
            "mean": self.mean,
            "components": self.components.astype(np.float16),
            "variances": self.variances,
            "residual": np.array([self.residual], dtype=np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Typical:
        """The model that `to_arrays` stored.

        Raises:
            ValueError: If an array is missing, shapes do not fit, or a number is not finite or no variance.
        """
        names = ("mean", "components", "variances", "residual")
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(f"it lacks the array {missing[0]!r}")
        mean, components, variances, residual = (arrays[name] for name in names)
        count, size = variances.shape[:1], mean.shape[:1]
        shapes = [array.shape for array in (mean, components, variances, residual)]
        if shapes != [size, (*count, *size), count, (1,)] or not size:
            raise ValueError(f"the shapes {shapes} do not fit")
        for array in (mean, components, variances, residual):
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError("an array holds something else than finite numbers")
        if not (variances > 0).all() or not residual[0] > 0:
            raise ValueError("a variance is not positive")
        return cls(mean, components.astype(np.float32), variances, float(residual[0]))
