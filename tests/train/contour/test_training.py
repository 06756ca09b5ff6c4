"""The joint-line model: recipe, material, loss and network against small known cases; one tiny training."""

from dataclasses import replace

import numpy as np
import pytest

from kellgren.errors import BadDataset, BadRecipe

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

import pointed  # noqa: E402 - after the skip
from kellgren import data  # noqa: E402
from kellgren.grade.golden import check  # noqa: E402
from kellgren.measure import POINTS, ContourModel  # noqa: E402
from kellgren.train import hardware  # noqa: E402
from kellgren.train.contour import crops, export, network, recipe, training  # noqa: E402
from kellgren.train.graders.recipe import Augment  # noqa: E402
from kellgren.train.run import Run  # noqa: E402


def gaussian(points, cells, sigma=1.0):
    """Maps (N, P, cells, cells) with a Gaussian at each point (N, P, 2) in fractions."""
    axis = (torch.arange(cells) + 0.5) / cells
    dx = (axis - points[..., :1]) * cells / sigma
    dy = (axis - points[..., 1:]) * cells / sigma
    maps = torch.exp(-0.5 * (dy[..., :, None] ** 2 + dx[..., None, :] ** 2))
    return maps / maps.sum(dim=(2, 3), keepdim=True)


def test_packaged_recipe_loads_in_both_sizes_and_survives_a_card():
    small, full = recipe.load(size="small"), recipe.load(size="full")
    assert small.optimise.epochs < full.optimise.epochs
    assert small.augment == full.augment
    assert recipe.from_dict(small.to_dict()) == small


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widht": 16}, "width"),
        ({"augment_before": "nothing"}, "nothing"),
        ({"augment": {"flip": 0.5}}, "flip"),
        ({"steps": [{"step": "resise"}]}, "resise"),
    ],
)
def test_recipe_names_what_is_wrong(change, word):
    with pytest.raises(BadRecipe, match=word):
        recipe.from_dict({**recipe.load(size="small").to_dict(), **change})


def test_centre_of_mass_lies_between_the_cells_and_spread_is_the_gaussians():
    points = torch.tensor([[[0.52, 0.43], [0.3, 0.61]]])
    found, spread = network.locate(gaussian(points, 40, sigma=1.5))
    torch.testing.assert_close(found, points, atol=1e-4, rtol=0)
    torch.testing.assert_close(spread, torch.full((1, 2), 1.5 * 2**0.5 / 40), atol=1e-3, rtol=0)


def test_divergence_is_nought_for_the_gaussian_and_ln_2_far_from_it():
    points = torch.tensor([[[0.5, 0.5]]])
    heat = gaussian(points, 40)
    assert float(network.divergence(heat, points, 1.0)) == pytest.approx(0.0, abs=1e-5)
    assert float(network.divergence(heat, points + 0.4, 1.0)) == pytest.approx(np.log(2), abs=1e-3)


def test_errors_are_split_along_and_across_the_line():
    true = pointed.line(0.4, 0.5)
    across, along = network.split(true + torch.tensor([0.03, 0.02]), true)
    torch.testing.assert_close(along, torch.full((1, POINTS), 0.03))
    torch.testing.assert_close(across, torch.full((1, POINTS), 0.02))


def test_loss_is_in_cells_and_leaves_out_what_is_outside():
    weights = replace(recipe.load(size="small").loss, shape=0.0)
    true = pointed.line(0.4, 0.5)
    heat = gaussian(true + torch.tensor([0.0, 0.025]), 40)
    assert float(network.contour(heat, true, torch.ones(1), weights)) == pytest.approx(1.0, abs=0.01)
    outside = true.clone()
    outside[:, 20:, 1] = 1.2
    inside_only = float(network.contour(heat, outside, torch.ones(1), weights))
    assert inside_only == pytest.approx(1.0, abs=0.2)  # neighbours of the moved points have other tangents


def test_unsure_points_weigh_less():
    weights = replace(recipe.load(size="small").loss, shape=0.0)
    true = torch.cat((pointed.line(0.4, 0.5), pointed.line(0.4, 0.5)))
    heat = gaussian(true + torch.tensor([[[0.0, 0.025]], [[0.0, 0.1]]]), 40)
    even = float(network.contour(heat, true, torch.tensor([1.0, 1.0]), weights))
    uneven = float(network.contour(heat, true, torch.tensor([1.0, 0.0]), weights))
    assert uneven < even


def test_reframing_moves_image_and_points_alike():
    image = np.zeros((200, 200), np.uint8)
    image[118:123, 78:83] = 255
    points = np.array([[(80 + 0.5) / 200, (120 + 0.5) / 200]])
    for seed in range(5):
        ranges = Augment(rotate=15, scale=0.2, shift=0.1)
        warped, moved = crops.reframe(image, points, ranges, np.random.default_rng(seed))
        ys, xs = np.nonzero(warped > 100)
        np.testing.assert_allclose(moved[0] * 200 - 0.5, [xs.mean(), ys.mean()], atol=0.6)


@pytest.fixture(scope="module")
def tiny():
    whole = recipe.load(size="small")
    phases = (replace(whole.optimise.phases[0], epochs=2),)
    return replace(whole, width=4, optimise=replace(whole.optimise, phases=phases, batch=4))


def test_left_knees_and_their_points_are_mirrored(pointed_set, tiny):
    read = crops.preload(data.load(pointed_set), tiny, threads=1)
    expected = np.broadcast_to(pointed.line(0.45, 0.5)[0].numpy(), read.points.shape)
    np.testing.assert_allclose(read.points, expected, atol=1e-6)


def test_batches_do_not_depend_on_threads(pointed_set, tiny):
    read = crops.preload(data.load(pointed_set), tiny, threads=1)
    one, two = (next(crops.training_batches(read, tiny, seed=1, epoch=2, threads=n)) for n in (1, 2))
    torch.testing.assert_close(one.images, two.images)
    torch.testing.assert_close(one.points, two.points)


def test_a_data_set_without_points_is_refused(training_set, tiny):
    with pytest.raises(BadDataset, match="points"):
        crops.preload(data.load(training_set), tiny, threads=1)


def test_train_export_and_find(pointed_set, tiny, tmp_path):
    dataset = data.load(pointed_set)
    fold = next(knee.fold for knee in dataset if knee.fold is not None)
    run = Run(tiny, dataset, tmp_path / "run", fold, 0, hardware.choose("cpu"))
    training.train(run)
    with pytest.raises(BadRecipe, match="holds a run"):
        training.train(run)
    from kellgren.model import bundle

    written = bundle.load(export.export_contour(tmp_path / "run", dataset, tmp_path / "bundle"))
    assert written.card.kind == "contour"
    assert written.card.parity.largest_point_difference < export.PARITY
    assert check(written).passed
    contour = ContourModel(written).find(np.full((299, 299), 0.5, np.float32))
    assert contour.femur.shape == (13, 2)
    assert contour.tibia.shape == (17, 2)


def test_a_folder_without_an_epoch_is_not_exported(pointed_set, tiny, tmp_path):
    with pytest.raises(BadRecipe, match="not a run folder"):
        export.export_contour(tmp_path, data.load(pointed_set), tmp_path / "bundle")
