"""Temperatures recover what was done to the logits; intervals contain, cover and never tear apart."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize_scalar

from kellgren.calibrate import (
    TEMPERATURES,
    apply_temperature,
    cross_fitted_probabilities,
    decide,
    fit_interval_threshold,
    fit_temperature,
    interval,
    mass_before,
    softmax,
)
from kellgren.errors import BadDataset
from kellgren.study.calibration_error import nll

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

logits = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 6)), elements=st.floats(-30, 30))


def simulated(seed, n=4000, classes=5, sharpened=1.0):
    """Logits whose softmax at temperature `sharpened` is the true distribution of the grades."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-0.5, classes - 0.5, n)
    z = -((np.arange(classes) - centre[:, None]) ** 2) * rng.uniform(0.3, 1.5, n)[:, None]
    p = softmax(z)
    truth = (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
    return z * sharpened, truth


# --- temperature -----------------------------------------------------------------------------------------


@unhurried
@given(logits, st.floats(-100, 100))
def test_softmax_is_a_distribution_and_ignores_a_shift(z, shift):
    p = softmax(z)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(softmax(z + shift), p, atol=1e-9)


def test_softmax_of_huge_logits():
    np.testing.assert_allclose(softmax([[1e4, 0.0], [-1e4, -1e4]]), [[1.0, 0.0], [0.5, 0.5]])


@unhurried
@given(logits, st.floats(0.1, 10))
def test_temperature_moves_no_grade_and_softens(z, temperature):
    # Logits that tie in a float may order either way after the division.
    z = np.round(z, 3)
    plain, scaled = softmax(z), apply_temperature(z, temperature)
    best = plain.argmax(axis=1)
    rows = np.arange(len(z))
    np.testing.assert_allclose(scaled[rows, best], scaled.max(axis=1))
    sign = 1 if temperature >= 1 else -1
    assert (sign * (plain.max(axis=1) - scaled.max(axis=1)) >= -1e-9).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_impossible_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        apply_temperature([[0.0, 1.0]], temperature)


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_fit_recovers_the_temperature(sharpened):
    z, truth = simulated(0, n=20_000, sharpened=sharpened)
    assert fit_temperature(z, truth) == pytest.approx(sharpened, rel=0.04)


def test_fit_is_where_a_general_optimiser_ends():
    z, truth = simulated(1, n=300, sharpened=2.0)
    ours = fit_temperature(z, truth)
    theirs = minimize_scalar(
        lambda t: nll(apply_temperature(z, t), truth), bounds=(0.1, 10), options={"xatol": 1e-9}
    ).x
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_fit_ignores_unread_knees():
    z, truth = simulated(2, n=400)
    hidden = np.where(np.arange(400) < 100, -1, truth)
    assert fit_temperature(z, hidden) == fit_temperature(z[100:], truth[100:])


def test_fit_ends_at_the_range_where_there_is_no_optimum():
    z = 4.0 * np.eye(3)
    assert fit_temperature(z, np.arange(3)) == pytest.approx(TEMPERATURES[0], rel=1e-6)
    assert fit_temperature(-z, np.arange(3)) == pytest.approx(TEMPERATURES[1], rel=1e-6)


def test_fit_refuses_what_it_cannot_use():
    z, truth = simulated(3, n=10)
    with pytest.raises(BadDataset, match="no knee has a reading"):
        fit_temperature(z, np.full(10, -1))
    with pytest.raises(ValueError, match="outside 0"):
        fit_temperature(z, truth + 5)
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.where(z > z.min(), z, np.nan), truth)
    with pytest.raises(ValueError, match=r"\(N, C\)"):
        fit_temperature(z, truth[:-1])


# --- cross-fitting ---------------------------------------------------------------------------------------


def test_no_patient_is_calibrated_on_itself():
    z, truth = simulated(4, n=300, sharpened=2.0)
    patients = np.random.default_rng(0).integers(0, 90, 300).astype(str)
    result = cross_fitted_probabilities(z, truth, patients, folds=5, seed=1)
    assert result.temperatures.shape == (5,)
    assert len(np.unique(result.temperatures)) == 5
    for f in range(5):
        own = result.fold == f
        assert not set(patients[own]) & set(patients[~own])
        assert result.temperatures[f] == fit_temperature(z[~own], truth[~own])
        np.testing.assert_allclose(
            result.probabilities[own], apply_temperature(z[own], result.temperatures[f])
        )
    # Changing a patient's own readings must leave its own probabilities alone.
    changed = np.where(patients == patients[0], (truth + 1) % 5, truth)
    again = cross_fitted_probabilities(z, changed, patients, folds=5, seed=1)
    own = result.fold == result.fold[0]
    np.testing.assert_array_equal(again.probabilities[own], result.probabilities[own])
    assert not np.array_equal(again.probabilities[~own], result.probabilities[~own])


def test_cross_fitting_folds_are_even_and_seeded():
    z, truth = simulated(5, n=100)
    patients = np.repeat(np.arange(50).astype(str), 2)
    first, again, other = (cross_fitted_probabilities(z, truth, patients, seed=s).fold for s in (0, 0, 1))
    assert np.bincount(first).tolist() == [20] * 5
    assert (first == again).all()
    assert (first != other).any()


def test_cross_fitting_calibrates_unread_knees_too():
    z, truth = simulated(6, n=100)
    truth[:30] = -1
    result = cross_fitted_probabilities(z, truth, np.arange(100).astype(str))
    assert np.isfinite(result.probabilities).all()


@pytest.mark.parametrize(("folds", "error"), [(1, ValueError), (11, BadDataset)])
def test_cross_fitting_needs_folds_and_patients_to_fill_them(folds, error):
    z, truth = simulated(7, n=20)
    with pytest.raises(error, match="folds"):
        cross_fitted_probabilities(z, truth, np.repeat(np.arange(10).astype(str), 2), folds=folds)


# --- decisions -------------------------------------------------------------------------------------------


def test_decisions_by_hand():
    p = [[0.4, 0.1, 0.1, 0.1, 0.3], [0.5, 0.5, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, 0, 0, 0, 1]]
    assert decide(p).tolist() == [0, 0, 0, 4]
    assert decide(p, "median").tolist() == [1, 0, 2, 4]
    with pytest.raises(ValueError, match="mode"):
        decide(p, "mode")


@unhurried
@given(logits)
def test_median_is_best_for_the_absolute_error_and_argmax_for_accuracy(z):
    p = softmax(z)
    grades = np.arange(p.shape[1])
    cost = (p[:, None, :] * np.abs(grades[:, None] - grades[None, :])).sum(axis=2)
    rows = np.arange(len(p))
    np.testing.assert_allclose(cost[rows, decide(p, "median")], cost.min(axis=1), atol=1e-9)
    np.testing.assert_array_equal(p[rows, decide(p)], p.max(axis=1))


# --- intervals -------------------------------------------------------------------------------------------


def test_interval_grows_to_the_more_probable_neighbour():
    p, decided = np.array([[0.05, 0.20, 0.40, 0.25, 0.10]]), np.array([2])
    np.testing.assert_allclose(mass_before(p, decided), [[0.95, 0.65, 0.0, 0.40, 0.85]])
    found = [tuple(int(x[0]) for x in interval(p, decided, t)) for t in (0.0, 0.5, 0.7, 0.9, 1.0)]
    assert found == [(2, 2), (2, 3), (1, 3), (1, 4), (0, 4)]


def test_interval_takes_the_smaller_grade_of_two_equals():
    assert [int(x[0]) for x in interval([[0.25, 0.5, 0.25]], np.array([1]), 0.6)] == [0, 1]


def test_interval_stops_at_the_end_of_the_scale():
    p = np.array([[0.7, 0.1, 0.1, 0.1]])
    assert [int(x[0]) for x in interval(p, np.array([0]), 0.75)] == [0, 1]
    assert [int(x[0]) for x in interval(p, np.array([3]), 0.15)] == [2, 3]


@unhurried
@given(logits, st.data())
def test_interval_is_an_interval(z, data):
    p = softmax(z)
    n, classes = p.shape
    decided = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    thresholds = sorted(data.draw(st.lists(st.floats(0, 1), min_size=2, max_size=4)))
    found = [interval(p, decided, t) for t in thresholds]
    for (low, high), t in zip(found, thresholds, strict=True):
        assert ((low >= 0) & (low <= decided) & (decided <= high) & (high < classes)).all()
        inside = (np.arange(classes) >= low[:, None]) & (np.arange(classes) <= high[:, None])
        # It is exactly the grades whose score is not above the threshold: nothing inside is skipped.
        np.testing.assert_array_equal(inside, mass_before(p, decided) <= t)
        whole = inside.all(axis=1)
        assert (((p * inside).sum(axis=1) > t - 1e-9) | whole).all()
    for (low, high), (wider_low, wider_high) in pairwise(found):
        assert ((wider_low <= low) & (wider_high >= high)).all()
    low, high = interval(p, decided, 1.0)
    assert (low == 0).all()
    assert (high == classes - 1).all()


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("rule", ["argmax", "median"])
@pytest.mark.parametrize("sharpened", [1.0, 4.0])
def test_coverage_holds_even_for_bad_probabilities(coverage, rule, sharpened):
    # Many small calibration sets, so that the finite-sample correction shows; overconfident ones included.
    covered = []
    for seed in range(60):
        z, truth = simulated(seed, n=800, sharpened=sharpened)
        p = softmax(z)
        threshold = fit_interval_threshold(p[:100], truth[:100], coverage, rule=rule)
        low, high = interval(p[100:], decide(p[100:], rule), threshold)
        covered.append(np.mean((low <= truth[100:]) & (truth[100:] <= high)))
    assert coverage - 0.01 <= np.mean(covered) <= coverage + 0.03


def test_threshold_uses_the_finite_sample_rank():
    # Nine knees of two grades, the truth never decided: scores are the confidences .51 .. .59.
    confidence = np.arange(51, 60) / 100
    p = np.stack([confidence, 1 - confidence], axis=1)
    truth = np.ones(9, int)
    assert fit_interval_threshold(p, truth, 0.5) == pytest.approx(0.55)  # ceil(10 * .5) = 5th of 9
    assert fit_interval_threshold(p, truth, 0.9) == pytest.approx(0.59)  # 9th of 9
    assert fit_interval_threshold(p, truth, 0.95) == 1.0  # a 10th there is not


def test_threshold_of_a_model_that_is_always_right_is_0():
    p = np.full((50, 3), 0.05) + 0.85 * np.eye(3)[np.arange(50) % 3]
    threshold = fit_interval_threshold(p, np.arange(50) % 3)
    assert threshold == 0.0
    low, high = interval(p, decide(p), threshold)
    assert (low == high).all()


def test_threshold_survives_a_card():
    z, truth = simulated(8, n=500)
    threshold = fit_interval_threshold(softmax(z), truth)
    assert json.loads(json.dumps(threshold)) == threshold


def test_threshold_ignores_unread_knees_and_refuses_nonsense():
    z, truth = simulated(9, n=200)
    p = softmax(z)
    hidden = np.where(np.arange(200) < 50, -1, truth)
    assert fit_interval_threshold(p, hidden) == fit_interval_threshold(p[50:], truth[50:])
    with pytest.raises(ValueError, match="coverage"):
        fit_interval_threshold(p, truth, 1.0)
    with pytest.raises(BadDataset, match="reading"):
        fit_interval_threshold(p, np.full(200, -1))
