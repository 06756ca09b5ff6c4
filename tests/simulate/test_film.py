"""Simulated films: reproducible, their truth where the anatomy is, hardware and views, quick and small."""

from __future__ import annotations

import csv
import json
import time

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from kellgren.report.schema import load_schema, typed_row
from kellgren.simulate import draw_film, simulate_films
from kellgren.simulate.anatomy import build_anatomy, draw_parameters
from kellgren.simulate.curves import gap
from kellgren.simulate.film import framed
from kellgren.simulate.grades import Grades
from kellgren.simulate.implants import HARDWARE, draw_metal, resurfaced
from kellgren.simulate.template import MEDIAL_WINDOW
from kellgren.simulate.view import View


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def pair():
    """A film of two knees without metal, bone bright."""
    return draw_film(rng(20), knees=2, KL=[0, 4], inverted=False)


def along(film, points):
    """Grey values under (N, 2) points, 0-1; NaN off the film."""
    h, w = film.pixels.shape
    x, y = np.round(points).astype(int).T
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    grey = np.full(len(points), np.nan)
    grey[inside] = film.pixels[y[inside], x[inside]] / 65535
    return grey


def test_same_seed_same_film_and_other_seed_another():
    a, b, c = (draw_film(rng(s), knees=1) for s in (23, 23, 24))
    assert np.array_equal(a.pixels, b.pixels)
    assert a.knees[0].points.tolist() == b.knees[0].points.tolist()
    assert a.pixels.shape != c.pixels.shape or not np.array_equal(a.pixels, c.pixels)


def test_a_film_has_the_size_of_films_and_two_knees_of_one_person(pair):
    height, _ = pair.pixels.shape
    assert pair.pixels.dtype == np.uint16
    assert 1200 <= height <= 3000
    assert 0.1 <= pair.spacing_mm <= 0.2
    assert [k.side for k in pair.knees] == ["R", "L"]
    assert [k.grades.KL for k in pair.knees] == [0, 4]
    widths = [np.hypot(*(k.points[29] - k.points[13])) for k in pair.knees]
    assert widths[0] == pytest.approx(widths[1], rel=0.08)


def test_boxes_are_framed_as_the_published_crops():
    for seed in (20, 26, 29):
        for knee in draw_film(rng(seed)).knees:
            x0, y0, x1, y1 = knee.box
            corners = knee.points[[13, 29]]
            assert x1 - x0 == pytest.approx(y1 - y0)
            assert np.hypot(*(corners[1] - corners[0])) / (x1 - x0) == pytest.approx(0.806)
            middle = (corners.mean(axis=0) - (x0, y0)) / (x1 - x0)
            assert middle[0] == pytest.approx(0.49 if knee.side == "R" else 0.51)
            assert middle[1] == pytest.approx(0.6195)
    assert framed(np.array([0.0, 0.0]), np.array([80.6, 0.0]), "R") == pytest.approx(
        (-8.7, -61.95, 91.3, 38.05)
    )


def test_lateral_comes_first_and_key_points_are_six_of_the_thirty(pair):
    for knee in pair.knees:
        outward = -1 if knee.side == "R" else 1
        assert knee.points.shape == (30, 2)
        for first, last in ((0, 12), (13, 29)):
            assert (knee.points[first, 0] - knee.points[last, 0]) * outward > 0
        assert np.array_equal(knee.key_points, knee.points[[0, 6, 12, 13, 21, 29]])


def test_the_joint_space_lies_between_the_two_lines_and_is_darker(pair):
    knee = pair.knees[0]
    femur, tibia = knee.points[[9, 10, 11]], knee.points[[24, 25, 26]]
    space = np.nanmean(along(pair, (femur + tibia) / 2))
    away = np.array([0, 9.0 / pair.spacing_mm])
    assert space < np.nanmean(along(pair, femur - away))
    assert space < np.nanmean(along(pair, tibia + away))


def test_narrowing_is_seen_in_the_widths(pair):
    sound, worn = pair.knees
    assert (
        min(worn.jsw_lateral[0], worn.jsw_medial[0])
        < 1.2
        < 3
        < min(sound.jsw_lateral[0], sound.jsw_medial[0])
    )
    for knee in pair.knees:
        assert knee.jsw_medial[0] <= knee.jsw_medial[1]
        # The widths are those between the lines, seen along the knee and in the detector's plane.
        across = knee.points[29] - knee.points[13]
        width = np.hypot(*across)
        turn = np.array([across, (-across[1], across[0])]) / width
        line = (knee.points - knee.points[[13, 29]].mean(axis=0)) @ turn.T
        line[:, 1] *= 1 if line[21, 1] > line[6, 1] else -1
        seen = gap(line[:13], line[13:], (MEDIAL_WINDOW[0] * width, MEDIAL_WINDOW[1] * width))
        assert seen[1] * pair.spacing_mm == pytest.approx(knee.jsw_medial[1], abs=0.9)


def test_the_crop_is_the_box_of_the_film(pair):
    crop = pair.crop(0)
    assert crop.shape == (299, 299)
    x0, y0, x1, y1 = (round(v + 0.5) for v in pair.knees[0].box)
    inside = pair.pixels[max(y0, 0) : y1, max(x0, 0) : x1]
    assert crop[crop > 0].mean() == pytest.approx(inside[inside > 0].mean(), rel=0.05)


def test_inverted_films_are_the_negative():
    dark, bright = (draw_film(rng(23), knees=1, inverted=i) for i in (True, False))
    assert np.array_equal(dark.pixels, 65535 - bright.pixels)
    assert (dark.inverted, bright.inverted) == (True, False)


METAL = [h for h in HARDWARE if h != "none"]


@pytest.mark.parametrize("hardware", METAL)
def test_metal_lies_in_the_leg(hardware):
    anatomy = build_anatomy(draw_parameters(rng(3)), Grades(0))
    anatomy = resurfaced(anatomy) if hardware == "total" else anatomy
    view = View((500, 300), 0.6, (150.0, 250.0), 0.0, "R")
    metal = draw_metal(hardware, anatomy, view, rng(1))
    assert 60 < (metal > 1).sum() * 0.6**2 < 8000  # square millimetres
    assert metal.max() > 3
    assert not metal[:, :50].any()
    assert not metal[:, -50:].any()


@pytest.mark.parametrize("hardware", ["total", "plate"])
def test_replaced_joints_have_no_grade(hardware):
    [knee] = draw_film(rng(23), knees=1, hardware=hardware).knees
    assert knee.hardware == hardware
    assert (knee.grades is None) == (hardware == "total")


def test_a_total_prosthesis_has_the_gap_of_its_insert():
    anatomy = build_anatomy(draw_parameters(rng(3)), Grades(4, JSN_M=3))
    cut = resurfaced(anatomy)
    assert anatomy.jsw_medial[0] < 1.2
    assert cut.jsw_medial[0] > 4
    assert np.ptp(cut.tibia.joint[:, 1]) == 0


def test_other_views():
    side = draw_film(rng(50), view="lateral")
    assert (side.view, len(side.knees)) == ("lateral", 1)
    assert side.knees[0].points.shape == side.knees[0].key_points.shape == (0, 2)
    assert side.knees[0].grades is side.knees[0].jsw_medial is None
    shaft = draw_film(rng(51), view="shaft")
    assert (shaft.view, shaft.knees, len(shaft.sides)) == ("shaft", (), 1)


def test_grades_for_other_knees_than_there_are_are_refused():
    with pytest.raises(ValueError, match="KL names 1 knees; the film has 2"):
        draw_film(rng(0), knees=2, KL=[1])
    with pytest.raises(ValueError, match="KL is 7"):
        draw_film(rng(0), knees=1, KL=[7])


def test_a_film_is_drawn_quickly():
    start = time.process_time()
    draw_film(rng(20), knees=2)
    # About one second on one processor; the rest is for slow machines.
    assert time.process_time() - start < 8


def test_folder_of_films_fits_its_schemas_and_is_a_data_set(tmp_path):
    files = simulate_films(tmp_path, 3, seed=6, format="mixed")
    rows = list(csv.DictReader((tmp_path / "films.csv").open()))
    truth = json.loads((tmp_path / "truth.json").read_text())
    for row in rows:
        Draft202012Validator(load_schema("films")).validate(typed_row("films", row))
    for document in truth.values():
        Draft202012Validator(load_schema("film_truth")).validate(document)
    assert [f.relative_to(tmp_path).as_posix() for f in files] == list(dict.fromkeys(r["file"] for r in rows))
    assert len(rows) == sum(max(len(t["knees"]), 1) for t in truth.values())
    labels = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert {r["name"] for r in labels} == {f.stem for f in (tmp_path / "images").iterdir()}
    for row in labels:
        [knee] = [k for k in truth[row["patient"]]["knees"] if k["side"] == row["side"]]
        assert int(row["KL"]) == knee["KL"]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 1, "format": "tiff"}])
def test_folder_refuses_impossible_orders(tmp_path, wrong):
    with pytest.raises(ValueError, match="must be"):
        simulate_films(tmp_path / "x", **wrong)
    assert not (tmp_path / "x").exists()
