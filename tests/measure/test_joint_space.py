"""Joint space width: drawn joints of known width, in pixels, in millimetres, and bone on bone."""

from itertools import pairwise

import numpy as np
import pytest

from kellgren.errors import BadBundle, NotAKnee
from kellgren.measure import (
    FEMUR_POINTS,
    KEY_POINTS,
    PLATEAU_MM,
    POINTS,
    TIBIA_POINTS,
    Contour,
    ContourModel,
    joint_space,
    measure,
    outline,
    refine,
)
from kellgren.measure.edge import best_paths
from kellgren.measure.frame import frame_of, height_at, smooth

LEFT, RIGHT, LINE = 30.0, 270.0, 160.0


def femur_height(x):
    """Two condyles with a notch between, lowest at LINE."""
    t = (x - LEFT) / (RIGHT - LEFT)
    return LINE - 40.0 * np.exp(-0.5 * ((t - 0.5) / 0.1) ** 2)


def joint(lateral=20.0, medial=14.0, turn=0.0):
    """A contour: flat condyles, a plateau `lateral` and `medial` pixels below them, turned by degrees."""
    fx = np.linspace(LEFT, RIGHT, FEMUR_POINTS)
    tx = np.linspace(LEFT, RIGHT, TIBIA_POINTS)
    femur = np.stack((fx, femur_height(fx)), axis=1)
    gap = np.where(tx < 150, lateral, medial)
    tibia = np.stack((tx, np.maximum(femur_height(tx), LINE - 8) + gap), axis=1)
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Contour(femur @ rotation.T, tibia @ rotation.T, 1.0)


def film(femur_offset=0.0, lateral=20.0, medial=14.0):
    """A crop of it: bone 0.8, joint space 0.2, edges blurred over about a pixel."""
    y, x = np.mgrid[0:299, 0:299].astype(np.float64)
    femur = femur_height(x) + femur_offset
    gap = np.where(x < 150, lateral, medial)
    tibia = np.maximum(femur_height(x), LINE - 8) + gap
    bone = 1 / (1 + np.exp((y - femur) / 0.6)) + 1 / (1 + np.exp((tibia - y) / 0.6))
    return (0.2 + 0.6 * np.clip(bone, 0, 1)).astype(np.float32)


def test_widths_of_a_drawn_joint_in_joint_widths():
    contour = joint()
    space = measure(contour, refine(film(), contour))
    assert space.unit == "width"
    assert space.spacing_source is None
    assert space.medial.mean * contour.width == pytest.approx(14.0, abs=0.25)
    assert space.lateral.mean * contour.width == pytest.approx(20.0, abs=0.25)
    assert space.medial.minimum * contour.width == pytest.approx(14.0, abs=0.4)


def test_widths_in_mm_follow_the_spacing_of_each_axis():
    contour = joint()
    edges = refine(film(), contour)
    square = measure(contour, edges, 0.3, "calibrated")
    oblong = measure(contour, edges, (0.3, 0.45), "detector")
    assert square.unit == "mm"
    assert square.spacing_source == "calibrated"
    assert square.medial.mean == pytest.approx(0.3 * 14.0, abs=0.1)
    # the space is measured downwards: the column spacing stretches the joint, and the area, not the space
    assert oblong.medial.mean == pytest.approx(square.medial.mean)
    assert oblong.medial.area == pytest.approx(1.5 * square.medial.area)
    assert oblong.joint_width == pytest.approx(1.5 * square.joint_width, rel=0.01)
    assert square.medial.area == pytest.approx(square.medial.mean * 0.15 * 0.3 * (RIGHT - LEFT), rel=1e-3)


@pytest.mark.parametrize("spacing", [1.0, 0.6, 0.15, 0.03, (0.3, 3.0)])
def test_millimetres_that_no_knee_has_are_withheld(spacing):
    contour = joint()
    edges = refine(film(), contour)
    plain, withheld = measure(contour, edges), measure(contour, edges, spacing, "calibrated")
    assert (withheld.unit, withheld.spacing_source) == ("width", None)
    assert not PLATEAU_MM[0] <= withheld.withheld_mm <= PLATEAU_MM[1]
    assert withheld.medial == plain.medial
    assert plain.withheld_mm is None


@pytest.mark.parametrize("shift", [-2.5, -1.0, 0.0, 1.0, 2.5])
def test_refinement_finds_the_edge_that_the_contour_missed(shift):
    contour = joint()
    down = np.array([0.0, shift])
    wrong = Contour(contour.femur + down, contour.tibia + down, 1.0)
    edges = refine(film(), wrong)
    inside = (edges.x > 0.7) & (edges.x < 0.9)
    femur = edges.frame.from_frame(edges.x, edges.femur)[inside]
    assert np.abs(femur[:, 1] - femur_height(femur[:, 0])).max() < 0.3


def test_refinement_follows_a_change_of_a_fraction_of_a_pixel():
    contour = joint()
    gaps = []
    for medial in (13.5, 14.0, 14.5):
        space = measure(contour, refine(film(medial=medial), contour))
        gaps.append(space.medial.mean * contour.width)
    assert np.diff(gaps) == pytest.approx([0.5, 0.5], abs=0.12)


def test_exposure_changes_nothing():
    contour, crop = joint(), film()
    plain = measure(contour, refine(crop, contour))
    darker = measure(contour, refine(0.3 * crop + 0.1, contour))
    assert darker.medial.mean == pytest.approx(plain.medial.mean, rel=1e-3)


def test_bone_on_bone_is_zero_and_never_negative():
    contour = joint(lateral=20.0, medial=-3.0)  # points that cross, as two uncertain curves may
    flat = np.full((299, 299), 0.8, np.float32)
    edges = refine(flat, contour)
    space = measure(contour, edges)
    assert (edges.tibia >= edges.femur).all()
    assert space.medial.minimum == 0.0
    assert space.medial.mean == pytest.approx(0.0, abs=1e-9)
    assert space.lateral.mean > 0.05


def test_turning_the_film_changes_nothing():
    straight, turned = joint(), joint(turn=12.0)
    a, b = frame_of(straight.femur), frame_of(turned.femur)
    x = np.linspace(0.1, 0.9, 50)
    heights = [height_at(f.to_frame(smooth(c.tibia)), x) for f, c in ((a, straight), (b, turned))]
    assert b.length == pytest.approx(a.length)
    np.testing.assert_allclose(heights[0], heights[1], atol=1e-9)


def test_frame_goes_there_and_back():
    frame = frame_of(joint(turn=5.0).femur)
    points = np.array([[10.0, 20.0], [200.0, 170.0]])
    inside = frame.to_frame(points)
    np.testing.assert_allclose(frame.from_frame(inside[:, 0], inside[:, 1]), points)
    np.testing.assert_allclose(frame.to_frame(joint(turn=5.0).femur)[[0, -1], 0], [0.0, 1.0], atol=1e-9)


def test_smooth_passes_through_the_points_without_loops():
    points = joint().femur
    curve = smooth(points)
    np.testing.assert_allclose(curve[::12], points)
    assert (np.diff(curve[:, 0]) > 0).all()


def test_best_paths_against_every_path():
    rng = np.random.default_rng(0)
    gain = rng.uniform(size=(2, 4, 5))
    for strip, path in zip(gain, best_paths(gain, 0.2), strict=True):
        options = [p for p in np.ndindex(4, 4, 4, 4, 4) if all(abs(b - a) <= 1 for a, b in pairwise(p))]
        values = [sum(strip[r, c] for c, r in enumerate(p)) - 0.2 * sum(abs(np.diff(p))) for p in options]
        assert tuple(path) == options[int(np.argmax(values))]


def test_outline_lies_on_the_edges_and_turns_with_the_knee():
    contour = joint()
    space = measure(contour, refine(film(), contour))
    lines = outline(space)
    assert len(lines.points) == POINTS
    minimum = np.hypot(*(lines.minima[1][1] - lines.minima[1][0]))
    assert minimum == pytest.approx(space.medial.minimum * contour.width)
    assert (lines.minima[1][:, 0] > 150).all()
    back = lines.mirrored(299)
    assert (back.minima[1][:, 0] < 150).all()
    np.testing.assert_allclose(back.mirrored(299).tibia, lines.tibia)


def test_key_points_and_mirror_of_a_contour():
    contour = joint()
    keys = contour.key_points
    assert len(KEY_POINTS) == len(keys) == 6
    np.testing.assert_allclose(keys[[0, 2, 3, 5], 0], [LEFT, RIGHT, LEFT, RIGHT])
    np.testing.assert_allclose(contour.mirrored(299).femur[0], [298 - LEFT, contour.femur[0, 1]])


class Stub:
    """Finds a given contour."""

    def __init__(self, contour):
        self.contour = contour

    def find(self, crop):
        return self.contour


def test_joint_space_refuses_what_is_no_joint_and_a_spacing_of_unknown_origin():
    contour = joint()
    unsure = Contour(contour.femur, contour.tibia, 0.01)
    with pytest.raises(NotAKnee, match="no joint line"):
        joint_space(film(), Stub(unsure))
    with pytest.raises(ValueError, match="source"):
        joint_space(film(), Stub(contour), 0.2)
    with pytest.raises(ValueError, match="positive"):
        joint_space(film(), Stub(contour), 0.0, "user")


def test_a_grader_is_no_joint_line_bundle():
    from kellgren.model import bundle

    with pytest.raises(BadBundle, match="not a joint-line"):
        ContourModel(bundle.load())
