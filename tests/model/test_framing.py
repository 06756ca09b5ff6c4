"""Views of a located joint."""

from __future__ import annotations

import numpy as np
import pytest

from kellgren.model import framing, steps

FILM = np.arange(200 * 100, dtype=np.uint16).reshape(200, 100)


def test_square_inside_the_film_is_the_film():
    shown, box = framing.square(FILM, np.array([10.2, 20.4, 50.2, 60.4]))
    np.testing.assert_array_equal(shown, FILM[20:60, 10:50])
    np.testing.assert_array_equal(box, [10, 20, 50, 60])


def test_square_beyond_the_film_is_black():
    shown, box = framing.square(FILM, np.array([-10.0, 180, 30, 220]))
    np.testing.assert_array_equal(box, [-10, 180, 30, 220])
    np.testing.assert_array_equal(shown[:20, 10:], FILM[180:200, 0:30])
    assert not shown[20:].any()
    assert not shown[:, :10].any()


def test_main_joint_has_the_papers_height():
    # key points span 40 columns and rows 100 .. 110: 0.2 of 40 is added on either side
    points = np.array([[30.0, 100], [50, 105], [70, 100], [30, 110], [50, 104], [70, 110]])
    shown, box = framing.main_joint(FILM, np.array([25.0, 80, 75, 130]), points)
    np.testing.assert_array_equal(box, [25, 92, 75, 118])
    np.testing.assert_array_equal(shown, FILM[92:118, 25:75])


@pytest.mark.parametrize("place", [(-5, -5), (95, 190), (-200, 0), (0, 400), (3, 4)])
def test_a_window_is_black_beyond_the_edge(place):
    left, top = place
    part = framing.window(FILM, left, top, 12, 9)
    padded = np.pad(FILM, 500)
    np.testing.assert_array_equal(part, padded[500 + top : 509 + top, 500 + left : 512 + left])


PATCH_LEFT = {"step": "patch", "part": "left"}
PATCH_RIGHT = {"step": "patch", "part": "right", "width": 0.4}
MIRROR = {"step": "mirror"}
CLAHE = {"step": "clahe", "clip": 2.0}


@pytest.mark.parametrize(
    ("lines", "view"),
    [
        ([], "joint"),
        ([MIRROR], "joint"),
        ([CLAHE], "clahe"),
        ([PATCH_LEFT], "left_patch"),
        ([CLAHE, PATCH_RIGHT, MIRROR], "right_patch"),
        ([MIRROR, PATCH_LEFT], "right_patch"),
        ([MIRROR, MIRROR, PATCH_LEFT], "left_patch"),
    ],
)
def test_a_view_is_what_its_steps_show(lines, view):
    parsed = steps.parse(lines)
    assert framing.view_of(parsed) == view
    framing.check_view(view, parsed)
    for other in ("left_patch", "right_patch", "clahe", "film"):
        if other != view and (lines or other != "film"):
            with pytest.raises(ValueError, match="steps"):
                framing.check_view(other, parsed)


def test_a_joint_may_be_equalised_but_not_halved():
    framing.check_view("joint", steps.parse([CLAHE]))
    band = {"step": "region", "top": 0.25, "left": 0.0, "height": 0.5, "width": 1.0}
    framing.check_view("main_joint", steps.parse([CLAHE, band]))
    with pytest.raises(ValueError, match="no region"):
        framing.check_view("main_joint", steps.parse([CLAHE]))
    for view in ("joint", "main_joint"):
        with pytest.raises(ValueError, match="left_patch"):
            framing.check_view(view, steps.parse([PATCH_LEFT]))
