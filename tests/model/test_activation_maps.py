"""Where inputs look, and maps laid there: means are kept, nothing is moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kellgren.model import activation_maps, bundle, steps

IMAGE = np.zeros((300, 300), np.float32)
IMAGE[60:180, 200:] = 1.0
REGION = {"step": "region", "top": 0.25, "left": 0.0, "height": 0.5, "width": 1.0}
LEFT, RIGHT = {"step": "patch", "part": "left"}, {"step": "patch", "part": "right"}
MIRROR = {"step": "mirror"}
RESIZE = {"step": "resize", "height": 100, "width": 120}


@pytest.mark.parametrize(
    ("specs", "box"),
    [
        ([], (0, 0, 1, 1)),
        ([RESIZE, {"step": "equalise"}], (0, 0, 1, 1)),
        ([REGION], (0, 0.25, 1, 0.75)),
        ([REGION, RESIZE, REGION], (0, 0.375, 1, 0.625)),
        ([REGION, RIGHT, MIRROR], (0.5, 0.25, 1, 0.75)),
        ([MIRROR, LEFT], (0.5, 0, 1, 1)),
        ([MIRROR, LEFT, MIRROR, LEFT], (0.5, 0, 0.75, 1)),
    ],
)
def test_footprint_follows_the_cuts(specs, box):
    assert activation_maps.footprint(IMAGE, steps.parse(specs)) == pytest.approx(box)


def test_footprint_of_a_cut_by_content_is_where_the_step_cuts():
    cutting = steps.parse([{"step": "density_crop", "share": 0.5}])
    box = activation_maps.footprint(IMAGE, cutting)
    assert box[2] == 1.0  # the bright part lies at the right border
    np.testing.assert_array_equal(activation_maps.cut(IMAGE, box), steps.apply(IMAGE, cutting))


def test_the_packaged_bundle_looks_at_the_middle_band():
    (entry,) = bundle.load().card.inputs
    assert activation_maps.footprint(IMAGE, entry.steps) == pytest.approx(
        (0.0184, 0.241, 0.9816, 0.8296), abs=0.003
    )


def test_views_of_one_place_are_one_and_patches_lie_side_by_side():
    whole, left, right = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
    assert activation_maps.side_by_side([whole, (0.0, 0.01, 1.0, 1.0)]) == (whole,)
    assert activation_maps.side_by_side([right, left]) == (left, right)
    assert activation_maps.union([left, right]) == whole
    assert activation_maps.mirrored((0.1, 0.2, 0.4, 0.9)) == pytest.approx((0.6, 0.2, 0.9, 0.9))


def test_a_map_on_its_own_grid_stays_as_it_is():
    maps = np.random.default_rng(0).normal(size=(5, 6, 9))
    box = (0.1, 0.2, 0.9, 0.7)
    size = activation_maps.grid(box, [(box, (6, 9))])
    assert size == (6, 9)
    np.testing.assert_allclose(activation_maps.lay(maps, box, box, size), maps, atol=1e-12)


def test_a_map_of_a_part_by_hand():
    laid = activation_maps.lay(np.array([[[3.0, 5.0]]]), (0.0, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0), (1, 4))
    np.testing.assert_allclose(laid, [[[6.0, 10.0, 0.0, 0.0]]])


def test_patches_with_a_gap_between_them():
    maps = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    laid = activation_maps.lay_parts(maps, [(0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)])
    np.testing.assert_allclose(laid, [[[1.25, 2.5, 0.0, 3.75, 5.0]]], atol=1e-9)
    joined = activation_maps.lay_parts(maps, [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)])
    np.testing.assert_allclose(joined, maps)


shares = st.floats(0.01, 0.45)


@settings(max_examples=80, deadline=None)
@given(
    edges=st.tuples(shares, shares, shares, shares),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_laying_keeps_the_mean(edges, cells, size):
    maps = np.random.default_rng(1).normal(size=(3, *cells))
    box = (edges[0], edges[1], 1 - edges[2], 1 - edges[3])
    laid = activation_maps.lay(maps, box, (0.0, 0.0, 1.0, 1.0), size)
    assert laid.shape == (3, *size)
    np.testing.assert_allclose(laid.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), atol=1e-9)


def test_a_tiny_place_makes_no_huge_grid():
    assert activation_maps.grid((0.0, 0.0, 1.0, 1.0), [((0.0, 0.0, 1e-6, 1e-6), (8, 8))]) == (128, 128)
