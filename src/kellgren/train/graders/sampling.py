"""Which knees an epoch shows, in which order."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import MISSING

Sampling = Literal["natural", "balanced"]


def order(
    grades: npt.NDArray[np.int64], sampling: Sampling, *, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """Indices of the knees of one epoch, shuffled.

    Args:
        grades: (N,) KL grades, `MISSING` where not read.
        sampling: `natural`: each knee once. `balanced`: as many knees of each grade as of the most frequent
            one (OA-MEN 2024, section 2.2); rarer ones come several times, all equally often up to one, and
            knees without a grade once.
        seed: Of the run.
        epoch: From 0; each epoch has an order of its own, whatever came before.

    Returns:
        (M,) indices into `grades`; the same for the same seed and epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    if sampling == "natural":
        return rng.permutation(len(grades))
    present, counts = np.unique(grades[grades != MISSING], return_counts=True)
    chosen = [np.flatnonzero(grades == MISSING)]
    for grade in present:
        knees = np.flatnonzero(grades == grade)
        whole, rest = divmod(int(counts.max()), len(knees))
        chosen += [np.tile(knees, whole), rng.permutation(knees)[:rest]]
    return rng.permutation(np.concatenate(chosen))
