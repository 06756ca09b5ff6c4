"""Boxes, windows, cascade and framing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kellgren import locate, simulate
from kellgren.errors import BadBundle, NotAKnee
from kellgren.locate import boxes, joint_crops, windows
from kellgren.model import bundle


@pytest.fixture(scope="module")
def cascade():
    return locate.load()


@pytest.fixture(scope="module")
def two_knees():
    return simulate.draw_film(np.random.default_rng(3), knees=2, view="ap", hardware="none", inverted=False)


def test_iou_of_known_overlaps():
    given = np.array([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    others = np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])
    np.testing.assert_allclose(boxes.iou(given, others), [[2 / 6, 0], [0, 0]])


def test_suppress_keeps_the_best_of_a_heap():
    heap = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    np.testing.assert_array_equal(boxes.suppress(heap, np.array([0.5, 0.9, 0.1]), 0.5), [1, 2])


def test_offsets_and_moved_are_inverse():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (8, 2))
    places = np.concatenate([corner, corner + rng.uniform(5, 20, (8, 1))], axis=1)
    truth = places + rng.normal(0, 2, places.shape)
    np.testing.assert_allclose(boxes.moved(places, boxes.offsets(places, truth)), truth)


def test_squared_keeps_centre_and_mean_side():
    np.testing.assert_allclose(boxes.squared(np.array([[0.0, 0, 4, 2]])), [[0.5, -0.5, 3.5, 2.5]])


def test_cut_pads_what_lies_beyond_the_film():
    image = np.full((10, 10), 200, np.uint8)
    shown, box = windows.cut(image, np.array([-4.0, 2, 4, 10]), 8)
    np.testing.assert_array_equal(box, [-4, 2, 4, 10])
    assert (shown[:, :4] == 0).all()
    assert (shown[:, 4:] == 200).all()


def test_cut_outside_the_film_is_black():
    shown, _ = windows.cut(np.full((10, 10), 9, np.uint8), np.array([50.0, 50, 60, 60]), 5)
    assert not shown.any()


def test_standardised_windows_do_not_know_their_exposure():
    rng = np.random.default_rng(1)
    window = rng.uniform(20, 100, (1, 30, 30)).astype(np.float32)
    np.testing.assert_allclose(windows.standardised(window), windows.standardised(window * 2 + 7), atol=1e-5)


def test_pyramid_goes_from_the_smallest_box_to_one_as_large_as_the_film():
    image, scale = windows.searchable(np.zeros((1000, 800), np.uint16), 46)
    assert 46 / scale == pytest.approx(windows.SMALLEST * 800)
    sizes = [size for _, size, _ in windows.pyramid(image, 46)]
    largest = 46 / (scale * sizes[-1])
    assert largest * 1.01 >= 800 * windows.FACTOR
    assert largest <= 800 / windows.FACTOR * 1.01


def test_small_images_are_not_blown_up_without_limit():
    image, scale = windows.searchable(np.zeros((64, 64), np.uint8), 46)
    assert scale == 2.0
    assert image.shape == (128, 128)


def test_finds_both_knees_of_a_simulated_film(cascade, two_knees):
    joints = cascade.find(two_knees.pixels)
    truth = np.array([knee.box for knee in two_knees.knees])
    assert len(joints) == 2
    overlap = boxes.iou(np.array([joint.box for joint in joints]), truth)
    assert overlap[0, 0] > 0.7
    assert overlap[1, 1] > 0.7


def test_key_points_lie_near_the_drawn_ones(cascade, two_knees):
    for joint, knee in zip(cascade.find(two_knees.pixels), two_knees.knees, strict=True):
        drawn = knee.key_points
        drawn = drawn if knee.side == "R" else drawn[[2, 1, 0, 5, 4, 3]]
        error = np.hypot(*(joint.points - drawn).T) / np.ptp(drawn[:, 0])
        assert np.median(error) < 0.06


@pytest.mark.parametrize("view", ["lateral", "shaft"])
def test_films_without_a_front_view_show_no_knee(cascade, view):
    found = [
        len(cascade.find(simulate.draw_film(np.random.default_rng([9, i]), view=view, inverted=False).pixels))
        for i in range(6)
    ]
    assert sum(found) <= 1


def test_same_joints_at_half_the_exposure(cascade, two_knees):
    dim = (two_knees.pixels // 2).astype(np.uint16)
    for bright, dark in zip(cascade.find(two_knees.pixels), cascade.find(dim), strict=True):
        assert boxes.iou(bright.box[None], dark.box[None])[0, 0] > 0.95


def test_a_film_is_cut_into_its_joints(cascade, two_knees):
    framed = joint_crops(two_knees.pixels, "auto", cascade, Path("film.png"))
    assert len(framed) == 2
    assert not any(joint.is_image for joint in framed)
    for joint in framed:
        x0, y0, x1, y1 = (int(c) for c in joint.box)
        assert joint.pixels.shape == (y1 - y0, x1 - x0)


def test_a_square_filled_by_one_joint_is_a_crop(cascade, two_knees):
    crop = two_knees.crop(0)
    (only,) = joint_crops(crop, "auto", cascade, Path("crop.png"))
    assert only.is_image
    np.testing.assert_array_equal(only.box, [0, 0, 299, 299])


def test_a_square_film_of_two_knees_is_a_film(cascade, two_knees):
    height, width = two_knees.pixels.shape
    side = max(height, width)
    square = np.zeros((side, side), np.uint16)
    square[:height, :width] = two_knees.pixels
    framed = joint_crops(square, "auto", cascade, Path("film.png"))
    assert [joint.is_image for joint in framed] == [False, False]


def test_an_image_without_a_knee_is_refused(cascade):
    noise = np.random.default_rng(0).integers(0, 65535, (700, 500)).astype(np.uint16)
    with pytest.raises(NotAKnee, match="no knee joint"):
        joint_crops(noise, "auto", cascade, Path("noise.png"))


@pytest.mark.parametrize(("shape", "times"), [((401, 100), 4), ((100, 1201), 12)])
def test_a_ribbon_is_no_film(shape, times, cascade):
    with pytest.raises(NotAKnee, match=f"{times} times as long"):
        joint_crops(np.zeros(shape, np.uint16), "auto", cascade, Path("ribbon.png"))


@pytest.mark.parametrize("share", [0.45, 0.55, 0.7])
def test_a_strip_across_the_joints_is_graded_like_the_film(share, cascade, two_knees):
    boxes = np.array([knee.box for knee in two_knees.knees])
    side = float((boxes[:, 2] - boxes[:, 0]).mean())
    middle = float((boxes[:, 1] + 0.53 * (boxes[:, 3] - boxes[:, 1])).mean())
    top = round(middle - share * side / 2)
    strip = np.ascontiguousarray(two_knees.pixels[top : round(middle + share * side / 2)])
    crops = joint_crops(strip, "auto", cascade, Path("strip.png"))
    assert len(crops) == 2
    for crop, box in zip(crops, boxes, strict=True):
        assert not crop.cut_off
        assert np.abs(np.add(crop.box, [0, top, 0, top]) - box).max() < 0.12 * side
        assert (crop.pixels.max(axis=1) > 0).all()  # nothing is left black above and below


def test_a_joint_cut_off_by_the_edge_is_told(cascade, two_knees):
    x0, y0, x1, _ = two_knees.knees[0].box
    width = x1 - x0
    part = two_knees.pixels[max(0, int(y0 + 0.44 * width)) :, : int(x1 + 0.2 * width)]
    framed = joint_crops(np.ascontiguousarray(part), "film", cascade, Path("film.png"))
    assert framed[0].cut_off


def test_a_bundle_of_another_kind_is_no_localiser():
    with pytest.raises(BadBundle, match="is a grader, not a localiser"):
        locate.load(bundle.DEFAULT)


def test_wrong_settings_are_the_bundles_error(tmp_path):
    folder = tmp_path / "locate"
    shutil.copytree(str(bundle.packaged()[locate.DEFAULT]), folder)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    for key, value in (("window1", None), ("proposals", 0), ("accept", float("nan"))):
        settings = {**card["localiser"], key: value}
        (folder / "card.json").write_text(json.dumps({**card, "localiser": settings}), encoding="utf-8")
        with pytest.raises(BadBundle, match=f"localiser.{key}|not JSON: NaN"):
            locate.load(str(folder))
