"""The bootstrap draws patients, gives what a plain loop gives, and covers; paired tests tell models apart."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from kellgren.evaluate import metrics
from kellgren.evaluate.discrimination import auc_per_grade
from kellgren.evaluate.statistics import (
    Estimate,
    bootstrap,
    bootstrap_p,
    mcnemar,
    patient_draws,
    percentile_interval,
)
from kellgren.evaluate.task_metrics import estimates, statistics, task_sample
from paired_comparison import compare

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def clustered(seed, patients=40, classes=4, skill=0.6):
    """Patients of one to three knees whose grades and errors go together."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    truth = np.clip(rng.integers(0, classes, patients)[of] + rng.integers(-1, 2, len(of)), 0, classes - 1)
    p = rng.dirichlet(np.ones(classes), len(of)) + skill * np.eye(classes)[truth]
    p /= p.sum(axis=1, keepdims=True)
    return task_sample("FL", p, p.argmax(axis=1), truth, of.astype(str))


def test_draws_hold_as_many_patients_as_there_are():
    chunks = list(patient_draws(7, draws=50, seed=0))
    counts = np.concatenate(chunks)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert len(np.unique(counts, axis=0)) > 40


def test_draws_come_in_chunks_that_add_up():
    chunks = list(patient_draws(3000, draws=150, seed=0))
    assert len(chunks) > 1
    assert sum(map(len, chunks)) == 150


def test_draw_counts_are_multinomial():
    counts = np.concatenate(list(patient_draws(20, draws=20_000, seed=3)))
    assert counts.mean(axis=0) == pytest.approx(np.ones(20), abs=0.03)
    assert counts.var() == pytest.approx(1 - 1 / 20, abs=0.01)


def test_weighted_statistics_are_those_of_the_drawn_knees():
    sample = clustered(0)
    evaluate = statistics(sample, (2,))
    (counts,) = patient_draws(sample.patients, draws=5, seed=9)
    drawn = evaluate(counts)
    for row, count in enumerate(counts):
        knees = np.concatenate(
            [
                np.flatnonzero(sample.patient == i)
                for i in range(sample.patients)
                for _ in range(int(count[i]))
            ]
        )
        again = task_sample(
            "FL", sample.probabilities[knees], sample.decided[knees], sample.truth[knees], knees.astype(str)
        )
        alone = statistics(again, (2,))(np.ones((1, again.patients)))
        assert drawn.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(drawn[name][row], value[0], atol=1e-12, err_msg=name)


def test_statistics_of_everyone_are_the_plain_figures():
    sample = clustered(1)
    values = statistics(sample)(np.ones((1, sample.patients)))
    c = metrics.confusion_matrix(sample.truth, sample.decided, 4)
    assert values["qwk"][0] == pytest.approx(float(metrics.qwk(c)))
    np.testing.assert_allclose(values["auc"][0], auc_per_grade(sample.probabilities, sample.truth))


def test_same_seed_same_interval_and_interval_holds_the_value():
    first, again = (estimates(clustered(2), draws=500) for _ in range(2))
    other = estimates(clustered(2), draws=500, seed=1)
    assert first == again
    assert first["qwk"] != other["qwk"]
    for name in ("accuracy", "qwk", "mae", "auc_macro", "nll", "brier"):
        assert first[name].low < first[name].value < first[name].high, name


def test_knees_of_a_patient_are_drawn_together():
    # Two identical knees a patient say no more than one: the interval must not shrink.
    single = clustered(3, patients=80)
    kept = np.unique(single.patient, return_index=True)[1]
    p, decided, truth = single.probabilities[kept], single.decided[kept], single.truth[kept]
    names = np.arange(len(kept)).astype(str)
    once = estimates(task_sample("FL", p, decided, truth, names), draws=2000)
    twice = estimates(
        task_sample("FL", *(np.repeat(a, 2, axis=0) for a in (p, decided, truth, names))), draws=2000
    )
    assert twice["accuracy"] == once["accuracy"]
    as_if_independent = estimates(
        task_sample(
            "FL",
            *(np.repeat(a, 2, axis=0) for a in (p, decided, truth)),
            np.arange(2 * len(kept)).astype(str),
        ),
        draws=2000,
    )
    width = {k: e["nll"].high - e["nll"].low for k, e in (("c", twice), ("i", as_if_independent))}
    assert width["c"] / width["i"] == pytest.approx(np.sqrt(2), rel=0.1)


def test_one_patient_gives_a_point():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    result = estimates(task_sample("OA", p, p.argmax(1), np.array([0, 0]), np.array(["a", "a"])), draws=20)
    assert result["accuracy"] == Estimate(0.5, 0.5, 0.5)
    assert np.isnan(result["auc_macro"].value)
    assert result["auc_macro"].to_json() == {"value": None, "low": None, "high": None}


def test_coverage_on_simulated_clusters():
    # The accuracy of knees whose patients differ: the 95 % interval should hold the true mean about 95 times
    # in 100, and one that ignores patients should not.
    rng = np.random.default_rng(0)
    covered = {"patients": 0, "knees": 0}
    for _ in range(300):
        skill = rng.beta(1.2, 0.8, 60)
        right = (rng.random((60, 2)) < skill[:, None]).ravel().astype(float)
        groups = {"patients": right.reshape(60, 2).sum(axis=1), "knees": right}
        for unit, sums in groups.items():
            drawn = bootstrap(lambda counts, s=sums: {"x": counts @ s / 120}, len(sums), draws=400, seed=4)
            low, high = percentile_interval(drawn["x"])
            covered[unit] += bool(low <= 0.6 <= high)
    assert 0.91 <= covered["patients"] / 300 <= 0.98
    assert covered["knees"] < covered["patients"] - 5


def test_percentiles_leave_undefined_draws_out():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    low, high = percentile_interval(values)
    assert low[0] == pytest.approx(1.05)
    assert high[0] == pytest.approx(2.95)
    assert np.isnan([low[1], high[1]]).all()


def test_memory_stays_small():
    sample = clustered(5, patients=1500)
    tracemalloc.start()
    estimates(sample, draws=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


# --- comparison ------------------------------------------------------------------------------------------


@unhurried
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(b, c):
    first = np.array([True] * b + [False] * c + [True] * 3, bool)
    second = np.array([False] * b + [True] * c + [True] * 3, bool)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (b, c)
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert result.p == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_thousands_of_knees_does_not_overflow():
    right = np.arange(6000) < 3500
    assert 0 < mcnemar(right, ~right).p < 1e-30


def test_bootstrap_p():
    assert bootstrap_p(np.zeros(99)) == 1.0
    assert bootstrap_p(np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.array([-1.0] * 10 + [1.0] * 89)) == pytest.approx(2 * 11 / 100)
    assert bootstrap_p(np.array([-1.0] * 89 + [1.0] * 10 + [np.nan] * 5)) == pytest.approx(2 * 11 / 100)
    assert np.isnan(bootstrap_p(np.array([np.nan])))


def paired(seed, second_skill):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, 300)
    models = []
    for skill in (0.4, second_skill):
        p = rng.dirichlet(np.ones(5), 300) + skill * np.eye(5)[truth]
        p /= p.sum(axis=1, keepdims=True)
        models.append((p, p.argmax(axis=1)))
    return *models, truth, np.repeat(np.arange(150).astype(str), 2)


def test_better_model_is_recognised_and_the_other_way_round():
    first, second, truth, patients = paired(0, 0.9)
    result = compare(first, second, truth, patients, draws=1000)
    for name in ("accuracy", "accuracy_pm1", "qwk", "auc_macro"):
        difference = result[name]
        assert 0 < difference.low < difference.value < difference.high, name
        assert difference.p < 0.01, name
    assert result["mae"].high < 0
    turned = compare(second, first, truth, patients, draws=1000)["qwk"]
    assert turned.value == pytest.approx(-result["qwk"].value)
    assert (turned.low, turned.high) == pytest.approx((-result["qwk"].high, -result["qwk"].low))
    assert turned.p == pytest.approx(result["qwk"].p)


def test_equal_models_have_p_1_and_no_width():
    first, _, truth, patients = paired(1, 0.4)
    qwk = compare(first, first, truth, patients, draws=100)["qwk"]
    assert (qwk.low, qwk.high, qwk.p) == (0.0, 0.0, 1.0)


def test_pairing_narrows_the_interval():
    (p, decided), _, truth, patients = paired(2, 0.4)
    other = decided.copy()
    other[:10] = truth[:10]
    difference = compare((p, decided), (p, other), truth, patients, draws=1000)["accuracy"]
    evaluate = statistics(task_sample("KL", p, decided, truth, patients))
    low, high = percentile_interval(bootstrap(evaluate, 150, draws=1000)["accuracy"])
    assert difference.high - difference.low < 0.5 * (high - low)


def test_false_alarms_stay_near_5_percent():
    alarms = [
        compare(*paired(seed, 0.4), draws=200, seed=seed)["accuracy"].p < 0.05 for seed in range(100, 220)
    ]
    assert np.mean(alarms) < 0.12
