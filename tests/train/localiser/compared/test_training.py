"""The detectors that the cascade is compared with: HOG + SVM and MTCNN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytestmark = pytest.mark.train

import torch  # noqa: E402

from kellgren.errors import BadBundle, BadRecipe  # noqa: E402
from kellgren.locate import boxes  # noqa: E402
from kellgren.train import kinds  # noqa: E402
from kellgren.train.folder import read_log  # noqa: E402
from kellgren.train.graders import recipe as recipes  # noqa: E402
from kellgren.train.hardware import choose  # noqa: E402
from kellgren.train.localiser import samples  # noqa: E402
from kellgren.train.localiser.boxed_film import BoxedFilm  # noqa: E402
from kellgren.train.localiser.compared import detector, hog, mtcnn, training  # noqa: E402
from kellgren.train.localiser.compared import recipe as compared_recipe  # noqa: E402
from kellgren.train.localiser.compared.hog import HogSettings, HogSvm  # noqa: E402
from kellgren.train.localiser.compared.mtcnn import MtcnnSettings  # noqa: E402
from kellgren.train.run import Run  # noqa: E402

SEARCH = MtcnnSettings(propose=0.3, refine=0.3, accept=0.5, proposals=150)


def disc_film(seed, count=1):
    """A grey film with bright rings, which are its "knees"."""
    import cv2

    rng = np.random.default_rng(seed)
    pixels = rng.normal(70, 6, (260, 300)).clip(0, 255).astype(np.uint8)
    found = []
    for i in range(count):
        x, y, half = 75 + 150 * i + rng.integers(-10, 10), rng.integers(90, 170), int(rng.integers(38, 48))
        cv2.circle(pixels, (int(x), int(y)), round(half * 0.6), 220.0, 5)
        found.append([x - half, y - half, x + half, y + half])
    box = np.array(found, dtype=np.float64).reshape(-1, 4)
    return BoxedFilm(f"ring-{seed}", pixels, box, np.full((count, 6, 2), np.nan))


@pytest.fixture(scope="module")
def rings():
    return [disc_film(seed, count=seed % 3) for seed in range(24)]


def run_of(recipe, tmp_path):
    hardware = replace(choose("cpu"), threads=1)
    torch.set_num_threads(1)  # steps this small lose by waiting for a second, busy processor
    return Run(recipe, None, tmp_path, 0, 0, hardware)


def hits(finder, shown):
    overlaps, false = [], 0
    for film in shown:
        given = np.array([joint.box for joint in finder.find(film.pixels)]).reshape(-1, 4)
        both = boxes.iou(film.boxes, given)
        overlaps += list(both.max(axis=1, initial=0.0))
        false += int((both.max(axis=0, initial=0.0) < 0.3).sum())
    return np.array(overlaps), false


def test_hog_features_do_not_see_brightness_but_see_direction():
    x = np.linspace(0, 200, 48, dtype=np.float32)
    across = np.broadcast_to(x, (48, 48)).astype(np.uint8)
    one, turned, flat = hog.features(np.stack([across, across.T, np.full((48, 48), 90, np.uint8)]))
    assert hog.features(across[None]).shape == (1, hog.FEATURES)
    cells = one.reshape(25, 4, hog.BINS)
    # a gradient along x is at 0 degrees, shared by the first and the last orientation
    assert np.allclose(cells[..., 1:-1], 0, atol=1e-5)
    assert cells[..., 0].min() > 0.1
    assert turned.reshape(25, 4, hog.BINS)[..., 4].min() > 0.1
    assert np.abs(flat).max() == 0
    noise = np.random.default_rng(0).integers(0, 120, (1, 48, 48)).astype(np.uint8)
    brighter = hog.features((noise * 2.0).astype(np.uint8))
    assert np.abs(brighter - hog.features(noise)).max() < 0.03


def test_sliding_hog_judges_a_window_as_its_features_do():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (80, 96)).astype(np.uint8)
    weights = rng.normal(size=hog.FEATURES + 1).astype(np.float32)
    judged = HogSvm(weights, HogSettings(0.0, 0.3))._slide(image)
    assert judged.shape == (5, 7)
    every = hog.blocks(image[None])[0]
    for y, x in ((0, 0), (2, 3), (4, 6)):
        expected = every[y : y + 5, x : x + 5].ravel() @ weights[:-1] + weights[-1]
        assert judged[y, x] == pytest.approx(expected, abs=1e-3)


def test_hog_learns_from_its_false_knees_too(rings, tmp_path):
    """Few windows away from the rings: the first fit is wrong somewhere, and the second has seen where."""
    pytest.importorskip("sklearn")
    recipe = compared_recipe.from_dict(recipes.document("locate-hog", size="small"))
    recipe = replace(recipe, far=2, search=HogSettings(accept=0.0, overlap=0.2))
    training.train_hog(recipe, run_of(recipe, tmp_path), lambda: rings)
    first, second = read_log(tmp_path)
    assert second.images > first.images


def test_hog_finds_rings_it_has_not_seen(rings, tmp_path):
    pytest.importorskip("sklearn")
    recipe = compared_recipe.from_dict(recipes.document("locate-hog", size="small"))
    recipe = replace(recipe, search=HogSettings(accept=0.0, overlap=0.2))
    finder = training.train_hog(recipe, run_of(recipe, tmp_path), lambda: rings)
    overlaps, false = hits(finder, [disc_film(100 + seed, count=seed % 3) for seed in range(9)])
    assert (overlaps >= 0.5).mean() >= 0.85
    assert false <= 2
    joint = finder.find(disc_film(101).pixels)[0]
    assert np.isnan(joint.points).all()
    assert 0 <= joint.score <= 1
    first, second = read_log(tmp_path)
    assert [first.stage, second.stage] == ["svm", "mined"]
    assert second.images >= first.images > 500
    stored = detector.load(detector.save(finder, tmp_path / "stored"))
    np.testing.assert_array_equal(stored.find(rings[1].pixels)[0].box, finder.find(rings[1].pixels)[0].box)


@pytest.mark.parametrize(("net", "side"), [(mtcnn.PNet, 12), (mtcnn.RNet, 24), (mtcnn.ONet, 48)])
def test_a_level_answers_one_window_and_its_graph_agrees(net, side):
    import onnxruntime as ort

    torch.manual_seed(0)
    level = net().eval()
    window = torch.randn(3, 1, side, side)
    with torch.no_grad():
        knee, box, points = level(window)
    assert knee.numel() == 3
    assert box.numel() == 12
    assert points.numel() == 36
    session = ort.InferenceSession(mtcnn.graph(level), providers=["CPUExecutionProvider"])
    shape = (1, 1, 61, 43) if side == 12 else (7, 1, side, side)
    image = torch.randn(shape)
    with torch.no_grad():
        expected = level(image)
    for name, truth in zip(mtcnn.OUTPUTS, expected, strict=True):
        answer = session.run([name], {"window": image.numpy()})[0]
        np.testing.assert_allclose(answer, truth.numpy(), atol=1e-4)


def test_pnet_slides_at_the_stride_that_its_boxes_are_placed_by():
    torch.manual_seed(1)
    level = mtcnn.PNet().eval()
    image = torch.randn(1, 1, 40, 52)
    with torch.no_grad():
        knee, *_ = level(image)
        y, x = 5, 9
        part = image[:, :, 2 * y : 2 * y + 12, 2 * x : 2 * x + 12]
        alone, *_ = level(part)
    assert knee[0, y, x].item() == pytest.approx(alone.item(), abs=1e-5)
    assert knee.shape[1:] == ((40 - 12) // mtcnn.STRIDE + 1, (52 - 12) // mtcnn.STRIDE + 1)


def test_mtcnn_learns_level_after_level(rings, tmp_path):
    recipe = compared_recipe.from_dict(recipes.document("locate-mtcnn", size="small"))
    levels = {
        f"level{i}": replace(level, batch=64, epochs=8, lr=3e-3) for i, level in enumerate(recipe.levels, 1)
    }
    levels["level3"] = replace(levels["level3"], epochs=4, near=8)
    recipe = replace(recipe, search=SEARCH, **levels)
    run = run_of(recipe, tmp_path)
    finder = training.train_mtcnn(recipe, run, lambda: rings, None)
    losses = {}
    for entry in read_log(tmp_path):
        losses.setdefault(entry.stage, []).append(entry.loss)
    assert {stage: len(each) for stage, each in losses.items()} == {"level1": 8, "level2": 8, "level3": 4}
    assert all(each[-1] < 0.6 * each[0] for each in losses.values())
    overlaps, _ = hits(finder, [disc_film(100 + seed, count=seed % 3) for seed in range(9)])
    assert (overlaps >= 0.5).mean() >= 0.7
    stored = detector.load(detector.save(finder, tmp_path / "stored"))
    for mine, its in zip(stored.find(rings[1].pixels), finder.find(rings[1].pixels), strict=True):
        np.testing.assert_array_equal(mine.box, its.box)
    assert finder.find(np.zeros((200, 200), np.uint8)) == ()


def test_windows_are_where_the_cascade_has_them(rings):
    film = rings[1]
    rng = np.random.default_rng([0, 1, *film.name.encode(), film.pixels.size])
    expected = samples.cut(film, samples.around(film, rng, near=4, far=6), 12, equalise=True)
    mine = training.cut([film], 0, 1, (4, 6), 12)
    np.testing.assert_array_equal(mine.windows, expected.windows)
    more = training.cut([film], 0, 1, (4, 6), 12, propose=lambda f: f.boxes)
    assert len(more) == len(mine) + 1
    assert more.knee[-1] == 1


@pytest.mark.parametrize("name", ["locate-mtcnn", "locate-hog"])
@pytest.mark.parametrize("size", ["full", "small"])
def test_recipes_are_of_their_kind_and_share_the_cascades_films(name, size):
    recipe = kinds.from_dict(recipes.document(name, size=size))
    assert isinstance(recipe, kinds.FilmRecipe)
    assert recipe.material == kinds.from_dict(recipes.document("locate", size=size)).material


def test_what_cannot_be_is_refused(tmp_path):
    document = recipes.document("locate-hog", size="small")
    with pytest.raises(BadRecipe, match="penalti"):
        compared_recipe.from_dict({**document, "penalti": 1.0})
    (tmp_path / "detector.json").write_text('{"method": "haar", "settings": {}}')
    with pytest.raises(BadBundle, match="haar"):
        detector.load(tmp_path)
    (tmp_path / "detector.json").write_text('{"method": "mtcnn", "settings": {}}')
    with pytest.raises(BadBundle, match="cannot read"):
        detector.load(tmp_path)
