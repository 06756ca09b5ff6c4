"""Every figure against hand-computed cases, scikit-learn as the independent reference, and its own laws."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from kellgren.errors import BadDataset
from kellgren.evaluate import discrimination, metrics
from kellgren.evaluate.task_metrics import OF_CONFUSION, PER_GRADE, assemble_metrics, task_sample

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LABELS = list(range(5))


def sample(seed, n=200, classes=5, absent=()):
    rng = np.random.default_rng(seed)
    grades = [k for k in range(classes) if k not in absent]
    truth = rng.choice(grades, n)
    probabilities = rng.dirichlet(np.ones(classes), n) + 0.8 * np.eye(classes)[truth]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return truth, probabilities.argmax(axis=1), probabilities


grade_pairs = hnp.arrays(np.int64, st.tuples(st.just(2), st.integers(1, 60)), elements=st.integers(0, 4))


# --- confusion matrix and what follows from it -----------------------------------------------------------


def test_confusion_has_rows_of_truth():
    truth, decided = np.array([0, 0, 2]), np.array([0, 1, 1])
    assert metrics.confusion_matrix(truth, decided, 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("truth", "decided"), [([0, 5], [0, 1]), ([0, 1], [-1, 1]), ([0, -1], [0, 0]), ([0, 1, 2], [0, 1])]
)
def test_confusion_refuses_what_it_cannot_count(truth, decided):
    with pytest.raises(ValueError, match=r"truth|decided"):
        metrics.confusion_matrix(np.array(truth), np.array(decided), 5)


def test_hand_computed():
    # Read 0 0 0 1 1 2, decided 0 0 1 1 3 2 on a scale 0 .. 3.
    c = metrics.confusion_matrix(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 3, 2]), 4)
    assert metrics.accuracy(c) == pytest.approx(4 / 6)
    assert metrics.accuracy_pm1(c) == pytest.approx(5 / 6)
    assert metrics.mae(c) == pytest.approx(3 / 6)
    assert metrics.mse(c) == pytest.approx(5 / 6)
    assert metrics.balanced_accuracy(c) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert metrics.majority_accuracy(c) == pytest.approx(3 / 6)
    # Always answering 1 is within one grade of everything; always answering 0 is not.
    assert metrics.majority_pm1(c) == pytest.approx(1.0)
    np.testing.assert_allclose(metrics.precision(c), [1, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(metrics.recall(c), [2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(metrics.f1(c), [4 / 5, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(metrics.accuracy_ovr(c), [5 / 6, 4 / 6, 1, np.nan])
    assert metrics.f1_weighted(c) == pytest.approx((3 * 0.8 + 2 * 0.5 + 1) / 6)
    # Expected squared disagreement: rows (3 2 1 0), columns (2 2 1 1) of 6.
    expected = (3 * (2 * 0 + 2 * 1 + 1 * 4 + 1 * 9) + 2 * (2 + 0 + 1 + 4) + 1 * (8 + 2 + 0 + 1)) / 36
    assert metrics.qwk(c) == pytest.approx(1 - (5 / 6) / expected)
    assert metrics.kappa(c) == pytest.approx((4 / 6 - 11 / 36) / (1 - 11 / 36))


def test_kappa_counts_an_absent_grade_in_the_distance():
    # Grade 2 absent. Over all 16 pairs of a read and a decided grade the squared differences sum to 80, so
    # 5 is expected; 1 is observed. Numbering only the grades met makes that 2.5 and 0.25.
    truth, decided = np.array([0, 1, 3, 4]), np.array([0, 3, 3, 4])
    ours = metrics.qwk(metrics.confusion_matrix(truth, decided, 5))
    assert ours == pytest.approx(1 - 1 / 5)
    assert ours == pytest.approx(
        reference.cohen_kappa_score(truth, decided, labels=LABELS, weights="quadratic")
    )
    assert reference.cohen_kappa_score(truth, decided, weights="quadratic") == pytest.approx(1 - 0.25 / 2.5)


def test_kappa_of_one_grade_throughout_is_undefined():
    c = metrics.confusion_matrix(np.full(4, 2), np.full(4, 2), 5)
    assert np.isnan(metrics.qwk(c))
    assert np.isnan(metrics.kappa(c))
    assert metrics.accuracy(c) == 1.0


def test_grade_that_is_read_but_never_decided_has_precision_0():
    c = metrics.confusion_matrix(np.array([0, 1]), np.array([0, 0]), 2)
    assert metrics.precision(c).tolist() == [0.5, 0.0]
    assert metrics.macro(metrics.precision(c)) == 0.25


def test_majority_pm1_picks_the_best_constant_not_the_most_frequent():
    truth = np.array([0] * 4 + [2] * 3 + [4] * 3)
    c = metrics.confusion_matrix(truth, truth, 5)
    assert metrics.majority_accuracy(c) == 0.4
    assert metrics.majority_pm1(c) == 0.7  # grade 1 reaches 0 and 2


@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_confusion_figures_agree_with_scikit_learn(seed, absent):
    truth, decided, _ = sample(seed, absent=absent)
    c = metrics.confusion_matrix(truth, decided, 5)
    np.testing.assert_array_equal(c, reference.confusion_matrix(truth, decided, labels=LABELS))
    present = sorted(set(truth.tolist()))
    p, r, f, _ = reference.precision_recall_fscore_support(truth, decided, labels=present, zero_division=0)
    for ours, theirs in ((metrics.precision(c), p), (metrics.recall(c), r), (metrics.f1(c), f)):
        np.testing.assert_allclose(ours[present], theirs)
        assert np.isnan(np.delete(ours, present)).all()
        assert metrics.macro(ours) == pytest.approx(theirs.mean())
    weighted = reference.f1_score(truth, decided, labels=LABELS, average="weighted", zero_division=0)
    assert metrics.f1_weighted(c) == pytest.approx(weighted)
    assert metrics.accuracy(c) == pytest.approx(reference.accuracy_score(truth, decided))
    assert metrics.balanced_accuracy(c) == pytest.approx(np.mean(r))
    assert metrics.mae(c) == pytest.approx(reference.mean_absolute_error(truth, decided))
    assert metrics.mse(c) == pytest.approx(reference.mean_squared_error(truth, decided))
    for ours, weights in ((metrics.qwk, "quadratic"), (metrics.kappa, None)):
        theirs = reference.cohen_kappa_score(truth, decided, labels=LABELS, weights=weights)
        assert ours(c) == pytest.approx(theirs)
    for k in present:
        assert metrics.accuracy_ovr(c)[k] == pytest.approx(np.mean((truth == k) == (decided == k)))


@unhurried
@given(grade_pairs)
def test_figures_keep_their_ranges_and_order(pairs):
    c = metrics.confusion_matrix(*pairs, 5)
    for name, figure in {**OF_CONFUSION, **PER_GRADE}.items():
        value = figure(c)
        defined = value[~np.isnan(value)] if np.ndim(value) else np.atleast_1d(value)
        top = {"mae": 4, "mse": 16}.get(name, 1)
        low = -1 if name in ("qwk", "kappa") else 0
        assert np.all(np.isnan(defined) | ((defined >= low - 1e-12) & (defined <= top + 1e-12))), name
    assert metrics.accuracy(c) <= metrics.accuracy_pm1(c)
    assert metrics.majority_accuracy(c) <= metrics.majority_pm1(c)
    assert metrics.mae(c) <= metrics.mse(c)


@unhurried
@given(grade_pairs)
def test_kappas_do_not_care_who_reads_nor_from_which_end(pairs):
    for figure in (metrics.qwk, metrics.kappa):
        value = figure(metrics.confusion_matrix(*pairs, 5))
        np.testing.assert_allclose(value, figure(metrics.confusion_matrix(*pairs[::-1], 5)), atol=1e-12)
        np.testing.assert_allclose(value, figure(metrics.confusion_matrix(*(4 - pairs), 5)), atol=1e-12)


def test_many_matrices_at_once_give_what_each_gives_alone():
    rng = np.random.default_rng(0)
    many = rng.integers(0, 9, (7, 4, 4))
    many[0, 1] = 0
    for name, figure in {**OF_CONFUSION, **PER_GRADE}.items():
        np.testing.assert_allclose(figure(many), [figure(one) for one in many], err_msg=name)


# --- AUC -------------------------------------------------------------------------------------------------


def test_auc_by_hand_with_a_tie():
    # Pairs: (.8 > .1), (.8 > .4), (.4 > .1), (.4 = .4 counts one half).
    assert discrimination.auc([0.1, 0.4, 0.4, 0.8], [False, True, False, True]) == pytest.approx(3.5 / 4)


@settings(unhurried, max_examples=60)
@given(st.data())
def test_auc_agrees_with_scikit_learn_on_ties_and_weights(data):
    n = data.draw(st.integers(2, 40))
    scores = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)), float)
    positive = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), float)
    ours = discrimination.weighted_auc(
        discrimination.rank(scores, positive), np.stack([np.ones(n), weights], axis=1)
    )
    for value, weight in zip(ours, (np.ones(n), weights), strict=True):
        if weight[positive].sum() == 0 or weight[~positive].sum() == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(
                reference.roc_auc_score(positive, scores, sample_weight=weight), abs=1e-12
            )


def test_auc_per_grade_agrees_with_scikit_learn_and_is_nan_for_an_absent_grade():
    truth, _, probabilities = sample(3, absent=(1,))
    ours = discrimination.auc_per_grade(probabilities, truth)
    assert np.isnan(ours[1])
    for k in (0, 2, 3, 4):
        assert ours[k] == pytest.approx(reference.roc_auc_score(truth == k, probabilities[:, k]))


@unhurried
@given(hnp.arrays(np.float64, 20, elements=st.floats(-5, 5)), hnp.arrays(np.bool_, 20))
def test_auc_turns_round_with_the_scores(scores, positive):
    np.testing.assert_allclose(
        discrimination.auc(scores, positive), 1 - discrimination.auc(-scores, positive), atol=1e-12
    )


# --- probabilities ---------------------------------------------------------------------------------------


def test_ece_by_hand():
    # Bins of 1/15: .95 and 1.0 share the last (mean .975, accuracy .5), .5 lies alone and is right.
    confidence, correct = np.array([0.95, 1.0, 0.5]), np.array([1.0, 0.0, 1.0])
    expected = (2 * abs(0.5 - 0.975) + abs(1 - 0.5)) / 3
    assert metrics.expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_bins_hold_their_upper_edge():
    members = metrics.bin_members(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0, 1.0 + 1e-12]))
    assert members.argmax(axis=1).tolist() == [0, 0, 1, 14, 14]
    assert (members.sum(axis=1) == 1).all()


def test_top1_is_about_the_most_probable_grade():
    confidence, correct = metrics.top1(np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]), np.array([1, 2]))
    assert confidence.tolist() == [0.5, 0.6]
    assert correct.tolist() == [1.0, 0.0]


def test_calibration_null_is_passed_by_a_calibrated_model_19_times_in_20():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1.0, 300)
    bound = metrics.null_calibration_error(confidence, draws=4000, seed=1)
    assert bound == metrics.null_calibration_error(confidence, draws=4000, seed=1)
    errors = [
        metrics.expected_calibration_error(confidence, (rng.random(300) < confidence).astype(float))
        for _ in range(2000)
    ]
    assert np.mean(np.array(errors) > bound) == pytest.approx(0.05, abs=0.02)
    boastful = (rng.random(300) < confidence - 0.25).astype(float)
    assert metrics.expected_calibration_error(confidence, boastful) > bound


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_nll_and_brier_agree_with_scikit_learn(classes):
    truth, _, p = sample(5, classes=classes)
    labels = list(range(classes))
    assert metrics.nll(p, truth) == pytest.approx(reference.log_loss(truth, p, labels=labels))
    by_hand = np.mean([sum((p[i, k] - (truth[i] == k)) ** 2 for k in labels) for i in range(len(truth))])
    assert metrics.brier(p, truth) == pytest.approx(by_hand)
    if classes == 2:
        assert metrics.brier(p, truth) == pytest.approx(2 * reference.brier_score_loss(truth, p[:, 1]))


def test_nll_of_a_certain_error_is_finite():
    assert metrics.nll(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(36.04, abs=0.01)


# --- metrics.json ----------------------------------------------------------------------------------------


def assembled(**changes):
    truth, decided, p = sample(0, n=60)
    arguments = {
        "probabilities": {"KL": p},
        "decided": {"KL": decided},
        "truth": {"KL": truth},
        "patients": np.repeat(np.arange(30).astype(str), 2),
        **changes,
    }
    return assemble_metrics(
        **arguments, split="val", test_looks=0, data_sha256="0" * 64, model="m@1", draws=200
    )


def test_assembled_values_are_those_of_the_plain_functions():
    truth, decided, p = sample(0, n=60)
    kl = assembled()["KL"]
    c = metrics.confusion_matrix(truth, decided, 5)
    assert kl["confusion"] == c.tolist()
    for name, figure in OF_CONFUSION.items():
        assert kl[name]["value"] == pytest.approx(float(figure(c))), name
    for name, figure in PER_GRADE.items():
        assert [grade["value"] for grade in kl[name]] == pytest.approx(figure(c).tolist()), name
    assert kl["auc_ge3"]["value"] == pytest.approx(reference.roc_auc_score(truth >= 3, p[:, 3:].sum(axis=1)))
    assert kl["auc_macro"]["value"] == pytest.approx(
        reference.roc_auc_score(truth, p, multi_class="ovr", average="macro")
    )
    assert kl["nll"]["value"] == pytest.approx(metrics.nll(p, truth))
    assert kl["brier"]["value"] == pytest.approx(metrics.brier(p, truth))
    assert kl["ece"]["value"] == pytest.approx(metrics.expected_calibration_error(*metrics.top1(p, truth)))


def test_missing_readings_are_dropped_not_grade_0():
    truth, decided, p = sample(0, n=60)
    hidden = np.where(np.arange(60) < 20, -1, truth)
    # What stands in the probabilities of an unread knee cannot matter.
    p[:20] = np.nan
    kl = assembled(truth={"KL": hidden}, probabilities={"KL": p})["KL"]
    assert kl["n"] == 40
    assert kl["confusion"] == metrics.confusion_matrix(truth[20:], decided[20:], 5).tolist()


def test_a_task_does_not_depend_on_its_company():
    truth, decided, p = sample(0, n=60)
    both = assembled(
        probabilities={"KL": p, "OA": np.stack([p[:, :2].sum(1), p[:, 2:].sum(1)], axis=1)},
        decided={"KL": decided, "OA": (decided >= 2).astype(int)},
        truth={"OA": (truth >= 2).astype(int), "KL": truth},
    )
    assert both["KL"] == assembled()["KL"]
    assert both["OA"]["auc_macro"]["value"] == pytest.approx(both["KL"]["auc_ge2"]["value"])


def test_task_without_readings_is_refused():
    with pytest.raises(BadDataset, match="no knee has a reading of KL"):
        assembled(truth={"KL": np.full(60, -1)})


def test_reading_outside_the_grades_is_refused():
    with pytest.raises(BadDataset, match=r"KL readings 5 \.\. 5"):
        assembled(truth={"KL": np.full(60, 5)})


@pytest.mark.parametrize("spoil", ["nan", "sum", "negative", "short", "decided"])
def test_arrays_that_do_not_fit_are_refused(spoil):
    truth, decided, p = sample(0, n=60)
    if spoil == "nan":
        p[3] = np.nan
    elif spoil == "sum":
        p[3] *= 1.1
    elif spoil == "negative":
        p[3] = (-0.5, 1.5, 0, 0, 0)
    elif spoil == "short":
        p = p[:-1]
    else:
        decided = decided - 1
    with pytest.raises(ValueError, match="KL"):
        task_sample("KL", p, decided, truth, np.arange(60).astype(str))
