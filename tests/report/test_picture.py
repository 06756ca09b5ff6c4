"""The picture of a knee: what it says, and where evidence is drawn."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from PIL import ImageChops, ImageDraw

from kellgren.errors import KellgrenError
from kellgren.report.picture import draw, headline


@pytest.fixture(scope="module")
def knee(grader, phantom_png):
    (knee,) = grader.grade(phantom_png, side="R", explain=True)
    return knee


@pytest.fixture
def words(monkeypatch):
    """Every text that is drawn."""
    drawn = []
    plain = ImageDraw.ImageDraw.text

    def text(self, at, words, **options):
        drawn.append(words)
        return plain(self, at, words, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return drawn


def test_a_picture_says_what_it_is(knee, words):
    draw(replace(knee, reasons=("unsure",)), made=date(2026, 1, 31))
    shown = "\n".join(words)
    for said in (
        "film.png",
        "Right knee",
        "joint@",
        "2026-01-31",
        "Research use only",
        "Needs a reader: unsure",
    ):
        assert said in shown
    for legend in ("decided grade", "key points", "smallest width", "edges of the bones"):
        assert legend in shown
    assert "0 none" in words
    assert "3 large" in words


def test_a_pseudonym_replaces_the_files_name(knee, words):
    draw(knee, name="subject 7")
    assert "film.png" not in "\n".join(words)
    assert any(line.startswith("subject 7, knee 1") for line in words)


@pytest.mark.parametrize("side", ["R", "L", None])
def test_compartments_are_marked_where_the_side_is_known(knee, words, side):
    draw(replace(knee, side=side, joint_space=None))
    assert (words.count("L"), words.count("M")) == ((3, 3) if side else (0, 0))


def test_a_grade_that_is_not_the_most_probable_says_why(knee, words):
    kl = replace(knee["KL"], grade=1, probabilities=(0.4, 0.3, 0.3, 0.0, 0.0), interval=(0, 2))
    draw(replace(knee, gradings={"KL": kl}))
    assert "the median of the probabilities decides" in words
    assert headline(replace(knee, gradings={"KL": kl})) == "Right knee: KL 1 (doubtful), plausible 0 to 2"


def test_no_evidence_is_drawn_over_air(knee):
    shown = knee.explanation
    view = np.ones_like(shown.view)
    view[:, : view.shape[1] // 2] = 0
    maps = np.zeros_like(shown.maps["KL"])
    maps[knee["KL"].grade] = 1000.0
    blank = replace(shown, view=view, maps={"KL": np.zeros_like(maps)})
    full = replace(shown, view=view, maps={"KL": maps})
    difference = ImageChops.difference(
        draw(replace(knee, explanation=full)), draw(replace(knee, explanation=blank))
    )
    left, _, right, _ = difference.getbbox()
    # the evidence panel is 640 pixels wide and begins at 660; its left half is air
    assert 960 < left < 990
    assert right == 1300


def test_without_an_explanation_there_is_nothing_to_draw(knee):
    with pytest.raises(KellgrenError, match="grade with explain"):
        draw(replace(knee, explanation=None))
