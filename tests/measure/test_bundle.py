"""The packaged joint-line bundle on simulated knees, and on the real ones where they are."""

import io
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kellgren import data
from kellgren.errors import NotAKnee
from kellgren.grade.golden import check
from kellgren.measure import ContourModel, joint_space, load
from kellgren.model import bundle, steps
from kellgren.read import read_bytes
from kellgren.simulate import draw_crop
from kellgren.standardise import standardise


def simulated(kl, seed=0):
    return steps.unit_range(draw_crop(np.random.default_rng((seed, kl)), KL=kl, side="R").pixels)


def test_golden_points_still_come_out():
    result = check(bundle.load("contour"))
    assert result.inputs == 3
    assert result.passed, result


def test_a_changed_golden_point_is_noticed(tmp_path):
    source = bundle.packaged()["contour"]
    folder = tmp_path / "contour"
    shutil.copytree(Path(str(source)), folder)
    stored = json.loads((folder / "golden/outputs.json").read_text())
    first = next(iter(stored.values()))
    first["points"]["tibia"][3] += 0.01
    (folder / "golden/outputs.json").write_text(json.dumps(stored))
    assert not check(bundle.load(folder)).passed


def test_bundle_is_small_and_says_what_it_is():
    loaded = bundle.load("contour")
    assert loaded.card.kind == "contour"
    assert loaded.card.side_convention == "as_right"
    assert len(loaded.graph()) < 2 * 2**20
    assert loaded.card.training.held_out_fold == 0


def test_a_crop_of_another_size_gives_the_same_contour():
    crop = simulated(1)
    large = steps.resize(crop, height=598, width=598)
    small, big = load().find(crop), load().find(large)
    np.testing.assert_allclose((big.tibia + 0.5) / 2 - 0.5, small.tibia, atol=1.5)


def test_noise_has_no_joint_space():
    noise = np.random.default_rng(0).uniform(size=(299, 299)).astype(np.float32)
    with pytest.raises(NotAKnee, match="no joint line"):
        joint_space(noise, load())


def test_simulated_knees_narrow_with_grade():
    model = load()
    widths = [
        np.median([joint_space(simulated(kl, s), model).medial.minimum for s in range(4)]) for kl in (0, 4)
    ]
    assert widths[1] < widths[0]


@pytest.fixture(scope="module")
def some_val_knees(real_data):
    knees = [k for k in data.load(real_data / "kneekl299").select(split="val") if k.readings]
    return [k for k in knees if k.readings.get("JSN_M") in (0, 3)]


def crop_of(encoded, side):
    image = steps.unit_range(standardise(read_bytes(encoded, "knee.jpg")).pixels)
    return steps.mirror(image) if side == "L" else image


@pytest.mark.real
def test_real_joint_space_tells_bone_on_bone_from_healthy(some_val_knees):
    by_grade, refused = {0: [], 3: []}, 0
    healthy = [k for k in some_val_knees if k.readings["JSN_M"] == 0][:60]
    for knee in healthy + [k for k in some_val_knees if k.readings["JSN_M"] == 3]:
        try:
            space = joint_space(crop_of(knee.image.read_bytes(), knee.side), load())
        except NotAKnee:
            refused += 1
            continue
        by_grade[knee.readings["JSN_M"]].append(space.medial.minimum)
    assert refused <= 2  # 3 of the 826 knees show no joint line to the network
    assert np.median(by_grade[3]) < 0.4 * np.median(by_grade[0])


@pytest.mark.real
def test_real_contour_takes_little_time(some_val_knees):
    crop = crop_of(some_val_knees[0].image.read_bytes(), some_val_knees[0].side)
    model = ContourModel(bundle.load("contour"))
    model.find(crop)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        model.find(crop)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


@pytest.mark.real
def test_real_joint_space_survives_jpeg(some_val_knees):
    knee = some_val_knees[0]
    grey = Image.open(io.BytesIO(knee.image.read_bytes())).convert("L")
    again = io.BytesIO()
    grey.save(again, "JPEG", quality=60)
    plain = joint_space(crop_of(knee.image.read_bytes(), knee.side), load())
    coarse = joint_space(crop_of(again.getvalue(), knee.side), load())
    assert coarse.medial.mean == pytest.approx(plain.medial.mean, abs=0.008)
