"""A decided grade is what its rule says; intervals contain, cover and never tear apart."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kellgren.calibrate.thresholds import fit_interval_threshold
from kellgren.errors import BadDataset
from kellgren.model.calibrators import softmax
from kellgren.model.decision import decide, interval, mass_before
from logits_samples import logits, simulated, unhurried

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
