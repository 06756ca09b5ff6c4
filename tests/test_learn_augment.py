"""Random changes: none where none are asked for, exact where they can be, the same for the same seed."""

import numpy as np
import pytest

pytestmark = pytest.mark.train
pytest.importorskip("yaml")

from kellgren.learn.augment import augment  # noqa: E402 - after the check that the extra is there
from kellgren.learn.recipe import Augment  # noqa: E402

IMAGE = np.random.default_rng(0).random((40, 56), dtype=np.float32)
STRONG = Augment(0.5, 10, 0.1, 0.05, 0.3, 0.1, 1.5, 1.0, 0.05)


def seeded(seed=0):
    return np.random.default_rng(seed)


def test_no_ranges_change_nothing():
    for seed in range(20):
        image, flipped = augment(IMAGE, Augment(), seeded(seed))
        np.testing.assert_array_equal(image, IMAGE)
        assert not flipped


@pytest.mark.parametrize("width", [56, 57])
def test_flip_is_an_exact_mirror(width):
    source = np.random.default_rng(1).random((40, width), dtype=np.float32)
    image, flipped = augment(source, Augment(flip=1.0), seeded())
    assert flipped
    np.testing.assert_array_equal(image, source[:, ::-1])


def test_flip_happens_as_often_as_asked_and_is_reported():
    outcomes = [augment(IMAGE, Augment(flip=0.3), seeded(seed)) for seed in range(300)]
    assert np.mean([flipped for _, flipped in outcomes]) == pytest.approx(0.3, abs=0.08)
    for image, flipped in outcomes[:30]:
        np.testing.assert_array_equal(image, IMAGE[:, ::-1] if flipped else IMAGE)


def test_same_seed_same_image_and_argument_unchanged():
    before = IMAGE.copy()
    first, _ = augment(IMAGE, STRONG, seeded(5))
    second, _ = augment(IMAGE, STRONG, seeded(5))
    other, _ = augment(IMAGE, STRONG, seeded(6))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(IMAGE, before)


def test_values_stay_in_range():
    for seed in range(40):
        image, _ = augment(IMAGE, STRONG, seeded(seed))
        assert image.shape == IMAGE.shape
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1


def spot(y, x):
    grid_y, grid_x = np.mgrid[:81, :81]
    return np.exp(-((grid_y - y) ** 2 + (grid_x - x) ** 2) / 8).astype(np.float32)


def centre(image):
    grid = np.arange(81)
    return float(image.sum(axis=1) @ grid / image.sum()), float(image.sum(axis=0) @ grid / image.sum())


def test_shift_moves_by_no_more_than_asked():
    moved = [centre(augment(spot(40, 40), Augment(shift=0.1), seeded(s))[0]) for s in range(60)]
    offsets = np.array(moved) - 40
    assert abs(offsets).max() <= 8.1 + 0.1
    assert abs(offsets).max() > 6
    assert abs(offsets.mean(axis=0)).max() < 2


def test_rotation_and_scale_keep_the_centre_and_turn_no_more_than_asked():
    angles, radii = [], []
    for seed in range(60):
        middle, _ = augment(spot(40, 40), Augment(rotate=10, scale=0.1), seeded(seed))
        assert centre(middle) == pytest.approx((40, 40), abs=0.1)
        image, _ = augment(spot(40, 65), Augment(rotate=10, scale=0.1), seeded(seed))
        y, x = centre(image)
        angles.append(np.degrees(np.arctan2(y - 40, x - 40)))
        radii.append(np.hypot(y - 40, x - 40) / 25)
    assert 7 < np.abs(angles).max() <= 10.3
    assert min(radii) >= 0.89
    assert max(radii) <= 1.11
    assert max(radii) - min(radii) > 0.12


def test_contrast_and_brightness_by_hand():
    flat = np.full((8, 8), 0.5, np.float32)  # contrast turns about the middle grey and leaves it
    values = [
        float(augment(flat, Augment(brightness=0.2, contrast=0.5), seeded(s))[0][0, 0]) for s in range(60)
    ]
    assert min(values) >= 0.3 - 1e-6
    assert max(values) <= 0.7 + 1e-6
    assert max(values) - min(values) > 0.25


def test_gamma_lies_between_its_factor_and_divisor():
    flat = np.full((8, 8), 0.5, np.float32)
    values = [float(augment(flat, Augment(gamma=2.0), seeded(s))[0][0, 0]) for s in range(60)]
    assert min(values) >= 0.25 - 1e-6
    assert max(values) <= 0.5**0.5 + 1e-6
    assert min(values) < 0.35
    assert max(values) > 0.62
