"""Statistics of figures: the bootstrap over patients, and paired tests of two models on the same knees.

Two knees of one patient are alike, so patients are drawn, not knees (Davison & Hinkley, Bootstrap Methods
and their Application, 1997, section 3.8). A draw is held as the number of times that it holds each patient:
whatever is a sum over knees then is one matrix product for thousands of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import FloatArray

DRAWS: Final = 10_000
"""Bootstrap draws behind every interval."""
SEED: Final = 1957
"""Seed of the draws, fixed so that the same predictions give the same intervals."""
_CHUNK_CELLS: Final = 200_000
"""Patients times draws held at once: small enough for a core's cache, large enough for numpy."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: On the sample itself; nan where undefined.
        low: 2.5th percentile of the draws.
        high: 97.5th percentile of the draws.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Give the estimate as `metrics.json` holds it: undefined figures are null."""
        return {
            name: None if np.isnan(number) else float(number)
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


def patient_draws(patients: int, *, draws: int = DRAWS, seed: int = SEED) -> Iterator[FloatArray]:
    """Draw patients with replacement.

    Args:
        patients: Number of patients, P.
        draws: Number of draws, B.
        seed: Seed; the same patients, draws and seed give the same chunks.

    Yields:
        Chunks (b, P) of how often each patient is drawn; rows sum to P, and the b sum to B.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // patients)
    for start in range(0, draws, rows):
        b = min(rows, draws - start)
        drawn = rng.integers(0, patients, size=(b, patients))
        drawn += np.arange(b)[:, None] * patients
        yield np.bincount(drawn.ravel(), minlength=b * patients).reshape(b, patients).astype(np.float64)


def bootstrap(
    statistics: Callable[[FloatArray], Mapping[str, FloatArray]],
    patients: int,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, FloatArray]:
    """Evaluate statistics on every draw.

    Args:
        statistics: Takes patient counts (b, P); gives named arrays (b, ...).
        patients: Number of patients, P.
        draws: Number of draws, B.
        seed: Seed of the draws.

    Returns:
        The named arrays for all draws, (B, ...).
    """
    chunks = [statistics(counts) for counts in patient_draws(patients, draws=draws, seed=seed)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def percentile_interval(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Percentile interval, 2.5 to 97.5, along the first axis.

    Draws in which a figure is undefined (a rare grade was not drawn) are left out of its interval.

    Args:
        values: (B, ...) one figure or several per draw.

    Returns:
        Low and high, each (...); nan where no draw is defined.
    """
    low, high = np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    for index in np.ndindex(values.shape[1:]):
        column = values[(slice(None), *index)]
        defined = column[~np.isnan(column)]
        if defined.size:
            low[index], high[index] = np.percentile(defined, (2.5, 97.5))
    return low, high


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of accuracy.

    Attributes:
        only_first: Knees that only the first model decided rightly.
        only_second: Knees that only the second model decided rightly.
        p: Two-sided exact p-value. It takes knees as independent; the bootstrap's p does not.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> McNemar:
    """Exact McNemar test (McNemar, Psychometrika 1947;12:153; exact binomial form).

    Args:
        first_right: (N,) knees that the first model decided rightly.
        second_right: (N,) the same of the second.

    Returns:
        The discordant counts and twice the smaller binomial tail, at most 1.
    """
    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(second_right & ~first_right))
    discordant = only_first + only_second
    # Binomial coefficients as integers: no overflow and no rounding before the one division.
    tail, coefficient = 0, 1
    for k in range(min(only_first, only_second) + 1):
        tail += coefficient
        coefficient = coefficient * (discordant - k) // (k + 1)
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**discordant))


def bootstrap_p(differences: FloatArray) -> float:
    """Two-sided bootstrap p-value of no difference (Davison & Hinkley 1997, section 4.2, with +1).

    Args:
        differences: (B,) differences of the draws; nan draws are left out.

    Returns:
        Twice the smaller share of draws on either side of 0, 1/(B+1) .. 1; nan if no draw is defined.
    """
    defined = differences[~np.isnan(differences)]
    if not defined.size:
        return float("nan")
    tail = min(np.sum(defined <= 0.0), np.sum(defined >= 0.0))
    return min(1.0, 2.0 * float(tail + 1) / (defined.size + 1))
