"""Test-time looks: which there are, and what each shows."""

from __future__ import annotations

import numpy as np
import pytest

from kellgren.model import tta
from kellgren.model.tta import Look, see

RAMP = np.tile(np.linspace(0.0, 1.0, 101, dtype=np.float32), (81, 1))


@pytest.mark.parametrize(
    ("listed", "count"), [((), 1), (("flip",), 2), (("framing",), 9), (("flip", "framing"), 10)]
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_plain_view_is_first_and_none_comes_twice(listed, count, mirrored):
    seen = tta.looks(listed, mirrored=mirrored)
    assert seen[0] == Look(mirrored)
    assert seen[0].plain
    assert len(set(seen)) == len(seen) == count


def test_framings_lie_evenly_around_the_crop_and_both_ways():
    seen = [look for look in tta.looks(("flip", "framing"), mirrored=False) if not look.plain]
    assert sum(look.mirrored for look in seen) == len(seen) / 2
    for way in (False, True):
        own = [look for look in seen if look.mirrored == way]
        assert sum(look.right for look in own) == sum(look.down for look in own) == 0
        assert sum(look.size for look in own) == pytest.approx(len(own))


def test_the_plain_view_is_the_crop_bit_for_bit():
    assert see(RAMP, Look(mirrored=False)) is RAMP
    np.testing.assert_array_equal(see(RAMP, Look(mirrored=True)), RAMP[:, ::-1])


def test_a_framing_shows_the_part_that_it_says():
    """On a ramp from 0 to 1 over 101 columns, brightness tells the column: position / 100."""
    seen = see(RAMP, Look(mirrored=False, size=0.5, right=0.1))
    centre = 50 + 0.1 * 101
    np.testing.assert_allclose(seen[:, 50], centre / 100, atol=1e-3)
    np.testing.assert_allclose(seen[:, 0], (centre - 25) / 100, atol=1e-3)
    np.testing.assert_allclose(seen[40, 100], (centre + 25) / 100, atol=1e-3)


def test_down_is_down_and_the_border_goes_on():
    column = np.ascontiguousarray(RAMP.T)
    seen = see(column, Look(mirrored=False, size=1.2, down=0.05))
    centre = 50 + 0.05 * 101
    np.testing.assert_allclose(seen[50], centre / 100, atol=1e-3)
    np.testing.assert_allclose(seen[100], 1.0)
    np.testing.assert_allclose(seen[0], 0.0, atol=1e-6)


def test_a_mirrored_look_is_the_look_at_the_mirrored_crop_bit_for_bit():
    noise = np.random.default_rng(0).random((64, 80), dtype=np.float32)
    for look in tta.looks(("flip", "framing"), mirrored=True):
        other = Look(not look.mirrored, look.size, look.right, look.down)
        np.testing.assert_array_equal(see(noise, look), see(np.ascontiguousarray(noise[:, ::-1]), other))
