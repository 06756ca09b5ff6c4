"""Is one model better than another? Paired tests on the same knees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren.evaluate.assemble import statistics, task_sample
from kellgren.evaluate.intervals import DRAWS, SEED, bootstrap, percentile_interval
from kellgren.vocabulary import FloatArray, IntArray

COMPARED: Final = ("accuracy", "accuracy_pm1", "qwk", "mae", "auc_macro")
"""The figures that `compare` compares."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two models on the same knees.

    Attributes:
        first: The first model's value.
        second: The second model's value.
        value: second - first.
        low: 2.5th percentile of the difference over patients.
        high: 97.5th percentile.
        p: Two-sided bootstrap p-value of no difference, 0 < p <= 1.
    """

    first: float
    second: float
    value: float
    low: float
    high: float
    p: float


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same knees.

    Attributes:
        task: What was graded.
        n: Number of knees that were read.
        n_patients: Number of their patients.
        accuracy: Share decided as read.
        accuracy_pm1: Share decided within one grade.
        qwk: Quadratic weighted kappa.
        mae: Mean absolute error; here less is better.
        auc_macro: Mean one-vs-rest AUC.
        mcnemar: Exact test of accuracy.
    """

    task: str
    n: int
    n_patients: int
    accuracy: Difference
    accuracy_pm1: Difference
    qwk: Difference
    mae: Difference
    auc_macro: Difference
    mcnemar: McNemar


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


def _difference(name: str, values: tuple[Any, Any], drawn: tuple[Any, Any]) -> Difference:
    first, second = (float(value[name][0]) for value in values)
    differences = drawn[1][name] - drawn[0][name]
    low, high = percentile_interval(differences)
    return Difference(first, second, second - first, float(low), float(high), bootstrap_p(differences))


def compare(
    first: tuple[npt.ArrayLike, IntArray],
    second: tuple[npt.ArrayLike, IntArray],
    truth: IntArray,
    patients: npt.NDArray[np.str_],
    *,
    task: str,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Comparison:
    """Compare two models on the same knees, every draw of patients serving both.

    Args:
        first: Probabilities (N, C) and decided grades (N,) of the first model.
        second: The same of the second model, for the same knees in the same order.
        truth: (N,) read grades, -1 where not read.
        patients: (N,) patient of each knee.
        task: Name of the task.
        draws: Bootstrap draws over patients.
        seed: Seed of the draws.

    Returns:
        Differences, second minus first.

    Raises:
        BadDataset: If no knee was read, or a reading is outside the declared grades.
        ValueError: If the arrays do not fit together or the models declare different grades.
    """
    one = task_sample(task, *first, truth, patients)
    two = task_sample(task, *second, truth, patients)
    if one.classes != two.classes:
        raise ValueError(f"the models declare {one.classes} and {two.classes} grades: not the same task")
    evaluate = statistics(one), statistics(two)
    everyone = np.ones((1, one.patients))
    values = evaluate[0](everyone), evaluate[1](everyone)
    # The same seed draws the same patients for both models: that is the pairing.
    drawn = tuple(bootstrap(figure, one.patients, draws=draws, seed=seed) for figure in evaluate)
    differences = {name: _difference(name, values, (drawn[0], drawn[1])) for name in COMPARED}
    return Comparison(
        task=task,
        n=len(one.truth),
        n_patients=one.patients,
        mcnemar=mcnemar(one.decided == one.truth, two.decided == two.truth),
        **differences,
    )
