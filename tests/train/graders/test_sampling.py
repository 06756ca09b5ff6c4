"""Orders of an epoch: what they hold, and that they can be had again."""

import numpy as np
import pytest

from kellgren.train.graders import sampling

GRADES = np.array([0] * 10 + [1] * 4 + [2] * 3 + [-1] * 2)


@pytest.mark.parametrize("way", ["natural", "balanced"])
def test_same_seed_and_epoch_same_order(way):
    first = sampling.order(GRADES, way, seed=1, epoch=2)
    np.testing.assert_array_equal(first, sampling.order(GRADES, way, seed=1, epoch=2))
    assert not np.array_equal(first, sampling.order(GRADES, way, seed=1, epoch=3))
    assert not np.array_equal(first, sampling.order(GRADES, way, seed=2, epoch=2))


def test_natural_shows_each_knee_once():
    assert sorted(sampling.order(GRADES, "natural", seed=0, epoch=0)) == list(range(len(GRADES)))


def test_balanced_shows_each_grade_as_often():
    order = sampling.order(GRADES, "balanced", seed=0, epoch=0)
    shown, counts = np.unique(GRADES[order], return_counts=True)
    assert dict(zip(shown.tolist(), counts.tolist(), strict=True)) == {-1: 2, 0: 10, 1: 10, 2: 10}
    times = np.bincount(order, minlength=len(GRADES))
    assert set(times[10:14].tolist()) == {2, 3}
    assert set(times[14:17].tolist()) == {3, 4}
