"""Material, samples, losses and networks of the localiser."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytestmark = pytest.mark.train

import torch  # noqa: E402

from kellgren import simulate  # noqa: E402
from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.locate import boxes, windows  # noqa: E402
from kellgren.train import session  # noqa: E402
from kellgren.train.folder import read_log  # noqa: E402
from kellgren.train.graders import recipe as recipes  # noqa: E402
from kellgren.train.hardware import Hardware  # noqa: E402
from kellgren.train.localiser import compose, export, films, networks, samples  # noqa: E402
from kellgren.train.localiser import recipe as localiser_recipe  # noqa: E402
from kellgren.train.localiser.boxed_film import image_order, mirrored  # noqa: E402
from kellgren.train.localiser.level import batches, loss_of, stage  # noqa: E402
from kellgren.train.localiser.recipe import Weights  # noqa: E402
from kellgren.train.run import Run  # noqa: E402

CPU = Hardware(torch.device("cpu"), bf16=False, threads=1, name="test, fp32")


@pytest.fixture(scope="module")
def knee():
    drawn = simulate.draw_crop(np.random.default_rng(0), KL=2, side="R")
    return compose.Knee("9000001R", windows.eight_bit(drawn.pixels), drawn.truth.key_points)


@pytest.fixture(scope="module")
def film(knee):
    rng = np.random.default_rng(2)
    return compose.film([knee, knee], compose.draw(rng), rng)


def scene(**changes):
    ordinary = {
        "box": 100.0,
        "above": 1.5,
        "below": 1.5,
        "limb": 0.7,
        "taper": 0.5,
        "margin": 0.2,
        "tilts": (0.0, 0.0),
        "offsets": (0.0, 0.0),
        "joint": True,
    }
    return compose.Scene(**{**ordinary, **changes})


def test_a_composed_leg_holds_the_crop_unchanged(knee):
    rng = np.random.default_rng(1)
    placed, _ = compose.leg(knee, scene(), (90.0, 150.0), 0.0, (300, 180), rng)
    import cv2

    crop = cv2.resize(knee.pixels, (100, 100), interpolation=cv2.INTER_AREA)
    inner = placed[105:195, 45:135]
    np.testing.assert_allclose(inner, crop[5:95, 5:95], atol=2)


def test_boxes_and_points_turn_with_the_leg(knee):
    rng = np.random.default_rng(1)
    turned = compose.film([knee], scene(tilts=(20.0, 0.0)), rng)
    straight = compose.film([knee], scene(), np.random.default_rng(1))
    np.testing.assert_allclose(turned.boxes, straight.boxes, atol=1e-6)
    middle = (straight.boxes[0, :2] + straight.boxes[0, 2:]) / 2 - 0.5
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(turned.points[0], (straight.points[0] - middle) @ turn.T + middle, atol=0.6)


def test_a_film_without_joints_has_no_boxes(knee):
    rng = np.random.default_rng(4)
    empty = compose.film([knee], compose.draw(rng, joint=False), rng)
    assert empty.boxes.shape == (0, 4)
    assert empty.points.shape == (0, 6, 2)


def test_image_order_is_its_own_inverse():
    points = np.random.default_rng(0).uniform(0, 1, (6, 2))
    turned = image_order(points, lateral_left=False)
    np.testing.assert_array_equal(image_order(turned, lateral_left=False), points)
    np.testing.assert_array_equal(image_order(points, lateral_left=True), points)


def test_mirrored_twice_is_the_film(film):
    again = mirrored(mirrored(film))
    np.testing.assert_array_equal(again.pixels, film.pixels)
    np.testing.assert_allclose(again.boxes, film.boxes)
    np.testing.assert_allclose(again.points, film.points)


def test_varied_copies_keep_boxes_on_their_joints(film):
    for copy in films.varied(film, 4, seed=1):
        height, width = copy.pixels.shape
        centres = (copy.boxes[:, :2] + copy.boxes[:, 2:]) / 2
        assert (centres > 0).all()
        assert (centres < [width, height]).all()
        inside = [(b[:2] <= p.min(0)).all() for b, p in zip(copy.boxes, copy.points, strict=True)]
        assert all(inside)


def test_samples_say_what_they_show(film):
    joint = film.boxes[0]
    side = joint[2] - joint[0]
    places = np.array([joint, joint + 0.3 * side * np.array([1, 0, 1, 0]), joint + 3 * side])
    cut = samples.cut(film, places, 46, equalise=True)
    np.testing.assert_array_equal(cut.knee[[0, 2]], [1, 0])
    assert np.isnan(cut.knee[1])  # a partial: overlap 0.54
    assert np.isnan(cut.points[1]).all()
    assert np.isnan(cut.box[2]).all()
    shown = windows.cut(film.pixels, joint, 46)[1]
    found = boxes.moved(shown[None], cut.box[:1].astype(float))
    np.testing.assert_allclose(found[0], joint, atol=1e-4)


def test_ambiguous_places_are_left_out(film):
    joint = film.boxes[0]
    side = joint[2] - joint[0]
    aside = joint + side * np.array([0.48, 0, 0.48, 0])  # overlap 0.35
    assert len(samples.cut(film, aside[None], 46, equalise=False)) == 0


def test_eq_1_by_hand():
    knee = torch.tensor([0.0, 2.0])
    box = torch.zeros(2, 4)
    points = torch.zeros(2, 6, 2)
    truth = (
        torch.tensor([1.0, float("nan")]),
        torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0]]),
        torch.stack([torch.full((6, 2), 0.5), torch.full((6, 2), float("nan"))]),
    )
    loss = loss_of((knee, box, points), truth, Weights(0.8, 0.6, 1.5), hardest=1.0)
    expected = 0.8 * np.log(2) + 0.6 * (1 + 4) / 2 + 1.5 * 12 * 0.25
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_only_the_hardest_answers_count():
    knee = torch.tensor([5.0, -5.0])
    nothing = (torch.full((2, 4), float("nan")), torch.full((2, 6, 2), float("nan")))
    truth = (torch.tensor([1.0, 1.0]), *nothing)
    loss = loss_of((knee, torch.zeros(2, 4)), truth, Weights(1, 0.5, 0), hardest=0.5)
    assert float(loss) == pytest.approx(np.log1p(np.exp(5.0)), rel=1e-6)


def test_level_1_judges_every_eighth_window():
    net = networks.Level1(4).eval()
    film = torch.randn(1, 1, 46 + 8 * 5, 46 + 8 * 3)
    with torch.inference_mode():
        knee, box = net(film)
        alone, _ = net(film[:, :, 16 : 16 + 46, 8 : 8 + 46])
        assert knee.shape == (1, 6, 4)
    assert box.shape == (1, 4, 6, 4)
    assert float(alone[0, 0, 0]) == pytest.approx(float(knee[0, 2, 1]), abs=1e-5)


@pytest.mark.parametrize("net", [networks.Level1(4), networks.Level2(4)])
def test_graphs_agree_with_their_networks(net):
    assert export.largest_difference(net, export.graph(net)) < 1e-5


def test_mirrored_batches_keep_boxes_and_points(film):
    cut = samples.cut(film, film.boxes, 70, equalise=False)
    again = samples.joined([cut] * 8)
    for window, _, box, points in batches(again, 8, np.random.default_rng(0), second=True):
        assert window.shape == (8, 1, 70, 70)
        # femur's left margin stays left of its right margin, and the box around its centre
        assert bool((points[:, 0, 0] < points[:, 2, 0]).all())
        assert bool((box[:, 0] <= box[:, 2] + 0.5).all())


def test_a_level_learns_its_samples(film, tmp_path):
    rng = np.random.default_rng(0)
    cut = samples.cut(film, samples.around(film, rng, near=40, far=60), 46, equalise=True)
    level = localiser_recipe.Level(
        width=4, near=1, far=0, epochs=12, lr=5e-3, cycle=True, batch=16,
        loss=Weights(1, 0.5, 0), hardest=0.7,
    )  # fmt: skip
    torch.manual_seed(0)
    learning = stage("level1", networks.Level1(4), level, lambda: cut, second=False, seed=0, hardware=CPU)
    session.train(Run(None, None, tmp_path, 0, 0, CPU), learning)
    history = [entry.loss for entry in read_log(tmp_path)]
    assert len(history) == 12
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize("size", ["small", "full"])
def test_the_packaged_recipe_has_the_papers_weights(size):
    recipe = localiser_recipe.from_dict(recipes.document("locate", size=size))
    assert recipe.level1.loss == Weights(1.0, 0.5, 0.0)
    assert recipe.level2.loss == Weights(0.8, 0.6, 1.5)
    if size == "full":
        assert (recipe.level1.epochs, recipe.level1.lr, recipe.level1.batch) == (10, 1e-3, 500)
        assert (recipe.level2.epochs, recipe.level2.lr, recipe.level2.batch) == (10, 1e-4, 500)


def test_a_wrong_recipe_names_the_key():
    document = recipes.document("locate", size="small")
    with pytest.raises(BadRecipe, match="unknown key 'tunes'"):
        localiser_recipe.from_dict({**document, "tunes": 1})


def test_simulated_films_have_both_kinds():
    drawn = films.simulated(4, seed=0, threads=2)
    assert len(drawn[0].boxes) == 0  # a lateral view
    assert all(len(film.boxes) for film in drawn[1:])
    assert all(max(film.pixels.shape) <= 900 for film in drawn)
