"""Calibration of a network, or of an ensemble, on the knees that were held out of its training.

Calibrators, decision rules, conformal thresholds, the refer rule and what counts as ordinary: all are
fitted here, on what they did not learn from, with everything that judges calibrated probabilities
cross-fitted by patient.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.calibrate.calibrators import Fit, cross_fitted_probabilities, fit_dirichlet, fit_temperature
from kellgren.calibrate.thresholds import fit_interval_threshold
from kellgren.data import DataSet
from kellgren.evaluate import metrics
from kellgren.model.calibrators import Calibrator, Method, Temperature, log_probabilities, softmax
from kellgren.model.card import (
    Calibration,
    CalibrationFigures,
    DirichletMap,
    Fitted,
    Interval,
    OutOfDistribution,
    Refer,
)
from kellgren.model.decision import DecisionRule, decide, interval
from kellgren.model.predict import Model
from kellgren.parallel import Track, in_order, processors
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.vocabulary import MISSING

COVERAGE: Final = 0.9
"""Nominal coverage of the conformal interval."""

REFERRED: Final = 0.15
"""Largest share of held-out knees that the refer rule may send to a person."""

ATYPICAL: Final = 0.995
"""Share of held-out knees that count as ordinary."""

RULES: Final[tuple[DecisionRule, ...]] = ("argmax", "median")


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
    ensemble's are what its calibrator starts from.
    """

    def one(index: int) -> tuple[dict[str, npt.NDArray[np.float64]], float | None, float | None]:
        knee = knees.knees[index]
        film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
        prediction = model.predict(film.pixels, knee.side)
        logits = {task: log_probabilities(p) for task, p in prediction.probabilities.items()}
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


def together(parts: Sequence[HeldOut]) -> HeldOut:
    """Several sets of knees as one: of every part the same tasks, in the parts' order.

    Raises:
        ValueError: If tasks differ.
    """
    tasks = parts[0].logits.keys()
    if any(part.logits.keys() != tasks for part in parts):
        raise ValueError("the parts have not the same tasks")
    return HeldOut(
        logits={task: np.concatenate([part.logits[task] for part in parts]) for task in tasks},
        truth={task: np.concatenate([part.truth[task] for part in parts]) for task in tasks},
        patients=np.concatenate([part.patients for part in parts]),
        distances=np.concatenate([part.distances for part in parts]),
        agreements=np.concatenate([part.agreements for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Calibration of one task.

    Attributes:
        calibrator: Fitted on all held-out knees.
        crossed: (N, C) probabilities of the held-out knees, each calibrated on other patients' only.
        rule: How a grade is decided.
    """

    calibrator: Calibrator
    crossed: npt.NDArray[np.float64]
    rule: DecisionRule


def fit_calibration(
    observed: HeldOut,
    named: Mapping[str, DecisionRule],
    folds: Collection[int],
    *,
    method: Method = "temperature",
    remark: str = "",
) -> tuple[dict[str, DecisionRule], Calibration]:
    """Calibrators, decision rules, conformal thresholds, refer rule and distance threshold.

    Calibrators are fitted on all held-out knees; everything that judges calibrated probabilities (which
    calibrator, which rule, the conformal thresholds, the refer rule, the figures) uses probabilities
    cross-fitted by patient.

    Args:
        observed: What the bundle says of the held-out knees.
        named: Decision rules by task; where a task is not named, the better one is taken: the higher mean of
            accuracy and quadratic weighted kappa.
        folds: The folds that were held out.
        method: Which calibrators may be used.
        remark: What the card says besides of how it was fitted.

    Returns:
        The card's `decision` and `calibration`. Tasks of which no knee was read are in neither, except
        for a rule that is named.
    """
    tasks = {
        task: _calibrate(logits, observed.truth[task], observed.patients, named.get(task), method)
        for task, logits in observed.logits.items()
        if (observed.truth[task] != MISSING).any()
    }
    decision = {task: named[task] for task in observed.logits if task in named}
    decision |= {task: calibrated.rule for task, calibrated in tasks.items()}
    conformal: dict[str, Interval] = {}
    figures: dict[str, CalibrationFigures] = {}
    for task, calibrated in tasks.items():
        truth = observed.truth[task]
        if task != "OA":
            threshold = fit_interval_threshold(calibrated.crossed, truth, COVERAGE, rule=calibrated.rule)
            conformal[task] = Interval(threshold=round(threshold, 6), coverage=COVERAGE)
        read = truth != MISSING
        figures[task] = _calibration_figures(
            observed.logits[task][read], calibrated.crossed[read], truth[read]
        )
    title = f"{_title(folds)} of the train split, held out of training; cross-fitted by patient{remark}"
    fitted = Fitted(
        method=title, n=len(observed.patients), n_patients=len(np.unique(observed.patients)), figures=figures
    )
    calibration = _stored({task: calibrated.calibrator for task, calibrated in tasks.items()})
    calibration = calibration.changed(conformal=conformal, side_certainty=0.95, fitted=fitted)
    if np.isfinite(observed.distances).any():
        farthest = float(np.nanquantile(observed.distances, ATYPICAL))
        calibration = calibration.changed(out_of_distribution=OutOfDistribution(threshold=round(farthest, 4)))
    if np.isfinite(observed.agreements).any():
        doubt = round(float(np.nanquantile(observed.agreements, 1 - ATYPICAL)), 4)
        calibration = calibration.changed(side_doubt=doubt)
    if "KL" in tasks:
        rule = _refer_rule(tasks["KL"], observed.truth["KL"], conformal["KL"].threshold)
        calibration = calibration.changed(refer=rule)
    return decision, calibration


def _title(folds: Collection[int]) -> str:
    names = ", ".join(map(str, sorted(folds)))
    return f"fold {names}" if len(folds) == 1 else f"folds {names}"


def _calibrate(
    logits: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    patients: npt.NDArray[np.str_],
    named: DecisionRule | None,
    method: Method,
) -> Calibrated:
    """Choose and fit the calibrator of one task, and choose its rule."""
    fit: Fit = fit_temperature
    crossed = cross_fitted_probabilities(logits, truth, patients).probabilities
    if method == "best":
        other = cross_fitted_probabilities(logits, truth, patients, fit=fit_dirichlet).probabilities
        read = truth != MISSING
        if _surely_better(other[read], crossed[read], truth[read], patients[read]):
            fit, crossed = fit_dirichlet, other
    return Calibrated(fit(logits, truth), crossed, named or _better_rule(crossed, truth))


def _surely_better(
    new: npt.NDArray[np.float64],
    old: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    patients: npt.NDArray[np.str_],
) -> bool:
    """Whether the new probabilities' mean log likelihood is higher by more than its standard error.

    The error is that of the paired difference with patients as clusters: the one-standard-error rule
    (Breiman et al. 1984) for the step from one parameter to many.
    """
    rows = np.arange(len(truth))
    gain = log_probabilities(new[rows, truth]) - log_probabilities(old[rows, truth])
    _, patient = np.unique(patients, return_inverse=True)
    by_patient = np.bincount(patient, weights=gain - gain.mean())
    return bool(gain.mean() > np.sqrt((by_patient**2).sum()) / len(gain))


def _better_rule(probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> DecisionRule:
    read = truth != MISSING

    def score(rule: DecisionRule) -> float:
        decided = decide(probabilities[read], rule)
        confusion = metrics.confusion_matrix(truth[read], decided, probabilities.shape[1])
        return float(metrics.accuracy(confusion) + metrics.qwk(confusion))

    return max(RULES, key=score)


def _stored(calibrators: Mapping[str, Calibrator]) -> Calibration:
    """The card's part of the calibrators; `dirichlet` only where there is one."""
    temperature, dirichlet = {}, {}
    for task, calibrator in calibrators.items():
        if isinstance(calibrator, Temperature):
            temperature[task] = round(calibrator.value, 4)
        else:
            dirichlet[task] = DirichletMap(
                weights=tuple(tuple(round(float(w), 6) for w in row) for row in calibrator.weights),
                bias=tuple(round(float(b), 6) for b in calibrator.bias),
            )
    if dirichlet:
        return Calibration(temperature=temperature, dirichlet=dirichlet)
    return Calibration(temperature=temperature)


def _calibration_figures(
    logits: npt.NDArray[np.float64], calibrated: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> CalibrationFigures:
    plain = softmax(logits)
    return CalibrationFigures(
        nll_before=round(metrics.nll(plain, truth), 4),
        nll=round(metrics.nll(calibrated, truth), 4),
        ece_before=round(metrics.expected_calibration_error(*metrics.top1(plain, truth)), 4),
        ece=round(metrics.expected_calibration_error(*metrics.top1(calibrated, truth)), 4),
    )


def _refer_rule(kl: Calibrated, truth: npt.NDArray[np.int64], threshold: float) -> Refer:
    """The narrowest interval that is referred while no more than `REFERRED` of the knees are."""
    decided = decide(kl.crossed, kl.rule)
    low, high = interval(kl.crossed, decided, threshold)
    grades = high - low + 1
    width = next(w for w in range(2, 7) if (grades >= w).mean() <= REFERRED)
    kept, read = grades < width, truth != MISSING

    def accuracy(which: npt.NDArray[np.bool_]) -> float | None:
        return round(float((decided == truth)[which & read].mean()), 4) if (which & read).any() else None

    return Refer(
        KL_interval_grades=width,
        share_referred=round(float((~kept).mean()), 4),
        accuracy_kept=accuracy(kept),
        accuracy_referred=accuracy(~kept),
    )
