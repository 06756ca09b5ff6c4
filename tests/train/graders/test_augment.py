"""Random changes: none where none are asked for, exact where they can be, the same for the same seed."""

import dataclasses

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.train.graders.augment import augment  # noqa: E402 - after the check that the extra is there
from kellgren.train.graders.recipe import Augment  # noqa: E402

IMAGE = torch.rand(1, 1, 40, 56, generator=torch.Generator().manual_seed(0))
STRONG = Augment(
    flip=0.5, rotate=10, scale=0.1, crop=0.9, shift=0.05, grid=0.2, contrast=0.3, brightness=0.1, gamma=1.5,
    blur=1.0, noise=0.05,
)  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def variants(image, ranges, n=60, seed=0):
    """(n, H, W) variants of one image, and which were mirrored."""
    images = torch.as_tensor(image).reshape(1, 1, *image.shape[-2:]).expand(n, -1, -1, -1).contiguous()
    changed, flipped = augment({"joint": images}, [ranges] * n, seeded(seed))
    return changed["joint"][:, 0], flipped


@pytest.mark.parametrize("ranges", [Augment(), dataclasses.replace(STRONG, flip=0.0, crop=1.0, chance=0.0)])
def test_no_ranges_or_no_chance_change_nothing(ranges):
    changed, flipped = variants(IMAGE, ranges)
    assert (changed == IMAGE[0]).all()
    assert not flipped.any()


def share_unchanged(**ranges):
    changed, _ = variants(IMAGE[..., :8, :8], Augment(**ranges), n=4000)
    return float((changed == IMAGE[0, :, :8, :8]).flatten(1).all(1).float().mean())


@pytest.mark.parametrize(
    ("transforms", "share"),
    [
        ({"rotate": 10, "scale": 0.1, "shift": 0.05}, 0.5),
        ({"contrast": 0.2, "brightness": 0.2}, 0.5),
        ({"gamma": 1.25}, 0.5),
        ({"grid": 0.3, "gamma": 1.25}, 0.25),
        ({"rotate": 10, "shift": 0.0625, "brightness": 0.2, "contrast": 0.2, "grid": 0.1}, 0.125),
        ({"blur": 2.0, "noise": 0.1}, 0.75**2),
    ],
)
def test_each_transform_draws_its_own_chance(transforms, share):
    """Of 4,000 draws; three standard errors are 0.024."""
    assert share_unchanged(chance=0.5, **transforms) == pytest.approx(share, abs=0.025)
    assert share_unchanged(chance=0.0, **transforms) == 1


@pytest.mark.parametrize("width", [56, 57])
def test_flip_is_an_exact_mirror(width):
    source = torch.rand(1, 1, 40, width, generator=seeded(1))
    changed, flipped = variants(source, Augment(flip=1.0), n=3)
    assert flipped.all()
    assert (changed == source[0].flip(2)).all()


def test_flip_happens_as_often_as_asked_and_is_reported():
    changed, flipped = variants(IMAGE, Augment(flip=0.3), n=300)
    assert float(flipped.float().mean()) == pytest.approx(0.3, abs=0.08)
    for image, mirrored in zip(changed, flipped, strict=True):
        assert (image == (IMAGE[0, 0].flip(1) if mirrored else IMAGE[0, 0])).all()


def test_a_mirrored_knee_moves_like_its_mirror_image():
    """Geometry first, mirror after: flip on or off, the same draws give mirrored pictures."""
    ranges = Augment(rotate=10, scale=0.1, shift=0.05, grid=0.2)
    plain, _ = variants(IMAGE, ranges, n=20)
    mirrored, _ = variants(IMAGE.flip(3), dataclasses.replace(ranges, flip=1.0), n=20)
    torch.testing.assert_close(plain, mirrored, atol=1e-4, rtol=0)


def test_same_seed_same_image_and_argument_unchanged():
    before = IMAGE.clone()
    first, _ = variants(IMAGE, STRONG, seed=5)
    second, _ = variants(IMAGE, STRONG, seed=5)
    other, _ = variants(IMAGE, STRONG, seed=6)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(IMAGE, before)


def test_every_knee_has_ranges_of_its_own():
    images = IMAGE.expand(40, -1, -1, -1).contiguous()
    changed, _ = augment({"joint": images}, [Augment(), STRONG] * 20, seeded())
    assert (changed["joint"][::2] == IMAGE[0]).all()
    assert all(not torch.equal(image, IMAGE[0]) for image in changed["joint"][1::2])


def test_a_knee_is_changed_alike_whatever_is_beside_it():
    """What is not asked of a neighbour is worked out for some knees of the batch alone."""
    images = torch.rand(6, 1, 40, 56, generator=seeded(3))
    ranges = dataclasses.replace(STRONG, noise=0.0)  # grain is drawn for the knees that get any
    together, flips = augment({"joint": images}, [ranges] * 6, seeded())
    mixed, same = augment({"joint": images}, [ranges, Augment(flip=0.5)] * 3, seeded())
    torch.testing.assert_close(mixed["joint"][::2], together["joint"][::2])
    assert torch.equal(flips, same)


def test_black_and_white_stay_so_under_gamma():
    changed, _ = variants(torch.tensor([[0.0, 1.0]]).repeat(8, 4), Augment(gamma=2.5), n=20)
    assert (changed[:, :, ::2] == 0).all()
    assert (changed[:, :, 1::2] == 1).all()


def test_all_views_of_a_knee_are_changed_alike():
    """The same picture at two sizes stays the same picture."""
    small = torch.from_numpy(cv2.resize(smooth(64), (32, 32), interpolation=cv2.INTER_AREA))
    views = {
        "large": torch.from_numpy(smooth(64)).expand(30, 1, -1, -1).contiguous(),
        "small": small.expand(30, 1, -1, -1).contiguous(),
    }
    ranges = dataclasses.replace(STRONG, blur=0.0, noise=0.0)
    changed, _ = augment(views, [ranges] * 30, seeded())
    reduced = torch.nn.functional.avg_pool2d(changed["large"], 2)
    torch.testing.assert_close(reduced, changed["small"], atol=0.04, rtol=0)


def smooth(size):
    y, x = np.mgrid[:size, :size] / size
    return (0.5 + 0.4 * np.sin(5 * x + 1) * np.cos(4 * y)).astype(np.float32)


def test_values_stay_in_range():
    changed, _ = variants(IMAGE, STRONG)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 1


def spot(y, x, size=81):
    rows, columns = np.mgrid[:size, :size]
    return torch.from_numpy(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8).astype(np.float32))


def centres(images):
    grid = torch.arange(images.shape[1], dtype=torch.float32)
    total = images.sum(dim=(1, 2))
    return torch.stack([(images.sum(2) @ grid) / total, (images.sum(1) @ grid) / total], dim=1).numpy()


def test_shift_moves_by_no_more_than_asked():
    changed, _ = variants(spot(40, 40), Augment(shift=0.1))
    offsets = centres(changed) - 40
    assert abs(offsets).max() <= 8.1 + 0.1
    assert abs(offsets).max() > 6
    assert abs(offsets.mean(axis=0)).max() < 2


def test_rotation_and_scale_keep_the_centre_and_turn_no_more_than_asked():
    ranges = Augment(rotate=10, scale=0.1)
    middle, _ = variants(spot(40, 40), ranges)
    np.testing.assert_allclose(centres(middle), 40, atol=0.1)
    beside, _ = variants(spot(40, 65), ranges)
    y, x = (centres(beside) - 40).T
    angles, radii = np.degrees(np.arctan2(y, x)), np.hypot(y, x) / 25
    assert 7 < np.abs(angles).max() <= 10.3
    assert min(radii) >= 0.89
    assert max(radii) <= 1.11
    assert max(radii) - min(radii) > 0.12


def test_rotation_is_rigid_where_sides_differ():
    """A quarter turn of a wide image takes a spot from beside the centre to above or below it."""
    wide = torch.zeros(61, 101)
    wide[30, 65] = 1.0
    turned, _ = variants(wide, Augment(rotate=90), n=200)
    distances = []
    for image in turned:
        y, x = np.unravel_index(int(image.argmax()), image.shape)
        distances.append(np.hypot(y - 30, x - 50))
    assert min(distances) > 13.5
    assert max(distances) < 16.5


def test_a_crop_shows_a_part_of_the_image_whole():
    """On a ramp the first and last column tell where the crop began and ended."""
    ramp = torch.linspace(0, 1, 101).expand(81, -1)
    changed, _ = variants(ramp, Augment(crop=0.6), n=200)
    sides = (changed[:, 40, -1] - changed[:, 40, 0]).numpy()
    assert sides.min() >= 0.59
    assert sides.min() < 0.65
    assert sides.max() <= 1.0
    assert changed[:, 40, 0].max() > 0.2  # not only central ones


def test_grid_distortion_bends_within_the_image():
    ramp = torch.linspace(0, 1, 101).expand(81, -1)
    changed, _ = variants(ramp, Augment(grid=0.5))
    assert float((changed[:, 40, 1:] - changed[:, 40, :-1]).min()) >= -1e-6  # never folds over
    np.testing.assert_allclose(changed[:, 40, 0], 0, atol=0.01)
    np.testing.assert_allclose(changed[:, 40, -1], 1, atol=0.01)
    assert float((changed[:, 40] - ramp[0]).abs().max()) > 0.03


def test_contrast_and_brightness_by_hand():
    flat = torch.full((8, 8), 0.5)  # contrast turns about the middle grey and leaves it
    values = variants(flat, Augment(brightness=0.2, contrast=0.5))[0][:, 0, 0]
    assert values.min() >= 0.3 - 1e-6
    assert values.max() <= 0.7 + 1e-6
    assert values.max() - values.min() > 0.25


def test_gamma_lies_between_its_factor_and_divisor():
    values = variants(torch.full((8, 8), 0.5), Augment(gamma=2.0))[0][:, 0, 0]
    assert values.min() >= 0.25 - 1e-6
    assert values.max() <= 0.5**0.5 + 1e-6
    assert values.min() < 0.35
    assert values.max() > 0.62


def test_blur_is_a_gaussian_for_half_of_the_knees():
    point = torch.zeros(41, 41)
    point[20, 20] = 1.0
    changed, _ = variants(point, Augment(blur=2.0), n=200)
    blurred = [image for image in changed if not torch.equal(image, point)]
    assert 70 < len(blurred) < 130
    grid = torch.arange(41) - 20.0
    for image in blurred:
        variance = float((image.sum(0) * grid**2).sum() / image.sum())
        if variance < 0.3:  # less than half a pixel: the pixels' own grid shows
            continue
        expected = cv2.GaussianBlur(point.numpy(), (0, 0), variance**0.5, borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(image, expected, atol=0.02)


def test_noise_is_no_stronger_than_asked():
    changed, _ = variants(torch.full((64, 64), 0.5), Augment(noise=0.05), n=100)
    deviations = changed.std(dim=(1, 2))
    assert deviations.max() <= 0.053
    assert deviations.max() > 0.04
    assert 30 < int((deviations == 0).sum()) < 70
