"""An assessment in a notebook: dictionary, data frame, short words, and a picture."""

import base64
import io
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

import kellgren


@pytest.fixture(scope="module")
def knees(grader, phantom_png):
    return [grader.grade(phantom_png, side="R", explain=explain)[0] for explain in (False, True)]


def test_the_package_shows_what_it_offers():
    assert {"load", "Grader", "WrongUse", "to_frame"} <= set(dir(kellgren))
    assert all(hasattr(kellgren, name) for name in dir(kellgren))


def test_words_are_short(grader, knees):
    knee, explained = knees
    assert repr(knee).startswith("Assessment(right knee, KL ")
    assert repr(knee["KL"]).startswith(f"Grading(KL {knee['KL'].grade}")
    assert repr(grader).startswith("Grader(joint@")
    assert all(len(repr(thing)) < 200 for thing in (knee, explained, explained.explanation, grader))


def test_tasks_are_iterated(knees):
    knee = knees[0]
    assert list(knee)[:2] == ["KL", "OA"]
    assert len(knee) == len(list(knee))
    assert all(task in knee for task in knee)
    assert "SIDE" not in knee


def test_a_knee_as_a_dictionary(knees):
    row = knees[0].to_dict()
    assert (row["file"], row["side"], row["KL"]) == ("film.png", "R", knees[0]["KL"].grade)
    assert row["reason"] == (knees[0].reason or None)
    assert row["JSW_unit"] in ("width", None)
    assert not {"root", "image_sha256"} & row.keys()


def test_knees_as_a_data_frame(knees, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert kellgren.to_frame(knees) == [knee.to_dict() for knee in knees]


def test_a_data_frame_without_pandas_is_a_typed_error(knees, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(kellgren.KellgrenError, match="pip install pandas"):
        kellgren.to_frame(knees)


def test_html_is_a_table_or_the_picture(knees):
    table, picture = (knee._repr_html_() for knee in knees)
    assert "<table>" in table
    assert "Kellgren-Lawrence grade" in table
    encoded = picture.partition("base64,")[2].partition('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size[0] > 1000
    assert 'alt="Right knee: KL' in picture
