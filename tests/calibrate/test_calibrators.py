"""What was done to the logits is recovered, and nobody is calibrated on itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from kellgren.calibrate.calibrators import (
    TEMPERATURES,
    cross_fitted_probabilities,
    fit_dirichlet,
    fit_temperature,
)
from kellgren.errors import BadDataset
from kellgren.evaluate.metrics import nll
from kellgren.model.calibrators import RARE, Dirichlet, Temperature, log_probabilities, softmax
from logits_samples import logits, simulated, unhurried

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
    plain, scaled = softmax(z), Temperature(temperature).probabilities(z)
    best = plain.argmax(axis=1)
    rows = np.arange(len(z))
    np.testing.assert_allclose(scaled[rows, best], scaled.max(axis=1))
    sign = 1 if temperature >= 1 else -1
    assert (sign * (plain.max(axis=1) - scaled.max(axis=1)) >= -1e-9).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_impossible_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        Temperature(temperature)


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_fit_recovers_the_temperature(sharpened):
    z, truth = simulated(0, n=20_000, sharpened=sharpened)
    assert fit_temperature(z, truth).value == pytest.approx(sharpened, rel=0.04)


def test_fit_is_where_a_general_optimiser_ends():
    z, truth = simulated(1, n=300, sharpened=2.0)
    ours = fit_temperature(z, truth).value
    theirs = minimize_scalar(
        lambda t: nll(Temperature(t).probabilities(z), truth), bounds=(0.1, 10), options={"xatol": 1e-9}
    ).x
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_fit_ignores_unread_knees():
    z, truth = simulated(2, n=400)
    hidden = np.where(np.arange(400) < 100, -1, truth)
    assert fit_temperature(z, hidden) == fit_temperature(z[100:], truth[100:])


def test_fit_ends_at_the_range_where_there_is_no_optimum():
    z = 4.0 * np.eye(3)
    assert fit_temperature(z, np.arange(3)).value == pytest.approx(TEMPERATURES[0], rel=1e-6)
    assert fit_temperature(-z, np.arange(3)).value == pytest.approx(TEMPERATURES[1], rel=1e-6)


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


# --- Dirichlet map ---------------------------------------------------------------------------------------

MIXED = np.array([[1.0, 0.3, 0.0], [0.0, 0.7, 0.4], [0.2, 0.0, 1.4]])
SHIFTED = np.array([0.4, -0.3, -0.1])


def confused(seed, n):
    """Logits of a network whose Dirichlet map would be `MIXED` and `SHIFTED`, and grades drawn from that."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, 3))
    p = Dirichlet(MIXED, SHIFTED).probabilities(z)
    return z, (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)


def test_a_map_by_hand():
    calibrator = Dirichlet(np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([0.0, 1.0]))
    a, b = np.log(0.25), np.log(0.75)
    expected = softmax([a, a + 2 * b + 1])
    np.testing.assert_allclose(calibrator.probabilities([np.log(1), np.log(3)]), expected)
    np.testing.assert_allclose(calibrator.probabilities([[5.0, 5.0 + np.log(3)]]), [expected])


@unhurried
@given(logits)
def test_the_identity_changes_nothing_but_what_is_rare(z):
    classes = z.shape[1]
    calibrated = Dirichlet(np.eye(classes), np.zeros(classes)).probabilities(z)
    np.testing.assert_allclose(calibrated, softmax(z), atol=classes * RARE)


def test_a_map_is_recovered():
    z, truth = confused(0, 60_000)
    fitted = fit_dirichlet(z, truth, ridge=1e-7)
    there = Dirichlet(MIXED, SHIFTED).probabilities(z)
    np.testing.assert_allclose(fitted.probabilities(z), there, atol=0.03)
    assert np.abs(fitted.probabilities(z) - softmax(z)).max() > 0.2


@pytest.mark.parametrize("ridge", [1e-4, 0.01, 1.0])
def test_the_map_is_where_a_general_optimiser_ends(ridge):
    z, truth = confused(1, 400)

    def loss(theta):
        weights, bias = theta[:9].reshape(3, 3), theta[9:]
        distance = ((weights - np.eye(3)) ** 2).sum() + (bias**2).sum()
        return nll(Dirichlet(weights, bias).probabilities(z), truth) + ridge * distance

    theirs = minimize(loss, np.append(np.eye(3), np.zeros(3)), tol=1e-12).x
    ours = fit_dirichlet(z, truth, ridge)
    np.testing.assert_allclose(np.append(ours.weights, ours.bias), theirs, atol=2e-4)


def test_a_strong_ridge_leaves_the_network_alone():
    z, truth = confused(2, 400)
    fitted = fit_dirichlet(z, truth, ridge=1e6)
    np.testing.assert_allclose(fitted.weights, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(fitted.bias, 0, atol=1e-5)


def test_a_map_is_found_where_every_knee_is_right_or_a_grade_was_never_read():
    z = np.repeat(8.0 * np.eye(3), 20, axis=0)
    truth = np.repeat(np.arange(3), 20)
    assert (fit_dirichlet(z, truth).probabilities(z).argmax(axis=1) == truth).all()
    unseen = fit_dirichlet(z[:40], truth[:40])
    assert np.isfinite(unseen.weights).all()
    assert unseen.probabilities(z[40:])[0, 2] > 0.5


def test_a_map_is_not_carried_on_to_where_there_were_no_knees():
    calibrator = Dirichlet(MIXED, SHIFTED)
    far = calibrator.probabilities([40.0, 0.0, -40.0])
    np.testing.assert_array_equal(far, calibrator.probabilities([400.0, 0.0, -900.0]))


@pytest.mark.parametrize("calibrator", [Temperature(2.5), Dirichlet(MIXED, SHIFTED)])
def test_maps_share_out_the_calibrated_logits(calibrator):
    maps = np.random.default_rng(0).normal(0, 2, (3, 4, 6)).astype(np.float32)
    shared = calibrator.maps(maps)
    assert shared.shape == maps.shape
    expected = calibrator.logits(maps.mean(axis=(1, 2), dtype=np.float64))
    np.testing.assert_allclose(shared.mean(axis=(1, 2)), expected, atol=1e-6)
    # a place that supports grade 1 more than another does so after the weights
    bright = maps.copy()
    bright[1, 2, 3] += 1.0
    gain = (calibrator.maps(bright) - shared)[:, 2, 3] - (calibrator.maps(bright) - shared)[:, 0, 0]
    weights = np.eye(3) / 2.5 if isinstance(calibrator, Temperature) else MIXED
    np.testing.assert_allclose(gain, weights[:, 1], atol=1e-5)


def test_a_map_refuses_what_it_cannot_use():
    z, truth = confused(3, 10)
    with pytest.raises(BadDataset, match="no knee has a reading"):
        fit_dirichlet(z, np.full(10, -1))
    with pytest.raises(ValueError, match="outside 0"):
        fit_dirichlet(z, truth + 5)
    for ridge in (0.0, np.nan):
        with pytest.raises(ValueError, match="ridge"):
            fit_dirichlet(z, truth, ridge)
    with pytest.raises(ValueError, match="do not fit"):
        Dirichlet(np.eye(3), np.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        Dirichlet(np.full((2, 2), np.inf), np.zeros(2))


def test_zero_probability_has_a_logarithm():
    assert np.isfinite(log_probabilities([0.0, 1.0])).all()


# --- cross-fitting ---------------------------------------------------------------------------------------


def test_no_patient_is_calibrated_on_itself():
    z, truth = simulated(4, n=300, sharpened=2.0)
    patients = np.random.default_rng(0).integers(0, 90, 300).astype(str)
    result = cross_fitted_probabilities(z, truth, patients, folds=5, seed=1)
    assert len({calibrator.value for calibrator in result.calibrators}) == 5
    for f in range(5):
        own = result.fold == f
        assert not set(patients[own]) & set(patients[~own])
        assert result.calibrators[f] == fit_temperature(z[~own], truth[~own])
        np.testing.assert_allclose(result.probabilities[own], result.calibrators[f].probabilities(z[own]))
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


def test_cross_fitting_takes_what_it_is_given():
    z, truth = confused(8, 900)
    patients = np.arange(900).astype(str)
    plain = cross_fitted_probabilities(z, truth, patients)
    mapped = cross_fitted_probabilities(z, truth, patients, fit=fit_dirichlet)
    assert all(isinstance(one, Dirichlet) for one in mapped.calibrators)
    assert nll(mapped.probabilities, truth) < nll(plain.probabilities, truth) - 0.02
