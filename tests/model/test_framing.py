"""Views of a located joint."""

from __future__ import annotations

import numpy as np

from kellgren.model import framing

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


def test_patches_face_the_same_way():
    joint = np.arange(10).reshape(2, 5)
    left, right = framing.patches(joint)
    np.testing.assert_array_equal(left, joint[:, :3])
    np.testing.assert_array_equal(right, joint[:, [4, 3, 2]])


def test_patches_of_a_mirrored_joint_change_places():
    joint = np.arange(12).reshape(2, 6)
    left, right = framing.patches(joint)
    other_left, other_right = framing.patches(joint[:, ::-1])
    np.testing.assert_array_equal(left, other_right)
    np.testing.assert_array_equal(right, other_left)
