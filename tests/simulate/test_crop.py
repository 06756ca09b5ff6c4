"""Simulated knees: reproducible, true to their grades, and readable as the files they claim to be."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from kellgren.simulate import (
    Grades,
    draw_crop,
    draw_graded_crop,
    draw_grades,
    simulate,
    write_dicom,
    write_png,
)
from kellgren.simulate.anatomy import build_anatomy, draw_parameters
from kellgren.simulate.attenuation import draw_tissue, paths
from kellgren.simulate.curves import area, gap, smooth
from kellgren.simulate.view import View

SEEDS = range(12)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def anatomy(seed: int, grades: Grades):
    return build_anatomy(draw_parameters(rng(seed)), grades)


@pytest.fixture(scope="module")
def phantom():
    return draw_crop(rng(5), KL=2, side="R", size=160)


# curves


def test_smooth_curve_passes_through_its_control_points():
    points = np.array([(0, 0), (1, 2), (3, 1), (4, 4)], float)
    np.testing.assert_allclose(smooth(points)[::8], points)
    np.testing.assert_allclose(smooth(points, closed=True)[::8], points)


def test_area_and_gap_of_known_shapes():
    assert area(np.array([(0, 0), (3, 0), (3, 2), (0, 2)], float)) == 6
    upper, lower = np.array([(0, 0), (10, 0)], float), np.array([(0, 5), (10, 1)], float)
    assert gap(upper, lower, (0, 5)) == pytest.approx((3, 4))


# grades


@pytest.mark.parametrize("kl", range(5))
def test_drawn_grades_define_their_kl(kl):
    for seed in range(60):
        g = draw_grades(rng(seed), kl)
        spurs, narrowing = max(g.FL, g.FM, g.TL, g.TM), max(g.JSN_L, g.JSN_M)
        assert kl == g.KL
        assert narrowing in {0: (0,), 1: (0, 1), 2: (0, 1), 3: (2,), 4: (3,)}[kl]
        assert (spurs > 0) == (kl > 0)
        if kl == 1:
            assert (g.FL, g.FM, g.TL, g.TM).count(0) == 3
            assert spurs == 1
        if kl == 4:
            assert spurs == 3
        if kl < 2:
            assert max(g.SC_L, g.SC_M) <= narrowing


def test_grades_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="KL is 5"):
        draw_grades(rng(0), 5)
    with pytest.raises(ValueError, match="TM is 4"):
        Grades(4, TM=4)
    with pytest.raises(ValueError, match="size is 32"):
        draw_crop(rng(0), size=32)


# geometry follows the grades


@pytest.mark.parametrize("column", ["JSN_L", "JSN_M"])
@pytest.mark.parametrize("seed", SEEDS)
def test_joint_space_shrinks_with_every_grade_of_narrowing(column, seed):
    widths = [anatomy(seed, replace(Grades(3), **{column: g})) for g in range(4)]
    own = [(a.jsw_lateral if column == "JSN_L" else a.jsw_medial)[0] for a in widths]
    other = [(a.jsw_medial if column == "JSN_L" else a.jsw_lateral)[0] for a in widths]
    assert own == sorted(own, reverse=True)
    assert len({round(v, 2) for v in own}) == 4
    assert own[3] > 0
    assert own[3] < 1.2
    assert 3 < own[0] < 8
    assert np.ptp(other) < 0.05  # the sound compartment keeps its width


@pytest.mark.parametrize("name", ["FL", "FM", "TL", "TM"])
def test_osteophytes_grow_with_their_grade_and_only_they(name):
    parameters = draw_parameters(rng(3))
    view = View((200, 200), 0.6, (100.0, 120.0), 0.0, "R")
    tissue = draw_tissue(rng(0), parameters.width)
    spur, projected = [], []
    for g in range(4):
        a = build_anatomy(parameters, replace(Grades(2), **{name: g}))
        spurs = {**a.femur.spurs, **a.tibia.spurs}
        assert set(spurs) == ({name} if g else set())
        spur.append(sum(area(s) for s in spurs.values()))
        projected.append(int((paths(a, tissue, view, rng(1)).bone > 1).sum()))
    assert all(a < b for a, b in pairwise(spur))
    assert all(a < b for a, b in pairwise(projected))


def test_sclerosis_adds_bone_under_the_worn_plateau():
    parameters, view = draw_parameters(rng(3)), View((200, 200), 0.6, (100.0, 120.0), 0.0, "R")
    tissue = draw_tissue(rng(0), parameters.width)
    bone = [
        paths(build_anatomy(parameters, Grades(4, SC_M=g)), tissue, view, rng(1))
        .bone[118:130, 130:155]
        .mean()
        for g in range(4)
    ]
    assert all(a < b for a, b in pairwise(bone))


def test_key_points_lie_where_a_knee_has_them():
    for seed in SEEDS:
        p = draw_crop(rng(seed), side="R")
        (fl, notch, fm, tl, eminence, tm) = p.truth.key_points
        assert np.all((p.truth.key_points > 0) & (p.truth.key_points < 299))
        assert fl[0] < notch[0] < fm[0]
        assert tl[0] < eminence[0] < tm[0]
        assert notch[1] < min(fl[1], fm[1])
        assert eminence[1] < min(tl[1], tm[1])
        assert notch[1] < eminence[1]
        assert 0.72 < np.hypot(*(tm - tl)) / 299 < 0.90
        assert p.truth.jsw_medial * p.spacing_mm == pytest.approx(p.truth.jsw_medial_mm, rel=0.01)


def test_joint_space_is_darker_than_the_bone_above_and_below():
    for seed in SEEDS:
        p = draw_crop(rng(seed), KL=0, side="R")
        _, _, fm, _, _, tm = p.truth.key_points
        x = round(0.78 * min(fm[0], tm[0]) + 0.22 * 149)
        column = p.pixels[:, x - 3 : x + 4].astype(float).mean(axis=1)
        middle = round((fm[1] + tm[1]) / 2)
        space = column[middle - 14 : middle + 15].min()
        assert space < column[middle - 40 : middle - 25].mean()
        assert space < column[middle + 20 : middle + 35].mean()


def test_left_knee_is_the_mirror_of_the_right():
    grades = Grades(3, FL=1, TM=2, JSN_M=2, SC_M=1)
    right, left = (draw_graded_crop(rng(9), grades, side, size=200) for side in ("R", "L"))
    mirrored = right.truth.key_points * (-1, 1) + (199, 0)
    np.testing.assert_allclose(left.truth.key_points, mirrored, atol=1e-6)
    assert left.truth.jsw_medial == pytest.approx(right.truth.jsw_medial)
    # Texture and noise are those of the film, so the pixels agree only in the large.
    coarse = [np.asarray(Image.fromarray(p.pixels >> 8).resize((20, 20))) for p in (left, right)]
    same = np.corrcoef(coarse[0].ravel(), coarse[1][:, ::-1].ravel())[0, 1]
    unlike = np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1]
    assert same > 0.9
    assert same > unlike


# images


def test_same_seed_same_crop_and_other_seed_another():
    a, b, c = (draw_crop(rng(s), size=96) for s in (1, 1, 2))
    assert np.array_equal(a.pixels, b.pixels)
    assert a.truth.key_points.tolist() == b.truth.key_points.tolist()
    assert not np.array_equal(a.pixels, c.pixels)


@pytest.mark.parametrize("size", [64, 299, 512])
def test_crops_of_any_size_use_the_grey_scale(size):
    p = draw_crop(rng(4), size=size)
    assert p.pixels.shape == (size, size)
    assert p.pixels.dtype == np.uint16
    assert np.ptp(np.percentile(p.pixels, [1, 99])) > 6000
    assert 60 < p.spacing_mm * size < 150


# files


def test_png_holds_the_pixels(phantom, tmp_path):
    deep = np.asarray(Image.open(write_png(phantom, tmp_path / "a.png", bits=16)))
    assert np.array_equal(deep, phantom.pixels)
    flat = np.asarray(Image.open(write_png(phantom, tmp_path / "b.png")))
    assert flat.dtype == np.uint8
    assert np.array_equal(flat, phantom.pixels >> 8)
    with pytest.raises(ValueError, match="bits is 12"):
        write_png(phantom, tmp_path / "c.png", bits=12)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_dicom_round_trip(phantom, tmp_path, photometric, signed, bits):
    path = write_dicom(
        phantom,
        tmp_path / "a.dcm",
        photometric=photometric,
        bits_stored=bits,
        slope=2,
        intercept=-7,
        signed=signed,
    )
    ds = pydicom.dcmread(path)
    stored = ds.pixel_array.astype(int) + (1 << (bits - 1) if signed else 0)
    if photometric == "MONOCHROME1":
        stored = (1 << bits) - 1 - stored
    assert np.array_equal(stored, phantom.pixels >> (16 - bits))
    assert (ds.RescaleSlope, ds.RescaleIntercept) == (2, -7)
    assert ds.PixelRepresentation == int(signed)
    assert ds.PhotometricInterpretation == photometric


def test_dicom_says_what_it_is(phantom, tmp_path):
    ds = pydicom.dcmread(write_dicom(phantom, tmp_path / "a.dcm"))
    assert ds.SOPClassUID.name == "Digital X-Ray Image Storage - For Presentation"
    assert (ds.Modality, ds.BodyPartExamined, ds.ImageLaterality) == ("DX", "KNEE", "R")
    assert list(ds.ImagerPixelSpacing) == [phantom.spacing_mm] * 2
    assert "PixelSpacing" not in ds
    assert "SIMULATED" in str(ds.PatientName)
    assert (ds.WindowCenter, ds.WindowWidth) == (2048, 4096)


def test_dicom_is_reproducible_and_identified_by_its_content(phantom, tmp_path):
    first = write_dicom(phantom, tmp_path / "a.dcm").read_bytes()
    assert write_dicom(phantom, tmp_path / "b.dcm").read_bytes() == first
    other = pydicom.dcmread(write_dicom(phantom, tmp_path / "c.dcm", photometric="MONOCHROME1"))
    assert other.SOPInstanceUID != pydicom.dcmread(tmp_path / "a.dcm").SOPInstanceUID


@pytest.mark.parametrize("wrong", [{"photometric": "RGB"}, {"bits_stored": 7}])
def test_dicom_refuses_impossible_options(phantom, tmp_path, wrong):
    with pytest.raises(ValueError, match="must be"):
        write_dicom(phantom, tmp_path / "a.dcm", **wrong)


def test_folder_has_labels_truth_and_disjoint_splits(tmp_path):
    files = simulate(tmp_path, 20, seed=3, size=64)
    rows = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert (tmp_path / "labels.csv").read_text().splitlines()[0] == (
        "name,split,patient,side,KL,FL,FM,TL,TM,JSN_L,JSN_M,SC_FL,SC_FM,SC_TL,SC_TM"
    )
    assert [r["name"] for r in rows] == [f.stem for f in files]
    assert all(f.parent == tmp_path / "images" and f.suffix == ".png" for f in files)
    assert all(r["name"] == r["patient"] + r["side"] for r in rows)
    patients = {s: {r["patient"] for r in rows if r["split"] == s} for s in ("train", "val")}
    assert (len(patients["train"]), len(patients["val"])) == (8, 2)
    assert not patients["train"] & patients["val"]
    assert [sum(r["KL"] == str(k) for r in rows) for k in range(5)] == [4] * 5
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert list(truth) == [r["name"] for r in rows]
    assert np.shape(truth["sim0000R"]["points"]) == (30, 2)
    assert truth["sim0000R"]["key_points"] == [truth["sim0000R"]["points"][i] for i in (0, 6, 12, 13, 21, 29)]


def test_folder_is_reproducible_and_a_larger_one_starts_with_the_smaller(tmp_path):
    small = simulate(tmp_path / "a", 3, seed=1, size=64, format="mixed")
    large = simulate(tmp_path / "b", 7, seed=1, size=64, format="mixed")
    assert [f.read_bytes() for f in small] == [f.read_bytes() for f in large[:3]]
    assert [f.suffix for f in large] == [".png"] * 2 + [".dcm"] * 4 + [".png"]
    tags = [pydicom.dcmread(f) for f in large[2:6]]
    assert [t.PhotometricInterpretation for t in tags] == ["MONOCHROME2"] * 2 + ["MONOCHROME1"] * 2
    assert tags[0].StudyInstanceUID == tags[1].StudyInstanceUID != tags[2].StudyInstanceUID


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 1, "format": "tiff"}])
def test_folder_refuses_impossible_orders(tmp_path, wrong):
    with pytest.raises(ValueError, match="must be"):
        simulate(tmp_path / "x", **wrong)
    assert not (tmp_path / "x").exists()


def test_examples_are_what_their_readme_makes(tmp_path):
    examples = Path(__file__).parents[2] / "examples"
    snippet = re.search(r"```python\n(.*?)```", (examples / "README.md").read_text(), re.DOTALL)[1]
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)  # noqa: S603
    made = sorted(p.name for p in tmp_path.iterdir())
    assert made == sorted(p.name for p in (examples / "knees").iterdir() if p.suffix in (".png", ".dcm"))
    for name in made:
        a, b = (_stored(folder / name) for folder in (tmp_path, examples / "knees"))
        # Other processors round otherwise in the last bit; another drawing differs everywhere.
        assert np.abs(a - b).mean() < 1e-3 * b.max()


def _stored(path):
    pixels = pydicom.dcmread(path).pixel_array if path.suffix == ".dcm" else np.asarray(Image.open(path))
    return pixels.astype(float)


def test_torch_is_never_imported():
    code = "import sys, kellgren.simulate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
