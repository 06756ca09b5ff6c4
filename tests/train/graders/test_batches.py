"""What training sees is what grading sees; batches are the same however often and wherever they are made."""

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

import stub_bundle  # noqa: E402 - after the check that torch is there
from kellgren.data import load  # noqa: E402
from kellgren.errors import BadDataset  # noqa: E402
from kellgren.grade.grader import Grader  # noqa: E402
from kellgren.model import bundle, framing, steps  # noqa: E402
from kellgren.model.tta import Look  # noqa: E402
from kellgren.train.graders import batches  # noqa: E402
from kellgren.train.graders.recipe import FINISHING, Augment, View  # noqa: E402
from kellgren.train.graders.recipe import load as load_recipe  # noqa: E402

LARGE = (
    {"step": "percentile_range", "low": 0.5, "high": 99.5},
    {"step": "resize", "height": 48, "width": 64},
)
SMALL = ({"step": "equalise"}, {"step": "resize", "height": 32, "width": 32})
NORMALISE = {"step": "normalise", "mean": 0.4, "std": 0.25}
LEFT = View(LARGE, ({"step": "patch", "part": "left"}, NORMALISE))
RIGHT = View(LARGE, ({"step": "patch", "part": "right"}, {"step": "mirror"}, NORMALISE), channels=3)
WHOLE = View(SMALL, (NORMALISE,))


@pytest.fixture(scope="module")
def dataset(training_set):
    return load(training_set)


@pytest.fixture(scope="module")
def crops(dataset, tiny_recipe):
    return batches.preload(dataset, tiny_recipe, threads=2)


@pytest.fixture(scope="module")
def siamese(tiny_recipe):
    """Three views of two different preparations."""
    return replace(tiny_recipe, views={"left": LEFT, "right": RIGHT, "whole": WHOLE})


@pytest.mark.parametrize("convention", ["as_right", "none"])
@pytest.mark.parametrize("name", ["tiny", "joint", "siamese"])
def test_training_and_grading_see_the_same_bits(
    name, convention, dataset, tiny_recipe, siamese, stub_session, tmp_path
):
    """PNG and DICOM, MONOCHROME1 and 2, right and left: without augmentation the tensors are equal."""
    recipe = {"tiny": tiny_recipe, "siamese": siamese}.get(name) or load_recipe("joint", size="small")
    recipe = replace(recipe, side_convention=convention, augment=Augment())
    knees = replace(dataset, knees=dataset.knees[:8])
    crops = batches.preload(knees, recipe, threads=2)
    batch = next(batches.evaluation_batches(crops, recipe))
    inputs = [
        {
            "name": view,
            "view": framing.view_of(recipe.views[view].prepare + recipe.views[view].finish),
            "size": list(tensor.shape[2:]),
            "channels": recipe.views[view].channels,
            "steps": [s.model_dump() for s in recipe.views[view].prepare + recipe.views[view].finish],
        }
        for view, tensor in zip(recipe.views, batch.views, strict=True)
    ]
    card = stub_bundle.card(inputs=inputs, side_convention=convention)
    model = Grader(bundle.load(stub_bundle.write_bundle(tmp_path, card))).model
    suffixes = set()
    for index, knee in enumerate(knees):
        suffixes.add(knee.image.path.suffix)
        film = batches.standardise(batches.read_bytes(knee.image.read_bytes(), knee.name))
        graded = model.tensors(film.pixels, Look(steps.mirrors(knee.side, convention)))
        for view, tensor in zip(recipe.views, batch.views, strict=True):
            np.testing.assert_array_equal(graded[view][0], tensor[index].numpy(), err_msg=knee.name)
    assert suffixes == {".png", ".dcm"}
    for trained in batches.training_batches(crops, recipe, seed=3, epoch=1):
        for tensor, plain in zip(trained.views, batch.views, strict=True):
            torch.testing.assert_close(tensor, plain[trained.indices], rtol=0, atol=0)


def test_views_with_equal_preparation_share_it(dataset, siamese):
    crops = batches.preload(replace(dataset, knees=dataset.knees[:3]), siamese, threads=1)
    assert crops.source == {"left": "left", "right": "left", "whole": "whole"}
    assert {name: tuple(t.shape) for name, t in crops.images.items()} == {
        "left": (3, 1, 48, 64),
        "whole": (3, 1, 32, 32),
    }
    left, right, whole = next(batches.evaluation_batches(crops, siamese)).views
    assert [tuple(t.shape[1:]) for t in (left, right, whole)] == [(1, 48, 32), (3, 48, 32), (1, 32, 32)]


def test_all_views_of_a_knee_are_augmented_alike(dataset, siamese):
    """Both halves of a turned image, laid together, are the turned image; a flip is one of all views."""
    views = {"all": View(LARGE), "left": replace(LEFT, finish=LEFT.finish[:1]), "other": View((LARGE[1],))}
    recipe = replace(siamese, views=views, augment=Augment(flip=0.5, rotate=10, gamma=1.5))
    crops = batches.preload(dataset, recipe, threads=1)
    plain = next(batches.evaluation_batches(crops, recipe, size=len(crops)))
    for batch in batches.training_batches(crops, recipe, seed=0, epoch=0):
        whole, left, other = batch.views
        torch.testing.assert_close(whole[..., :32], left, rtol=0, atol=0)
        same = crops.images["all"].equal(crops.images["other"])
        assert not same
        assert not whole.equal(plain.views[0][batch.indices])
        # the two preparations differ, the place of the leg's shadow does not
        for a, b in zip(whole, other, strict=True):
            assert np.corrcoef(a.flatten(), b.flatten())[0, 1] > 0.9


def epoch_of(crops, recipe, *, seed=0, number=0, part=(0, 1)):
    return list(batches.training_batches(crops, recipe, seed=seed, epoch=number, part=part))


def test_batches_depend_on_seed_and_epoch(crops, tiny_recipe):
    one, again = epoch_of(crops, tiny_recipe), epoch_of(crops, tiny_recipe)
    assert len(one) == len(crops) // tiny_recipe.optimise.batch == batches.steps_per_epoch(crops, tiny_recipe)
    for a, b in zip(one, again, strict=True):
        torch.testing.assert_close(a.views, b.views, rtol=0, atol=0)
        np.testing.assert_array_equal(a.indices, b.indices)
        assert {t: v.tolist() for t, v in a.grades.items()} == {t: v.tolist() for t, v in b.grades.items()}
    for other in (epoch_of(crops, tiny_recipe, seed=1), epoch_of(crops, tiny_recipe, number=1)):
        assert not torch.equal(other[0].views[0], one[0].views[0])
    seen = np.concatenate([batch.indices for batch in one])
    assert len(set(seen.tolist())) == len(seen)


def test_processes_share_a_batch_as_one_would_make_it(crops, tiny_recipe):
    whole = epoch_of(crops, tiny_recipe)
    parts = [epoch_of(crops, tiny_recipe, part=(rank, 2)) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        torch.testing.assert_close(torch.cat([s.views[0] for s in shares]), batch.views[0], rtol=0, atol=0)
        for share in shares:  # the loss is that of the whole batch, in every process
            assert {t: g.tolist() for t, g in share.grades.items()} == {
                t: g.tolist() for t, g in batch.grades.items()
            }


def test_grades_travel_with_their_images_and_change_places_with_a_mirror(dataset, crops, tiny_recipe):
    mirroring = replace(tiny_recipe, augment=Augment(flip=1.0))
    plain = replace(tiny_recipe, augment=Augment())
    images = torch.cat([b.views[0] for b in batches.evaluation_batches(crops, plain)])
    for recipe, mirrored in ((plain, False), (mirroring, True)):
        for batch in epoch_of(crops, recipe):
            for row, index in enumerate(batch.indices):
                knee = dataset.knees[index]
                expected = images[index].flip(-1) if mirrored else images[index]
                torch.testing.assert_close(batch.views[0][row], expected, rtol=0, atol=0)
                for task, partner in (("FL", "FM"), ("TM", "TL"), ("JSN_L", "JSN_M"), ("KL", "KL")):
                    assert int(batch.grades[task][row]) == knee.grade(partner if mirrored else task)
                assert int(batch.grades["SIDE"][row]) == int(mirrored)


def test_each_grade_is_augmented_by_its_own_ranges(crops, tiny_recipe):
    """Only knees of KL 2 are changed where only they have ranges."""
    recipe = replace(tiny_recipe, augment=Augment(), augment_by_grade={2: Augment(gamma=3.0)}, tta=())
    images = torch.cat([b.views[0] for b in batches.evaluation_batches(crops, recipe)])
    changed = {True: 0, False: 0}
    for batch in epoch_of(crops, recipe):
        for tensor, index in zip(batch.views[0], batch.indices, strict=True):
            differs = not torch.equal(tensor, images[index])
            assert not differs or crops.kl[index] == 2
            changed[differs] += 1
    assert changed[True] > 0
    assert changed[False] > 0


def test_balanced_sampling_sees_every_grade_as_often(dataset, tiny_recipe):
    knees = tuple(knee for i, knee in enumerate(dataset) if knee.grade("KL") != 3 or i % 3)
    crops = batches.preload(replace(dataset, knees=knees), tiny_recipe, threads=1)
    recipe = replace(tiny_recipe, sampling="balanced", optimise=replace(tiny_recipe.optimise, batch=1))
    seen = np.concatenate([batch.indices for batch in epoch_of(crops, recipe)])
    counts = np.bincount(crops.kl[seen], minlength=5)
    assert len(set(counts[counts > 0].tolist())) == 1
    assert len(seen) == batches.steps_per_epoch(crops, recipe) > len(crops)


def test_mirrored_grades():
    grades = {"KL": [3, 3], "OA": [1, 1], "FL": [0, 0], "FM": [2, 2], "JSN_L": [-1, -1], "JSN_M": [1, 1]}
    grades = {task: torch.tensor(values) for task, values in {**grades, "SIDE": [0, 0]}.items()}
    once = batches.mirrored_grades(grades, torch.tensor([True, False]))
    assert {task: values.tolist() for task, values in once.items()} == {
        "KL": [3, 3],
        "OA": [1, 1],
        "FL": [2, 0],
        "FM": [0, 2],
        "JSN_L": [1, -1],
        "JSN_M": [-1, 1],
        "SIDE": [1, 0],
    }
    twice = batches.mirrored_grades(once, torch.tensor([True, False]))
    assert all(torch.equal(twice[task], grades[task]) for task in grades)
    missing = batches.mirrored_grades({"SIDE": torch.tensor([-1])}, torch.tensor([True]))
    assert missing["SIDE"].tolist() == [-1]


def test_where_the_side_is_unknown_sided_readings_are_missing(dataset, tiny_recipe):
    first, second = dataset.knees[:2]
    knees = replace(dataset, knees=(replace(first, side=None), second))
    grades = batches.preload(knees, tiny_recipe, threads=1).grades
    for task in ("FL", "FM", "JSN_M", "SIDE"):
        assert grades[task][0] == -1, task
        assert grades[task][1] >= 0, task
    assert grades["KL"].tolist() == [first.grade("KL"), second.grade("KL")]
    free = replace(tiny_recipe, side_convention="none")
    assert batches.preload(knees, free, threads=1).grades["FL"][0] == first.grade("FL")


def test_missing_readings_stay_missing(dataset, tiny_recipe):
    knee = replace(dataset.knees[0], readings={"KL": 2})
    grades = batches.preload(replace(dataset, knees=(knee,)), tiny_recipe, threads=1).grades
    assert (grades["KL"][0], grades["OA"][0], grades["FL"][0]) == (2, 1, -1)


def test_crops_of_different_sizes_are_refused(dataset, phantom_set, tiny_recipe):
    unsized = replace(tiny_recipe, views={"joint": View(({"step": "invert"},))})
    mixed = replace(dataset, knees=(*dataset.knees[:2], *load(phantom_set).knees[:2]))
    with pytest.raises(BadDataset, match=r"view 'joint': the crops differ in size.*such as resize"):
        batches.preload(mixed, unsized, threads=1)


# which knees an epoch shows

GRADES = np.array([0] * 10 + [1] * 4 + [2] * 3 + [-1] * 2)


@pytest.mark.parametrize("way", ["natural", "balanced"])
def test_same_seed_and_epoch_same_order(way):
    first = batches.epoch_order(GRADES, way, seed=1, epoch=2)
    np.testing.assert_array_equal(first, batches.epoch_order(GRADES, way, seed=1, epoch=2))
    assert not np.array_equal(first, batches.epoch_order(GRADES, way, seed=1, epoch=3))
    assert not np.array_equal(first, batches.epoch_order(GRADES, way, seed=2, epoch=2))


def test_natural_shows_each_knee_once():
    assert sorted(batches.epoch_order(GRADES, "natural", seed=0, epoch=0)) == list(range(len(GRADES)))


def test_balanced_shows_each_grade_as_often():
    order = batches.epoch_order(GRADES, "balanced", seed=0, epoch=0)
    shown, counts = np.unique(GRADES[order], return_counts=True)
    assert dict(zip(shown.tolist(), counts.tolist(), strict=True)) == {-1: 2, 0: 10, 1: 10, 2: 10}
    times = np.bincount(order, minlength=len(GRADES))
    assert set(times[10:14].tolist()) == {2, 3}
    assert set(times[14:17].tolist()) == {3, 4}


# the steps that follow augmentation

CASES = [
    [{"step": "region", "top": 0.241, "left": 0.0184, "height": 0.5886, "width": 0.9632}],
    [{"step": "region", "top": 0.0, "left": 0.5, "height": 1.0, "width": 0.5}],
    [{"step": "patch", "part": "left"}],
    [{"step": "patch", "part": "right", "width": 0.333}, {"step": "mirror"}],
    [{"step": "patch", "part": "right", "width": 0.001}],
    [{"step": "normalise", "mean": 0.485, "std": 0.229}],
    [{"step": "normalise", "mean": 0.1, "std": 0.3}, {"step": "mirror"}, {"step": "patch", "part": "left"}],
    [],
]


@pytest.mark.parametrize("shape", [(299, 299), (40, 57)])
@pytest.mark.parametrize("specs", CASES, ids=lambda specs: "+".join(s["step"] for s in specs) or "none")
def test_batches_get_what_single_images_get(specs, shape):
    images = np.random.default_rng(5).random((3, *shape), dtype=np.float32)
    specs = steps.parse(specs)
    finished = batches.finish(torch.from_numpy(images)[:, None], specs)
    for image, tensor in zip(images, finished, strict=True):
        np.testing.assert_array_equal(tensor[0].numpy(), steps.apply(image, specs))


def test_three_channels_are_equal():
    images = torch.rand(2, 1, 8, 9)
    finished = batches.finish(images, steps.parse([{"step": "mirror"}]), channels=3)
    assert finished.shape == (2, 3, 8, 9)
    for channel in range(3):
        torch.testing.assert_close(finished[:, channel], images[:, 0].flip(-1), rtol=0, atol=0)


def test_recipes_may_finish_with_these_steps_and_no_others():
    assert set(batches.STEPS) == set(FINISHING) <= set(steps.STEPS)
