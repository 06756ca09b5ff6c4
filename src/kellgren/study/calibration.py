"""Calibration of a network, or of an ensemble, on the knees that were held out of its training.

Temperatures, decision rules, conformal thresholds, the refer rule and what counts as ordinary: all are
fitted here, on one fold, with everything that judges calibrated probabilities cross-fitted by patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren import calibrate
from kellgren.data import DataSet
from kellgren.grade import processors
from kellgren.parallel import Track, in_order
from kellgren.predict import Model
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.study import calibration_error as ce
from kellgren.study import metrics
from kellgren.vocabulary import MISSING

COVERAGE: Final = 0.9
"""Nominal coverage of the conformal interval."""

REFERRED: Final = 0.15
"""Largest share of held-out knees that the refer rule may send to a person."""

ATYPICAL: Final = 0.995
"""Share of held-out knees that count as ordinary."""

RULES: Final[tuple[calibrate.DecisionRule, ...]] = ("argmax", "median")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What an uncalibrated bundle says of knees it was not trained on.

    Attributes:
        logits: By task, (N, C): of a network the mean over test-time looks, of an ensemble the logarithm of
            the joined vote.
        truth: By task, (N,), `MISSING` where not read.
        patients: (N,).
        distances: (N,) distance from ordinary inputs, NaN where the bundle knows none.
        agreements: (N,) agreement of the image with the side, NaN for networks without a SIDE task.
    """

    logits: dict[str, npt.NDArray[np.float64]]
    truth: dict[str, npt.NDArray[np.int64]]
    patients: npt.NDArray[np.str_]
    distances: npt.NDArray[np.float64]
    agreements: npt.NDArray[np.float64]


def observe(model: Model, knees: DataSet, track: Track) -> HeldOut:
    """Run an uncalibrated model over knees, with its test-time looks.

    Logarithms of its probabilities are its mean logits up to a constant, which no softmax sees. Those of an
    ensemble's are what its temperature divides.
    """

    def one(index: int) -> tuple[dict[str, npt.NDArray[np.float64]], float | None, float | None]:
        knee = knees.knees[index]
        film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
        prediction = model.predict(film.pixels, knee.side)
        logits = {task: calibrate.log_probabilities(p) for task, p in prediction.probabilities.items()}
        return logits, prediction.distance, prediction.side_agreement if knee.side else None

    rows = list(track(in_order(one, range(len(knees)), workers=processors()), len(knees), "held-out fold"))
    tasks = [task for task in model.card.tasks if task != "SIDE"]
    return HeldOut(
        logits={task: np.stack([logits[task] for logits, _, _ in rows]) for task in tasks},
        truth={task: knees.grades(task) for task in tasks},
        patients=knees.patients(),
        distances=np.array([distance for _, distance, _ in rows], dtype=np.float64),
        agreements=np.array([agreement for _, _, agreement in rows], dtype=np.float64),
    )


def choose_decisions(
    observed: HeldOut, named: Mapping[str, calibrate.DecisionRule]
) -> dict[str, calibrate.DecisionRule]:
    """The decision rule of each task: the one that is named, else the better on held-out knees.

    Better is a higher mean of accuracy and quadratic weighted kappa.
    """
    chosen: dict[str, calibrate.DecisionRule] = {}
    for task, logits in observed.logits.items():
        read = observed.truth[task] != MISSING
        if task in named:
            chosen[task] = named[task]
        elif read.any():
            probabilities, truth = calibrate.softmax(logits[read]), observed.truth[task][read]
            scores = {rule: _decision_score(probabilities, truth, rule) for rule in RULES}
            chosen[task] = max(RULES, key=scores.__getitem__)
    return chosen


def _decision_score(
    probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], rule: calibrate.DecisionRule
) -> float:
    decided = calibrate.decide(probabilities, rule)
    confusion = metrics.confusion_matrix(truth, decided, probabilities.shape[1])
    return float(metrics.accuracy(confusion) + metrics.qwk(confusion))


def fit_calibration(
    observed: HeldOut, decision: Mapping[str, calibrate.DecisionRule], fold: int
) -> dict[str, Any]:
    """Temperatures, conformal thresholds, refer rule and distance threshold from held-out knees.

    Temperatures are fitted on all held-out knees; everything that judges calibrated probabilities (the
    conformal thresholds, the refer rule, the figures) uses probabilities cross-fitted by patient.
    """
    temperature, conformal, after = {}, {}, {}
    for task, logits in observed.logits.items():
        truth = observed.truth[task]
        read = truth != MISSING
        if not read.any():  # a data set without these readings: the card then says no temperature
            continue
        temperature[task] = round(calibrate.fit_temperature(logits, truth), 4)
        crossed = calibrate.cross_fitted_probabilities(logits, truth, observed.patients).probabilities
        rule = decision.get(task, "argmax")
        if task != "OA":
            threshold = calibrate.fit_interval_threshold(crossed, truth, COVERAGE, rule=rule)
            conformal[task] = {"threshold": round(threshold, 6), "coverage": COVERAGE}
        after[task] = _calibration_figures(logits[read], crossed[read], truth[read])
    document: dict[str, Any] = {
        "temperature": temperature,
        "conformal": conformal,
        "side_certainty": 0.95,
        "fitted": {
            "method": f"fold {fold} of the train split, held out of training; cross-fitted by patient",
            "n": len(observed.patients),
            "n_patients": len(np.unique(observed.patients)),
            "figures": after,
        },
    }
    if np.isfinite(observed.distances).any():
        farthest = float(np.nanquantile(observed.distances, ATYPICAL))
        document["out_of_distribution"] = {"threshold": round(farthest, 4)}
    if np.isfinite(observed.agreements).any():
        document["side_doubt"] = round(float(np.nanquantile(observed.agreements, 1 - ATYPICAL)), 4)
    if "KL" in conformal:
        document["refer"] = _refer_rule(observed, decision.get("KL", "argmax"), conformal["KL"]["threshold"])
    return document


def _calibration_figures(
    logits: npt.NDArray[np.float64], calibrated: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> dict[str, float]:
    plain = calibrate.softmax(logits)
    return {
        "nll_before": round(ce.nll(plain, truth), 4),
        "nll": round(ce.nll(calibrated, truth), 4),
        "ece_before": round(ce.expected_calibration_error(*ce.top1(plain, truth)), 4),
        "ece": round(ce.expected_calibration_error(*ce.top1(calibrated, truth)), 4),
    }


def _refer_rule(observed: HeldOut, rule: calibrate.DecisionRule, threshold: float) -> dict[str, Any]:
    """The narrowest interval that is referred while no more than `REFERRED` of the knees are."""
    truth = observed.truth["KL"]
    crossed = calibrate.cross_fitted_probabilities(
        observed.logits["KL"], truth, observed.patients
    ).probabilities
    decided = calibrate.decide(crossed, rule)
    low, high = calibrate.interval(crossed, decided, threshold)
    grades = high - low + 1
    width = next(w for w in range(2, 7) if (grades >= w).mean() <= REFERRED)
    kept, read = grades < width, truth != MISSING

    def accuracy(which: npt.NDArray[np.bool_]) -> float | None:
        return round(float((decided == truth)[which & read].mean()), 4) if (which & read).any() else None

    return {
        "KL_interval_grades": width,
        "share_referred": round(float((~kept).mean()), 4),
        "accuracy_kept": accuracy(kept),
        "accuracy_referred": accuracy(~kept),
    }
