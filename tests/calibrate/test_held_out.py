"""What is fitted on the held-out fold: which calibrator, which rule, and what of it reaches the card."""

import json

import numpy as np
import pytest

import stub_bundle
from contract import validate
from kellgren.calibrate.held_out import HeldOut, fit_calibration
from kellgren.model import bundle
from kellgren.model.calibrators import Dirichlet, Temperature
from logits_samples import simulated


def observed(seed=0, n=1500):
    """Answers of a network of which KL is too sure, FL takes grade 1 for 2, and OA was never read."""
    kl, kl_truth = simulated(seed, n=n, sharpened=2.0)
    fl, fl_truth = simulated(seed + 1, n=n, classes=4)
    fl = fl[:, [0, 2, 1, 3]]
    return HeldOut(
        logits={"KL": kl, "FL": fl, "OA": kl[:, :2]},
        truth={"KL": kl_truth, "FL": fl_truth, "OA": np.full(n, -1)},
        patients=(np.arange(n) // 2).astype(str),
        distances=np.full(n, np.nan),
        agreements=np.full(n, np.nan),
    )


@pytest.mark.parametrize("method", ["temperature", "best"])
def test_a_map_is_taken_only_where_it_is_allowed_and_better(tmp_path, method):
    knees = observed()
    decision, calibration = fit_calibration(knees, {}, {3}, method=method)
    assert set(decision) == {"KL", "FL"}
    document = calibration.model_dump(mode="json", exclude_unset=True)
    tasks = {"KL": 5, "FL": 4, "FM": 4, "OA": 2, "SIDE": 2}
    card = stub_bundle.card(tasks=tasks, calibration=document)
    folder = stub_bundle.write_bundle(tmp_path, card)
    validate("card", json.loads((folder / bundle.CARD).read_text(encoding="utf-8")))
    calibrators = bundle.load(folder).card.calibration.calibrators
    assert isinstance(calibrators["KL"], Temperature)
    assert calibrators["KL"].value == pytest.approx(2.0, rel=0.1)
    assert isinstance(calibrators["FL"], Dirichlet if method == "best" else Temperature)
    assert ("dirichlet" in document) == (method == "best")
    assert "OA" not in calibrators
    figures = document["fitted"]["figures"]
    assert set(figures) == {"KL", "FL"}
    right = (calibrators["FL"].probabilities(knees.logits["FL"]).argmax(axis=1) == knees.truth["FL"]).mean()
    if method == "best":
        assert figures["FL"]["nll"] < figures["FL"]["nll_before"] - 0.3
        assert right > 0.55
    else:  # a temperature cannot put grades right
        assert right < 0.5


def test_a_rule_that_is_named_is_kept():
    rules, _ = fit_calibration(observed(), {"FL": "argmax", "OA": "median"}, {0})
    assert rules["FL"] == "argmax"
    assert rules["OA"] == "median"


def test_a_map_that_gains_less_than_its_error_is_not_taken():
    """With few knees a map of thirty numbers fits noise: it is seldom taken."""
    taken = 0
    for seed in range(12):
        knees = observed(seed, n=60)
        _, calibration = fit_calibration(knees, {}, {0}, method="best")
        taken += "KL" in calibration.dirichlet
    assert taken <= 3
