"""Each step against arithmetic done another way, and what a card may say of them."""

import inspect
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kellgren.errors import BadBundle
from kellgren.model import steps

PARAMETERS = {
    "percentile_range": {"low": 1.0, "high": 99.0},
    "invert": {},
    "equalise": {},
    "clahe": {"clip": 2.0, "tiles": 4},
    "gaussian_laplacian": {"sigma": 1.2, "weight": 0.5},
    "laplacian_sharpen": {"sigma": 1.2, "weight": 0.5},
    "density_crop": {"share": 0.7},
    "mirror": {},
    "patch": {"part": "left", "width": 0.4},
    "region": {"top": 0.1, "left": 0.2, "height": 0.5, "width": 0.6},
    "resize": {"height": 23, "width": 41},
    "normalise": {"mean": 0.4, "std": 0.2},
}

images = arrays(
    np.float32,
    st.tuples(st.integers(8, 24), st.integers(8, 24)),
    elements=st.floats(0, 1, width=32),
)


def noise(height=48, width=40, seed=0):
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def test_every_step_is_exercised_here():
    assert PARAMETERS.keys() == steps.STEPS.keys()


@pytest.mark.parametrize("name", steps.STEPS)
@settings(max_examples=25, deadline=None)
@given(image=images)
def test_argument_is_left_as_it_was(name, image):
    before = image.copy()
    result = steps.apply(image, steps.parse([{"step": name, **PARAMETERS[name]}]))
    np.testing.assert_array_equal(image, before)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.ndim == 2
    assert np.isfinite(result).all()
    if name != "normalise":
        assert result.min() >= 0
        assert result.max() <= 1


@pytest.mark.parametrize("name", steps.STEPS)
def test_same_image_twice_gives_the_same_twice(name):
    spec = steps.parse([{"step": name, **PARAMETERS[name]}])
    np.testing.assert_array_equal(steps.apply(noise(), spec), steps.apply(noise(), spec))


def quantile(values, percent):
    """Percentile by linear interpolation between order statistics, in double precision."""
    ordered = np.sort(values.astype(np.float64).ravel())
    place = percent / 100 * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def test_percentile_range_stretches_between_order_statistics():
    image = noise() * np.float32(0.6) + np.float32(0.1)
    low, high = quantile(image, 2.5), quantile(image, 90)
    result = steps.percentile_range(image, low=2.5, high=90)
    np.testing.assert_allclose(result, np.clip((image - low) / (high - low), 0, 1), atol=2e-6)
    assert (result == 0).mean() == pytest.approx(0.025, abs=0.002)
    assert (result == 1).mean() == pytest.approx(0.10, abs=0.002)


@settings(max_examples=25, deadline=None)
@given(slope=st.floats(0.05, 1.0), seed=st.integers(0, 50))
def test_percentile_range_forgets_slope_and_offset(slope, seed):
    image = noise(seed=seed)
    moved = np.float32(slope) * image + np.float32((1 - slope) / 2)
    np.testing.assert_allclose(
        steps.percentile_range(moved, low=1, high=99),
        steps.percentile_range(image, low=1, high=99),
        atol=2e-5,
    )


def test_percentile_range_of_a_flat_image_is_zero():
    flat = np.full((9, 9), 0.7, np.float32)
    assert not steps.percentile_range(flat, low=1, high=99).any()


def test_invert():
    image = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(steps.invert(image), np.array([[1.0, 0.75], [0.5, 0.0]], np.float32))


def cumulative_levels(levels, *, from_first):
    """Look-up table of histogram equalisation: the cumulative share of each level, as 0 .. 255."""
    counts = np.bincount(levels.ravel(), minlength=256)
    cumulative = counts.cumsum()
    first = counts[np.flatnonzero(counts)[0]] if from_first else 0
    return np.clip((cumulative - first) / (levels.size - first) * 255, 0, 255)


def test_equalise_maps_each_level_to_its_cumulative_share():
    levels = np.rint(np.random.default_rng(2).beta(2, 5, (60, 50)) * 200 + 20).astype(np.uint8)
    result = steps.equalise(levels.astype(np.float32) / 255) * 255
    np.testing.assert_allclose(result, cumulative_levels(levels, from_first=True)[levels], atol=0.51)
    assert result.min() == 0
    assert result.max() == pytest.approx(255, abs=1e-4)


def test_equalise_by_hand():
    levels = np.array([[10, 10, 20, 20], [20, 30, 30, 30]], np.float32)
    # cumulative 2, 5, 8 of 8; less the first level's 2: 0, 3/6, 6/6
    expected = np.array([[0, 0, 128, 128], [128, 255, 255, 255]], np.float32)
    np.testing.assert_allclose(steps.equalise(levels / 255) * 255, expected, atol=1e-4)


def test_clahe_without_a_limit_on_one_tile_is_the_cumulative_histogram():
    levels = np.random.default_rng(3).integers(40, 180, (64, 64)).astype(np.uint8)
    result = steps.clahe(levels.astype(np.float32) / 255, clip=256.0, tiles=1) * 255
    np.testing.assert_allclose(result, cumulative_levels(levels, from_first=False)[levels], atol=0.51)


def test_clahe_corner_depends_on_its_own_tile_alone():
    levels = np.random.default_rng(4).integers(40, 180, (64, 64)).astype(np.uint8)
    result = steps.clahe(levels.astype(np.float32) / 255, clip=256.0, tiles=2) * 255
    table = cumulative_levels(levels[:32, :32], from_first=False)
    np.testing.assert_allclose(result[:16, :16], table[levels[:16, :16]], atol=0.51)
    elsewhere = levels.copy()
    elsewhere[32:, 32:] = 200
    again = steps.clahe(elsewhere.astype(np.float32) / 255, clip=256.0, tiles=2) * 255
    np.testing.assert_array_equal(again[:16, :16], result[:16, :16])


def test_clahe_limit_holds_contrast_back():
    bump = np.full((64, 64), 0.5, np.float32)
    bump[:, 32:] += 0.02
    strong = np.ptp(steps.clahe(bump, clip=40.0, tiles=1))
    weak = np.ptp(steps.clahe(bump, clip=1.0, tiles=1))
    assert strong > 5 * weak


def blurred(image, sigma):
    radius = round(sigma * 8 + 1) // 2
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    rows = np.pad(image.astype(np.float64), radius, mode="edge")
    rows = np.apply_along_axis(np.convolve, 0, rows, kernel, "valid")
    return np.apply_along_axis(np.convolve, 1, rows, kernel, "valid")


def test_gaussian_laplacian_without_edges_is_the_gaussian():
    image = noise()
    result = steps.gaussian_laplacian(image, sigma=1.0, weight=0.0)
    np.testing.assert_allclose(result, blurred(image, 1.0), atol=1e-5)


def test_gaussian_laplacian_adds_edges_by_hand():
    image = np.full((9, 9), 0.5, np.float32)
    image[4, 4] = 0.54
    # A Gaussian this narrow is the identity; the Laplacian's kernel is -4 in the middle, 1 beside it.
    result = steps.gaussian_laplacian(image, sigma=0.1, weight=0.5)
    expected = np.full((9, 9), 0.5)
    expected[4, 4] = 0.54 + 0.5 * 4 * 0.04
    for y, x in ((3, 4), (4, 3), (4, 5), (5, 4)):
        expected[y, x] = 0.5 - 0.5 * 0.04
    np.testing.assert_allclose(result, expected, atol=1e-6)


def edges(image):
    """Mean |Laplacian|, by slices."""
    inner = image[1:-1, 1:-1]
    around = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    return float(np.abs(around - 4 * inner).mean())


def test_sharpening_sharpens_where_adding_to_the_smoothed_image_blurs():
    """On simulated crops at the network's resolution, this step alone."""
    from kellgren.simulate import draw_crop

    gain, blurred_gain = [], []
    for kl in range(5):
        drawn = draw_crop(np.random.default_rng(kl), KL=kl, side="R", size=299)
        crop = steps.resize(steps.unit_range(drawn.pixels), height=160, width=160)
        gain.append(edges(steps.laplacian_sharpen(crop)) / edges(crop))
        blurred_gain.append(edges(steps.gaussian_laplacian(crop)) / edges(crop))
    assert min(gain) >= 1.2
    assert max(blurred_gain) < 1


def test_sharpening_adds_edges_by_hand():
    image = np.full((9, 9), 0.5, np.float32)
    image[4, 4] = 0.54
    result = steps.laplacian_sharpen(image, sigma=0.1, weight=0.5)
    assert result[4, 4] == pytest.approx(0.54 + 0.5 * 4 * 0.04, abs=1e-6)
    assert result[3, 4] == pytest.approx(0.5 - 0.5 * 0.04, abs=1e-6)
    np.testing.assert_array_equal(steps.laplacian_sharpen(image, weight=0.0), image)


def test_gaussian_laplacian_leaves_a_ramp_alone_and_stays_in_range():
    ramp = np.tile(np.linspace(0.2, 0.8, 30, dtype=np.float32), (20, 1))
    np.testing.assert_allclose(steps.gaussian_laplacian(ramp)[6:-6, 6:-6], ramp[6:-6, 6:-6], atol=1e-5)
    step = np.zeros((20, 20), np.float32)
    step[:, 10:] = 1
    result = steps.gaussian_laplacian(step, weight=3.0)
    assert result.min() == 0
    assert result.max() == 1


@pytest.mark.parametrize(
    ("place", "corner"),
    [((30, 50), (20, 40)), ((3, 3), (0, 0)), ((57, 97), (40, 80)), ((3, 70), (0, 60))],
)
def test_density_crop_centres_on_the_bright_spot(place, corner):
    height, width, side = 60, 100, 20
    y, x = np.mgrid[:height, :width]
    image = np.where((abs(y - place[0] + 0.5) < 3) & (abs(x - place[1] + 0.5) < 3), 1.0, 0.0).astype(
        np.float32
    )
    image += (y * width + x).astype(np.float32) * np.float32(1e-9)  # every pixel knows its place
    result = steps.density_crop(image, share=side / height)
    top, left = corner
    np.testing.assert_array_equal(result, image[top : top + side, left : left + side])


def test_density_crop_counts_only_what_is_brighter_than_the_median():
    image = np.full((60, 60), 0.3, np.float32)
    image[40:44, 14:18] = 0.9
    np.testing.assert_array_equal(steps.density_crop(image, share=1 / 3), image[32:52, 6:26])


def test_density_crop_of_nothing_is_the_middle():
    flat = np.zeros((11, 21), np.float32)
    flat[5, 10] = -1.0  # below the median: no density, but it marks the middle
    result = steps.density_crop(flat, share=3 / 11)
    assert result.shape == (3, 3)
    assert result[1, 1] == -1.0


def test_density_crop_of_everything_is_the_square():
    image = noise(30, 30)
    np.testing.assert_array_equal(steps.density_crop(image, share=1.0), image)


@settings(max_examples=50, deadline=None)
@given(image=images, share=st.floats(0.05, 1.0))
def test_density_crop_is_a_square_of_the_image(image, share):
    result = steps.density_crop(image, share=share)
    side = max(1, round(share * min(image.shape)))
    assert result.shape == (side, side)


def test_mirror_twice_is_nothing():
    image = noise()
    assert steps.mirror(image)[3, 0] == image[3, -1]
    np.testing.assert_array_equal(steps.mirror(steps.mirror(image)), image)


def test_patches_are_the_two_sides():
    image = np.arange(20, dtype=np.float32).reshape(2, 10)
    left, right = steps.patch(image, part="left", width=0.3), steps.patch(image, part="right", width=0.3)
    np.testing.assert_array_equal(left, image[:, [0, 1, 2]])
    np.testing.assert_array_equal(right, image[:, [7, 8, 9]])
    np.testing.assert_array_equal(steps.patch(image, part="right", width=1.0), image)
    np.testing.assert_array_equal(steps.patch(image, part="left", width=0.01), image[:, :1])


@settings(max_examples=50, deadline=None)
@given(image=images, width=st.floats(0.1, 1.0))
def test_right_patch_is_the_mirrored_left_patch_of_the_mirror(image, width):
    np.testing.assert_array_equal(
        steps.mirror(steps.patch(image, part="right", width=width)),
        steps.patch(steps.mirror(image), part="left", width=width),
    )


def test_region_by_hand():
    image = np.arange(200, dtype=np.float32).reshape(10, 20)
    result = steps.region(image, top=0.2, left=0.25, height=0.3, width=0.5)
    np.testing.assert_array_equal(result, image[2:5, 5:15])
    np.testing.assert_array_equal(steps.region(image, top=0, left=0, height=1, width=1), image)


def test_resize_to_the_same_size_changes_nothing():
    image = noise(31, 17)
    np.testing.assert_array_equal(steps.resize(image, height=31, width=17), image)


def test_resize_averages_when_it_shrinks():
    image = noise(24, 36)
    blocks = image.reshape(12, 2, 12, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(steps.resize(image, height=12, width=12), blocks, atol=1e-6)


def test_resize_interpolates_when_it_grows():
    image = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    row = [0.0, 0.25, 0.75, 1.0]  # centres of the new pixels lie at -1/4, 1/4, 3/4, 5/4
    np.testing.assert_allclose(steps.resize(image, height=4, width=4), np.tile(row, (4, 1)), atol=1e-6)


def test_normalise():
    result = steps.normalise(np.array([[0.0, 0.5, 1.0]], np.float32), mean=0.5, std=0.25)
    np.testing.assert_array_equal(result, np.array([[-2.0, 0.0, 2.0]], np.float32))


def test_apply_runs_the_steps_in_order():
    image = noise(20, 20)
    mirror, patch = steps.parse([{"step": "mirror"}, {"step": "patch", "part": "left", "width": 0.25}])
    there = steps.apply(image, [mirror, patch])
    np.testing.assert_array_equal(there, image[:, ::-1][:, :5])
    back = steps.apply(image, [patch, mirror])
    np.testing.assert_array_equal(back, image[:, :5][:, ::-1])
    np.testing.assert_array_equal(steps.apply(image, []), image)


def test_every_step_is_parsed():
    parsed = steps.parse([{"step": name, **values} for name, values in PARAMETERS.items()])
    assert [step.step for step in parsed] == list(PARAMETERS)
    assert [dict(step.parameters) for step in parsed] == list(PARAMETERS.values())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"step": "sharpen"}, ["unknown step 'sharpen'", "gaussian_laplacian", "clahe"]),
        ({"name": "mirror"}, ["step", "Field required"]),
        ("mirror", ["valid dictionary"]),
        ({"step": 3}, ["step", "valid string"]),
        ({"step": "gaussian_laplacian", "sigma": 1e5}, ["'gaussian_laplacian'", "sigma", "10"]),
        ({"step": "gaussian_laplacian", "sigma": 0.0}, ["'gaussian_laplacian'", "sigma"]),
        ({"step": "clahe", "clip": 2.0, "tiles": 0}, ["'clahe'", "tiles", "1"]),
        ({"step": "clahe", "clip": float("inf")}, ["finite"]),
        ({"step": "resize", "height": 10**9, "width": 3}, ["'resize'", "height", "2048"]),
        ({"step": "resize", "height": True, "width": 3}, ["valid"]),
        ({"step": "resize", "height": "3", "width": 3}, ["'resize'", "height", "integer"]),
        ({"step": "normalise", "mean": float("nan"), "std": 0.5}, ["mean", "finite"]),
        ({"step": "normalise", "mean": 0.5, "std": 0}, ["'normalise'", "std"]),
        ({"step": "percentile_range", "low": 99.0, "high": 1.0}, ["low is not below high"]),
        ({"step": "region", "top": 0.5, "left": 0, "height": 0.6, "width": 1}, ["beyond the image"]),
        ({"step": "patch", "part": "middle"}, ["'patch'", "part", "left"]),
        ({"step": "density_crop", "share": -0.1}, ["'density_crop'", "share"]),
        ({"step": "resize", "height": 10}, ["step 'resize'", "width"]),
        ({"step": "normalise", "mean": 0.5, "std": 0.5, "gain": 2}, ["step 'normalise'", "gain"]),
        ({"step": "invert", "image": 3}, ["step 'invert'", "image"]),
    ],
)
def test_parse_says_which_step_is_wrong_and_how(spec, words):
    with pytest.raises(BadBundle) as caught:
        steps.parse([{"step": "mirror"}, spec])
    for word in words:
        assert re.search(re.escape(word), str(caught.value)), word


def test_steps_take_their_image_first_and_the_rest_by_name():
    for name, step in steps.STEPS.items():
        first, *rest = inspect.signature(step).parameters.values()
        assert first.name == "image", name
        assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in rest), name


def test_unit_range_reaches_from_nought_to_one():
    pixels = np.array([[0, 65535, 13107]], np.uint16)
    np.testing.assert_allclose(steps.unit_range(pixels), [[0, 1, 0.2]], atol=1e-7)
    assert steps.unit_range(pixels).dtype == np.float32


@pytest.mark.parametrize(
    ("side", "convention", "expected"),
    [
        ("L", "as_right", True),
        ("R", "as_right", False),
        (None, "as_right", False),
        ("L", "none", False),
        ("R", "none", False),
    ],
)
def test_only_left_knees_are_mirrored_and_only_by_convention(side, convention, expected):
    assert steps.mirrors(side, convention) is expected
