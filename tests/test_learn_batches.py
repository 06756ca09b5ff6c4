"""What training sees is what grading sees; batches are the same on every machine."""

import threading
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

import stub_bundle  # noqa: E402 - after the check that torch is there
from kellgren import bundle  # noqa: E402
from kellgren.data import load  # noqa: E402
from kellgren.grade import Grader  # noqa: E402
from kellgren.learn import batches  # noqa: E402
from kellgren.learn.recipe import Augment  # noqa: E402
from kellgren.learn.recipe import load as load_recipe  # noqa: E402


@pytest.fixture(scope="module")
def dataset(training_set):
    return load(training_set)


@pytest.fixture(scope="module")
def crops(dataset, tiny_recipe):
    return batches.preload(dataset, tiny_recipe, threads=2)


@pytest.mark.parametrize("convention", ["as_right", "none"])
@pytest.mark.parametrize("name", ["tiny", "joint"])
def test_training_and_grading_see_the_same_bits(
    name, convention, dataset, tiny_recipe, stub_session, tmp_path
):
    """PNG and DICOM, MONOCHROME1 and 2, right and left: without augmentation the tensors are equal."""
    recipe = tiny_recipe if name == "tiny" else load_recipe("joint", size="small")
    recipe = replace(recipe, side_convention=convention, augment=Augment())
    entry = {"name": "joint", "view": "joint", "channels": 1, "steps": list(recipe.input.steps)}
    knees = replace(dataset, knees=dataset.knees[:8])
    crops = batches.preload(knees, recipe, threads=2)
    batch = next(batches.evaluation_batches(crops, recipe))
    card = stub_bundle.card(
        inputs=[{**entry, "size": list(batch.images.shape[2:])}], side_convention=convention
    )
    grader = Grader(bundle.load(stub_bundle.write_bundle(tmp_path, card)))
    suffixes = set()
    for index, knee in enumerate(knees):
        suffixes.add(knee.image.path.suffix)
        grader.grade(knee.image.path, side=knee.side)
        np.testing.assert_array_equal(
            stub_session.seen[-1][0], batch.images[index].numpy(), err_msg=knee.name
        )
    assert suffixes == {".png", ".dcm"}
    for trained in batches.training_batches(crops, recipe, seed=3, epoch=1, threads=2):
        for image, index in zip(trained.images, trained.indices, strict=True):
            torch.testing.assert_close(image, batch.images[index], rtol=0, atol=0)


def test_batches_depend_on_seed_and_epoch_and_not_on_threads(crops, tiny_recipe):
    def epoch(seed=0, number=0, threads=1):
        return list(batches.training_batches(crops, tiny_recipe, seed=seed, epoch=number, threads=threads))

    one, four = epoch(), epoch(threads=4)
    assert len(one) == len(crops) // tiny_recipe.optimise.batch
    for a, b in zip(one, four, strict=True):
        torch.testing.assert_close(a.images, b.images, rtol=0, atol=0)
        np.testing.assert_array_equal(a.indices, b.indices)
        assert {t: v.tolist() for t, v in a.grades.items()} == {t: v.tolist() for t, v in b.grades.items()}
    for other in (epoch(seed=1), epoch(number=1)):
        assert not torch.equal(other[0].images, one[0].images)
    seen = np.concatenate([batch.indices for batch in one])
    assert len(set(seen.tolist())) == len(seen)


def test_grades_travel_with_their_images_and_change_places_with_a_mirror(dataset, crops, tiny_recipe):
    mirroring = replace(tiny_recipe, augment=Augment(flip=1.0))
    plain = replace(tiny_recipe, augment=Augment())
    images = torch.cat([b.images for b in batches.evaluation_batches(crops, plain)])
    for recipe, mirrored in ((plain, False), (mirroring, True)):
        for batch in batches.training_batches(crops, recipe, seed=0, epoch=0, threads=1):
            for row, index in enumerate(batch.indices):
                knee = dataset.knees[index]
                expected = images[index].flip(-1) if mirrored else images[index]
                torch.testing.assert_close(batch.images[row], expected, rtol=0, atol=0)
                for task, partner in (("FL", "FM"), ("TM", "TL"), ("JSN_L", "JSN_M"), ("KL", "KL")):
                    assert int(batch.grades[task][row]) == knee.grade(partner if mirrored else task)
                assert int(batch.grades["SIDE"][row]) == int(mirrored)


def test_mirrored_grades():
    grades = {"KL": 3, "OA": 1, "FL": 0, "FM": 2, "JSN_L": -1, "JSN_M": 1, "SIDE": 0}
    mirrored = {"KL": 3, "OA": 1, "FL": 2, "FM": 0, "JSN_L": 1, "JSN_M": -1, "SIDE": 1}
    assert batches.mirrored_grades(grades) == mirrored
    assert batches.mirrored_grades(mirrored) == grades
    assert batches.mirrored_grades({"SIDE": -1}) == {"SIDE": -1}


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


def test_an_error_in_a_thread_reaches_the_consumer(crops, tiny_recipe, monkeypatch):
    def fail(*_):
        raise ValueError("broken step")

    monkeypatch.setattr(batches, "augment", fail)
    with pytest.raises(ValueError, match="broken step"):
        list(batches.training_batches(crops, tiny_recipe, seed=0, epoch=0, threads=2))


def test_a_consumer_that_stops_early_leaves_no_thread(crops, tiny_recipe):
    source = batches.training_batches(crops, tiny_recipe, seed=0, epoch=0, threads=2)
    next(source)
    source.close()
    assert not [t for t in threading.enumerate() if t.name == "batches"]


def test_steps_are_cut_where_training_augments(tiny_recipe):
    before, after = batches.split_steps(tiny_recipe)
    assert [s["step"] for s in before] == ["percentile_range", "resize"]
    assert [s["step"] for s in after] == ["region", "normalise"]
