"""Two models on the same knees, compared plainly: an independent reference for the tables of studies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kellgren.evaluate.statistics import bootstrap, bootstrap_p, percentile_interval
from kellgren.evaluate.task_metrics import statistics, task_sample


class Difference(NamedTuple):
    """A figure of the second model less that of the first, its interval over patients and its p-value."""

    value: float
    low: float
    high: float
    p: float


def compare(first, second, truth, patients, *, draws, seed=1957):
    """Differences by figure of KL; `first` and `second` are probabilities and decided grades."""
    samples = [task_sample("KL", *answers, truth, patients) for answers in (first, second)]
    evaluate = [statistics(sample) for sample in samples]
    everyone = np.ones((1, samples[0].patients))
    values = [figures(everyone) for figures in evaluate]
    drawn = [bootstrap(figures, samples[0].patients, draws=draws, seed=seed) for figures in evaluate]
    differences = {}
    for name in ("accuracy", "accuracy_pm1", "qwk", "mae", "auc_macro"):
        spread = drawn[1][name] - drawn[0][name]
        low, high = percentile_interval(spread)
        value = float(values[1][name][0] - values[0][name][0])
        differences[name] = Difference(value, float(low), float(high), bootstrap_p(spread))
    return differences
