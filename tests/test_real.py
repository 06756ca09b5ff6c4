"""The default bundle on real crops of the validation split, where the data folder is given."""

import numpy as np
import pytest

from kellgren.data import load
from kellgren.evaluate.detection import figures as detection_figures
from kellgren.evaluate.detection import judge
from kellgren.grade.assessment import Assessment

pytestmark = pytest.mark.real

A_GRADE = 12
"""Knees of each KL grade: always guessing one grade is right for a fifth of them."""


@pytest.fixture(scope="module")
def graded(real_data, grader):
    """60 knees in fixed places of the split, and what the bundle says of them."""
    validation = load(real_data / "kneekl299").select(split="val")
    pairs = []
    for grade in range(5):
        knees = [knee for knee in validation if knee.grade("KL") == grade]
        for place in np.linspace(0, len(knees) - 1, A_GRADE).astype(int):
            knee = knees[place]
            (assessment,) = grader.grade_bytes(knee.image.read_bytes(), knee.name, side=knee.side)
            pairs.append((knee, assessment))
    return pairs


def test_every_crop_is_graded_as_a_crop(graded):
    assert len(graded) == 5 * A_GRADE
    assert len({knee.name for knee, _ in graded}) == 5 * A_GRADE
    for knee, assessment in graded:
        assert isinstance(assessment, Assessment)
        assert assessment.side == knee.side
        assert {"KL", "OA", "JSN_M"} <= set(assessment.gradings)


def test_kl_is_clearly_better_than_guessing(graded):
    truth = np.array([knee.grade("KL") for knee, _ in graded])
    decided = np.array([assessment["KL"].grade for _, assessment in graded])
    assert (truth == decided).mean() > 0.35
    assert (abs(truth - decided) <= 1).mean() > 0.7
    assert np.corrcoef(truth, decided)[0, 1] > 0.6


def test_oa_probability_separates(graded):
    with_oa = [a["OA"].probabilities[1] for knee, a in graded if knee.grade("KL") >= 2]
    without = [a["OA"].probabilities[1] for knee, a in graded if knee.grade("KL") < 2]
    auc = np.mean([[p > q for q in without] for p in with_oa])
    assert auc > 0.75


def test_intervals_hold_the_reading_about_as_often_as_they_say(graded):
    inside = [a["KL"].interval[0] <= knee.grade("KL") <= a["KL"].interval[1] for knee, a in graded]
    assert np.mean(inside) > 0.7  # nominal 0.9 on the cohort's mixture of grades, not on this one


def test_right_names_are_hardly_ever_contradicted(graded):
    contradicted = [any("other knee" in reason for reason in a.reasons) for _, a in graded]
    assert np.mean(contradicted) <= 0.05


def test_side_head_tells_the_side_without_a_name(graded, grader):
    """Given the image alone, right and left knees are told apart, and never confused with certainty."""
    if "SIDE" not in grader.model.card.tasks:
        pytest.skip("this bundle reads no side")
    told, unsure = [], 0
    for knee, _ in graded:
        (assessment,) = grader.grade_bytes(knee.image.read_bytes(), "film.jpg")
        if assessment.side is None:
            unsure += 1
        else:
            told.append(assessment.side == knee.side)
    assert unsure <= 0.2 * len(graded)
    assert np.mean(told) >= 0.9


@pytest.fixture(scope="module")
def films(real_data):
    """Every fourth of the whole films, with their boxes."""
    from kellgren.data.films import load_films

    return load_films(real_data / "films")[::4]


def test_every_knee_of_whole_films_is_found(films, grader):
    """The bundle was tuned on these films: this shows that it works here, not how well it does elsewhere."""
    results = []
    for film in films:
        found = grader.grade_bytes(film.image.read_bytes(), film.name, input="film")
        boxes = np.array([knee.box for knee in found])
        nothing = np.full((len(found), 6, 2), np.nan), np.full((len(film.boxes), 6, 2), np.nan)
        results.append(judge(film.name, film.name, (boxes, nothing[0]), (film.boxes, nothing[1])))
        for knee, side in zip(found, film.sides, strict=True):
            assert knee.side in (side, None)
    figures = detection_figures(results)
    assert figures["found"] == figures["knees"]
    assert figures["false"] == 0
    assert figures["iou"]["value"] > 0.9


def test_joint_space_narrows_with_the_readings(graded):
    widths = {grade: [] for grade in range(4)}
    for knee, assessment in graded:
        if assessment.joint_space is not None and knee.grade("JSN_M") >= 0:
            widths[knee.grade("JSN_M")].append(assessment.joint_space.medial.minimum)
    medians = [np.median(widths[grade]) for grade in (0, 2, 3)]
    assert medians[0] > medians[1] > medians[2]
