import pytest

from kellgren.errors import WrongUse
from kellgren.read.laterality import decide_laterality, side_from_name, side_word, stated_side
from kellgren.read.radiograph import Laterality


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("9000099L.jpg", "L"),
        ("9000099R.png", "R"),
        ("9000099r.png", "R"),
        ("oai_9000099L_v00.dcm", "L"),
        ("case_R.dcm", "R"),
        ("case-left.png", "L"),
        ("RIGHT_KNEE.dcm", "R"),
        ("LeftKnee 3.png", "L"),
        ("knee_r_01.tif", "R"),
        ("R_knee.png", "R"),
        ("123_L_crop.png", "L"),
        ("KNEE RT AP.dcm", "R"),
        ("rknee.png", "R"),
        ("MB00123L.dcm", "L"),
        ("MB00123R_V0.png", "R"),
        ("9000099_R.png", "R"),
        ("KNEE LT.dcm", "L"),
        ("1.2.840.7.L", "L"),
        ("Raster.png", None),
        ("normal.png", None),
        ("bilateral_right.png", None),
        ("left_right.png", None),
        ("knee_L_R.png", None),
        ("R-project-plot.png", None),
        ("upper_left.png", None),
        ("bright.png", None),
        ("lateral.png", None),
        ("kneel.png", None),
        ("L.png", None),
        ("90000991234L.png", None),
        ("left/scan.png", None),
        ("1.2.840.113619.2.5", None),
    ],
)
def test_side_from_name_takes_only_what_stands_apart(name, side):
    assert side_from_name(name) == side


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, Laterality()),
        ({"image_tag": "R"}, Laterality("R", "tag")),
        ({"image_tag": " r "}, Laterality("R", "tag")),
        ({"series_tag": "L"}, Laterality("L", "tag")),
        ({"image_tag": "", "series_tag": "L"}, Laterality("L", "tag")),
        ({"image_tag": "U", "name": "L"}, Laterality("L", "name")),
        ({"image_tag": "LEFT"}, Laterality("L", "tag")),
        ({"image_tag": "B"}, Laterality(both=True)),
        ({"series_tag": "B"}, Laterality(both=True)),
        ({"image_tag": "B", "series_tag": "R", "name": "L"}, Laterality(both=True)),
        ({"image_tag": "R", "series_tag": "B"}, Laterality("R", "tag")),
        ({"name": "R"}, Laterality("R", "name")),
        ({"image_tag": "R", "name": "R", "user": "R"}, Laterality("R", "user")),
        ({"name": "L", "user": "R"}, Laterality("R", "user")),
    ],
)
def test_precedence_is_user_then_tag_then_name(known, expected):
    assert decide_laterality(**known) == expected


@pytest.mark.parametrize(
    "known",
    [
        {"image_tag": "R", "series_tag": "L"},
        {"image_tag": "R", "name": "L"},
        {"series_tag": "L", "name": "R"},
    ],
)
def test_contradicting_sources_leave_the_side_open(known):
    laterality = decide_laterality(**known)
    assert (laterality.side, laterality.source) == (None, None)
    assert laterality.conflict is not None
    assert " R" in laterality.conflict
    assert " L" in laterality.conflict


@pytest.mark.parametrize(
    "known",
    [{"image_tag": "L"}, {"series_tag": "L"}, {"image_tag": "B"}, {"image_tag": "R", "series_tag": "L"}],
)
def test_the_users_word_decides_but_its_contradiction_with_a_tag_is_kept(known):
    laterality = decide_laterality(user="R", name="L", **known)
    assert (laterality.side, laterality.source) == ("R", "user")
    assert laterality.conflict


@pytest.mark.parametrize(
    ("words", "side"),
    [
        (("R", "r", "Right", "RIGHT", " RT ", "1", "1.0", "1: Right", "right knee"), "R"),
        (("L", "l", "Left", "LEFT", "LT", "2", "2.0", "2: Left", "LKNEE"), "L"),
        (("B", "both", "Bilateral"), "B"),
        (("", "U", "3", "0", "unpaired", "rl", "leftright", None, "1.5"), None),
    ],
)
def test_words_for_a_side(words, side):
    assert {side_word(word) for word in words} == {side}


def test_the_callers_word():
    assert [stated_side(word) for word in ("left", "RT", None)] == ["L", "R", None]
    for word in ("both", "north", ""):
        with pytest.raises(WrongUse, match="neither right nor left"):
            stated_side(word)


@pytest.mark.parametrize("tag", ["LEFT", "Left", "LT", "L"])
def test_a_tag_in_words_contradicts_as_its_letter_does(tag):
    assert decide_laterality(image_tag=tag, user="R").conflict == "the user says R, the laterality tag says L"
    assert decide_laterality(series_tag=tag, image_tag="RIGHT").conflict
    assert decide_laterality(image_tag=tag, name="R").conflict
