"""Figures of localisers."""

from __future__ import annotations

import numpy as np
import pytest

from kellgren.evaluate import detection

TRUTH = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
POINTS = np.tile(np.array([[0.0, 5], [5, 5], [10, 5], [0, 6], [5, 6], [10, 6]]), (2, 1, 1))


def test_each_box_and_each_joint_is_spent_once():
    given = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    result = detection.judge("film", "patient", (given, np.zeros((3, 6, 2))), (TRUTH, POINTS))
    np.testing.assert_allclose(result.overlaps, [1, 0])
    assert result.false == 2


def test_errors_are_shares_of_the_true_width():
    given = TRUTH + np.array([1.0, 0, 2, 1])
    result = detection.judge("film", "patient", (given, POINTS + np.array([0.3, 0.4])), (TRUTH, POINTS))
    np.testing.assert_allclose(result.centre, 100 * np.hypot(1.5, 0.5) / 10)
    np.testing.assert_allclose(result.scale, 10)
    np.testing.assert_allclose(result.points, 100 * 0.5 / 10)


def test_unknown_points_stay_unknown():
    result = detection.judge("f", "p", (TRUTH, POINTS), (TRUTH, np.full((2, 6, 2), np.nan)))
    figures = detection.figures([result])
    assert figures["points_percent"]["value"] is None
    assert figures["iou"]["value"] == 1.0


def test_figures_count():
    none = (np.empty((0, 4)), np.empty((0, 6, 2)))
    films = [
        detection.judge("a", "1", (TRUTH, POINTS), (TRUTH, POINTS)),
        detection.judge("b", "2", none, (TRUTH, POINTS)),
        detection.judge("c", "3", (TRUTH[:1], POINTS[:1]), none),
    ]
    figures = detection.figures(films)
    assert (figures["films"], figures["knees"], figures["found"], figures["false"]) == (3, 4, 2, 1)
    assert figures["accuracy"]["value"] == 0.5


def test_wilson_against_the_published_example():
    # Newcombe, Stat Med 1998;17:857, table I: 81 of 263 gives 0.2553 to 0.3662
    estimate = detection.wilson(81, 263)
    assert estimate.low == pytest.approx(0.2553, abs=1e-4)
    assert estimate.high == pytest.approx(0.3662, abs=1e-4)


def test_wilson_at_one_is_not_a_point():
    assert detection.wilson(100, 100).low < 0.97
