"""Sides of the knees of a film."""

from __future__ import annotations

import pytest

from kellgren.grade.side import orient, shown
from kellgren.read.radiograph import Laterality

UNKNOWN = Laterality()


def one(stated, shown):
    """The only knee of a film whose image shows a side."""
    (orientation,) = orient(stated, [lambda: shown])
    return orientation


def several(stated, shown, layout="auto"):
    return orient(stated, [lambda side=side: side for side in shown], layout)


@pytest.mark.parametrize(
    ("right", "side"),
    [(None, None), (0.9, "R"), (1.0, "R"), (0.89, None), (0.5, None), (0.11, None), (0.05, "L")],
)
def test_one_look_is_believed_where_it_is_certain(right, side):
    assert shown(right) == side


def unasked():
    raise AssertionError("the image was asked")


@pytest.mark.parametrize("stated", [Laterality("L", "name"), Laterality(conflict="tag says R, name says L")])
def test_the_image_is_not_asked_where_the_side_is_settled(stated):
    assert orient(stated, [unasked])[0].side == stated.side


@pytest.mark.parametrize(("layout", "sides"), [("standard", ["R", "L"]), ("mirrored", ["L", "R"])])
def test_the_users_layout_settles_two_knees(layout, sides):
    orientations = orient(UNKNOWN, [unasked, unasked], layout)
    assert [o.side for o in orientations] == sides
    assert {o.source for o in orientations} == {"user"}


def test_a_layout_of_two_knees_says_nothing_of_one():
    assert orient(UNKNOWN, [lambda: "L"], "standard")[0].source == "image"


def test_the_files_word_comes_first():
    assert one(Laterality("R", "tag"), "L").side == "R"
    assert one(Laterality("R", "tag"), "L").source == "tag"


def test_the_image_where_the_file_is_silent():
    found = one(UNKNOWN, "L")
    assert (found.side, found.source, found.reasons) == ("L", "image", ())


def test_nobody_knows():
    found = one(UNKNOWN, None)
    assert (found.side, found.source) == (None, None)
    assert "--side" in found.reasons[0]


def test_a_conflict_is_flagged_and_not_settled_by_the_image():
    found = one(Laterality(conflict="tag says R, name says L"), "L")
    assert found.side is None
    assert found.reasons == ("tag says R, name says L",)


def test_two_knees_by_the_image():
    assert [(o.side, o.source, o.reasons) for o in several(UNKNOWN, ["R", "L"])] == [
        ("R", "image", ()),
        ("L", "image", ()),
    ]


@pytest.mark.parametrize(("images", "sides"), [((None, "L"), ["R", "L"]), (("R", None), ["R", "L"])])
def test_the_other_knee_is_the_other_side(images, sides):
    assert [o.side for o in several(UNKNOWN, images)] == sides


def test_two_unknown_knees_are_not_guessed_from_their_order():
    found = several(UNKNOWN, [None, None])
    assert [o.side for o in found] == [None, None]
    assert all("side unknown" in o.reasons[0] for o in found)


def test_a_mirrored_film_is_flagged():
    assert all("mirrored" in o.reasons[0] for o in several(UNKNOWN, ["L", "R"]))


def test_two_right_knees_are_flagged():
    assert all("both knees look like right" in o.reasons[0] for o in several(UNKNOWN, ["R", "R"]))


def test_one_stated_side_cannot_be_both_knees():
    found = several(Laterality("R", "tag"), ["R", "L"])
    assert [o.side for o in found] == ["R", "L"]
    assert all("side R by tag, but the film shows 2 knees" in o.reasons for o in found)
