"""Bundles open from where they may lie, and are refused with the key that is wrong."""

import io
import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stub_bundle
from contract import validate
from kellgren.errors import BadBundle
from kellgren.grade import golden
from kellgren.model import bundle, vote
from kellgren.model.decision import decide
from kellgren.model.predict import Model

PACKAGED = sorted(bundle.packaged())


def refused(what, *words, action=bundle.load):
    with pytest.raises(BadBundle) as caught:
        action(what)
    for word in words:
        assert re.search(re.escape(word), str(caught.value)), (word, str(caught.value))
    return caught.value


def copied(name, folder):
    """A packaged bundle as a folder that may be changed."""
    root = bundle.packaged()[name]
    shutil.copytree(str(root), folder)
    return folder


def edit_card(folder, change):
    path = folder / "card.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def zip_of(folder, path, inside=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, inside + file.relative_to(folder).as_posix())
    return path


# --- opening -------------------------------------------------------------------------------------------


def test_the_default_is_packaged():
    assert bundle.DEFAULT in PACKAGED
    assert bundle.load().card.name == bundle.load(bundle.DEFAULT).card.name


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_card_fits_its_schema(name):
    opened = bundle.load(name)
    validate("card", opened.card.to_json())
    assert opened.card.name == name
    assert opened.card.title == f"{name}@{opened.card.version}"


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_card_names_no_path_of_a_machine(name):
    text = bundle.packaged()[name].joinpath("card.json").read_text(encoding="utf-8")
    assert not re.search(r'"[^"]*(/home/|/work/|/tmp/|/root/|[A-Z]:\\\\)', text)


@pytest.mark.parametrize("inside", ["", "some-folder/"])
def test_folder_and_zip_hold_the_same_bundle(tmp_path, inside):
    folder = stub_bundle.write_bundle(tmp_path / "stub")
    np.savez(folder / "typical.npz", mean=np.arange(3.0))
    plain = bundle.load(folder)
    packed = bundle.load(zip_of(folder, tmp_path / "stub.zip", inside))
    assert plain.card == packed.card
    assert plain.graph() == packed.graph() == b"stub graph"
    assert plain.sha256() == packed.sha256()
    np.testing.assert_array_equal(packed.arrays("typical.npz")["mean"], [0, 1, 2])
    assert packed.arrays("nothing.npz") is None


def test_unknown_name_lists_the_packaged_ones():
    refused("no-such-bundle", "no bundle 'no-such-bundle'", *PACKAGED)


def test_file_that_is_no_zip(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"hello")
    refused(tmp_path / "b.zip", "neither a folder nor a zip")


def test_zip_without_a_card(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "readme.txt").write_text("x")
    refused(zip_of(tmp_path / "x", tmp_path / "b.zip"), "holds no card.json")


def test_folder_without_a_card(tmp_path):
    refused(tmp_path, "no card.json")


def test_card_that_is_not_json(tmp_path):
    (tmp_path / "card.json").write_text("{")
    refused(tmp_path, "card.json is not JSON")
    (tmp_path / "card.json").write_bytes(b"\xff\xfe\x00")
    refused(tmp_path, "card.json is not JSON")


# --- cards ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["name", "version", "tasks", "side_convention", "tta", "decision", "calibration", "sha256"]
)
def test_missing_key_is_named(tmp_path, key):
    document = stub_bundle.card()
    del document[key]
    refused(stub_bundle.write_bundle(tmp_path, document), f"no '{key}'")


@pytest.mark.parametrize("key", ["name", "view", "size", "channels", "steps"])
def test_missing_key_of_an_input_is_named(tmp_path, key):
    document = stub_bundle.card()
    del document["inputs"][0][key]
    refused(stub_bundle.write_bundle(tmp_path, document), f"no 'inputs.0.{key}'")


def joint(**changes):
    return [{**stub_bundle.CARD["inputs"][0], **changes}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side_convention": "as_left"}, ["side_convention", "'as_left'", "'as_right' or 'none'"]),
        ({"vote": "loud"}, ["vote", "'loud'", "'soft', 'hard' or 'mixed'"]),
        ({"oa_from": "guess"}, ["oa_from", "'guess'"]),
        ({"tta": ["rotate"]}, ["tta", "'rotate'"]),
        ({"decision": {"KL": "mean"}}, ["decision", "'mean'"]),
        ({"tasks": {"KL": 4}}, ["tasks", "KL has 5 classes, not 4"]),
        ({"tasks": {"HIP": 5}}, ["tasks.HIP", "not a known task"]),
        ({"tasks": 5}, ["tasks", "valid dictionary"]),
        ({"inputs": []}, ["either inputs", "or members"]),
        ({"inputs": joint(channels=2)}, ["inputs.0.channels", "1 or 3"]),
        ({"inputs": joint(size=[64])}, ["inputs.0.size.1"]),
        ({"inputs": joint(steps=[{"step": "sharpen"}])}, ["unknown step 'sharpen'"]),
        ({"inputs": joint(steps=[{"step": "resize", "height": 3}])}, ["step 'resize'", "width"]),
        ({"inputs": joint(steps=["resize"])}, ["inputs.0.steps.0", "'resize'"]),
        ({"members": [{"bundle": "a", "weight": 1}]}, ["either inputs", "or members"]),
        ({"calibration": {"temperature": {"KL": "warm"}}}, ["KL", "warm"]),
        (
            {"calibration": {"dirichlet": {"KL": {"weights": [[1, 0], [0, 1]]}}}},
            ["KL.bias'"],
        ),
        ({"calibration": {"dirichlet": {"KL": {"weights": [[1], [0, 1]], "bias": [0, 0]}}}}, ["KL"]),
        ({"calibration": {"dirichlet": {"KL": {"weights": [[1, 0]], "bias": [0, 0]}}}}, ["KL", "2 classes"]),
        (
            {"calibration": {"dirichlet": {"KL": {"weights": [[1, 0], [0, 1]], "bias": [0, 0]}}}},
            ["KL", "2 classes"],
        ),
        (
            {
                "calibration": {
                    "temperature": {"FL": 1.0},
                    "dirichlet": {"FL": {"weights": [[1, 0], [0, 1]], "bias": [0, 0]}},
                }
            },
            ["FL", "a temperature and a Dirichlet map"],
        ),
        ({"calibration": {"temperature": {"KL": 0}}}, ["temperature", "KL"]),
        ({"calibration": {"temperature": {"KL": -1.0}}}, ["temperature", "KL"]),
        (
            {"calibration": {"conformal": {"KL": {"threshold": 0.5}}}},
            ["KL.coverage'"],
        ),
        ({"tta": ["flip"], "tasks": {"KL": 5, "FL": 4}}, ["FL", "FM"]),
    ],
)
def test_wrong_value_is_named(tmp_path, changes, words):
    refused(stub_bundle.write_bundle(tmp_path, {**stub_bundle.card(), **changes}), *words)


@pytest.mark.parametrize("document", [[], "card", 3, None])
def test_card_that_is_no_mapping(tmp_path, document):
    (tmp_path / "card.json").write_text(json.dumps(document))
    refused(tmp_path, "the card is wrong", "valid dictionary")


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", ".", "", "..\\other", "C:other"])
def test_member_may_not_lie_outside(tmp_path, path):
    document = stub_bundle.card(inputs=None, members=[{"bundle": path, "weight": 1.0}], vote="soft")
    refused(stub_bundle.write_bundle(tmp_path / "in", document, graph=None), "lies outside the bundle")


@pytest.mark.parametrize("weight", [0, -1.0])
def test_member_must_weigh_something(tmp_path, weight):
    document = stub_bundle.card(inputs=None, members=[{"bundle": "a", "weight": weight}])
    refused(stub_bundle.write_bundle(tmp_path, document, graph=None), "weight")


def test_absent_member_is_named(tmp_path):
    document = stub_bundle.card(inputs=None, members=[{"bundle": "a", "weight": 1.0}])
    refused(stub_bundle.write_bundle(tmp_path, document, graph=None), "no card.json", "a")


def test_member_with_other_tasks(tmp_path):
    document = stub_bundle.card(inputs=None, members=[{"bundle": "a", "weight": 1.0}], tasks={"KL": 5})
    stub_bundle.write_bundle(tmp_path, document, graph=None)
    stub_bundle.write_bundle(tmp_path / "a", stub_bundle.card(name="inner"))
    refused(tmp_path, "member inner has other tasks")


def test_ensemble_task_that_no_member_grades(tmp_path):
    document = stub_bundle.card(inputs=None, members=[{"bundle": "a", "weight": 1.0}])
    stub_bundle.write_bundle(tmp_path, document, graph=None)
    stub_bundle.write_bundle(tmp_path / "a", stub_bundle.card(tasks={"KL": 5}))
    refused(tmp_path, "no member", "OA")


# --- what lies beside the card -------------------------------------------------------------------------


def test_exchanged_graph_is_refused(tmp_path):
    folder = stub_bundle.write_bundle(tmp_path)
    (folder / "model.onnx").write_bytes(b"another graph")
    refused(folder, "sha256", "damaged or was exchanged", action=lambda f: bundle.load(f).graph())


def test_absent_graph_is_refused(tmp_path):
    folder = stub_bundle.write_bundle(tmp_path)
    (folder / "model.onnx").unlink()
    refused(folder, "no model.onnx", action=lambda f: bundle.load(f).graph())


def test_graph_that_is_none(tmp_path):
    folder = stub_bundle.write_bundle(tmp_path)
    refused(folder, "not an ONNX file", action=lambda f: Model(bundle.load(f)))


def test_pickles_are_refused(tmp_path):
    folder = stub_bundle.write_bundle(tmp_path)
    buffer = io.BytesIO()
    np.savez(buffer, mean=np.array([{"a": 1}], dtype=object))
    (folder / "typical.npz").write_bytes(buffer.getvalue())
    refused(
        folder, "typical.npz is not a plain npz file", action=lambda f: bundle.load(f).arrays("typical.npz")
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", b"hello"])
def test_damaged_arrays_are_refused(tmp_path, content):
    folder = stub_bundle.write_bundle(tmp_path)
    (folder / "typical.npz").write_bytes(content)
    refused(folder, "typical.npz is not a plain npz", action=lambda f: bundle.load(f).arrays("typical.npz"))


def test_graph_without_a_promised_output(tmp_path, stub_session):
    folder = stub_bundle.write_bundle(tmp_path, stub_bundle.card(tasks={"KL": 5, "TL": 4, "TM": 4}))
    refused(folder, "no output logits_TL", action=lambda f: Model(bundle.load(f)))


def test_incomplete_typical_embeddings_are_refused(tmp_path, stub_session):
    folder = stub_bundle.write_bundle(tmp_path)
    np.savez(folder / "typical.npz", mean=np.zeros(2, np.float32))
    refused(
        folder, "typical.npz is wrong", "lacks the array 'components'", action=lambda f: Model(bundle.load(f))
    )


# --- golden outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_bundle_still_gives_its_golden_outputs(name):
    check = golden.check(bundle.load(name))
    assert check.passed, check
    assert check.inputs >= 2
    assert check.largest <= golden.TOLERANCE
    assert check.to_dict() == {
        "model": bundle.load(name).card.title,
        "inputs": check.inputs,
        "largest_difference": check.largest,
        "passed": True,
    }


def test_golden_check_notices_changed_steps(tmp_path):
    folder = copied(bundle.DEFAULT, tmp_path / "b")

    def blur(card):
        blurring = {"step": "gaussian_laplacian", "sigma": 1.5, "weight": 0.0}
        for entry in card["inputs"]:
            entry["steps"].insert(0, blurring)

    edit_card(folder, blur)
    check = golden.check(bundle.load(folder))
    assert not check.passed
    assert check.largest > golden.TOLERANCE


def test_golden_check_notices_a_changed_calibration(tmp_path):
    folder = copied(bundle.DEFAULT, tmp_path / "b")
    edit_card(folder, lambda card: card["calibration"]["temperature"].update(FM=2.5))
    assert not golden.check(bundle.load(folder)).passed
    other = copied(bundle.DEFAULT, tmp_path / "c")
    edit_card(other, lambda card: card["calibration"]["dirichlet"]["KL"].update(bias=[0.5, 0, 0, 0, 0]))
    assert not golden.check(bundle.load(other)).passed


def test_golden_check_refuses_an_exchanged_graph(tmp_path):
    folder = copied(bundle.DEFAULT, tmp_path / "b")
    graph = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    refused(folder, "sha256", action=lambda f: golden.check(bundle.load(f)))


def test_golden_outputs_must_be_there_and_be_of_the_same_tasks(tmp_path, stub_session, phantom_png):
    folder = stub_bundle.write_bundle(tmp_path)
    opened = bundle.load(folder)
    refused(opened, "no readable golden outputs", action=golden.check)
    golden.write(opened, folder, {"knee.png": (phantom_png.read_bytes(), "R")})
    assert golden.check(opened).passed
    assert golden.check(opened).inputs == 1
    stored = json.loads((folder / "golden" / "outputs.json").read_text())
    del stored["knee.png"]["probabilities"]["FL"]
    (folder / "golden" / "outputs.json").write_text(json.dumps(stored))
    refused(opened, "other tasks", action=golden.check)
    (folder / "golden" / "outputs.json").write_text("{}")
    assert not golden.check(opened).passed


# --- ensembles and votes -------------------------------------------------------------------------------


def ensemble_of(folder, members, **changes):
    inner = bundle.load(members[0][0]).card.to_json()
    document = {
        **{k: v for k, v in inner.items() if k not in ("inputs", "members")},
        "name": "choir",
        "sha256": {},
        "calibration": None,
        "members": [],
        "vote": "soft",
        **changes,
    }
    for index, (name, weight) in enumerate(members):
        copied(name, folder / f"voice{index}")
        document["members"].append({"bundle": f"voice{index}", "weight": weight})
    (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.mark.parametrize("side", ["R", "L"])
def test_one_bundle_twice_says_what_it_says_once(tmp_path, phantoms, side):
    single = Model(bundle.load())
    (tmp_path / "choir").mkdir()
    choir = Model(
        bundle.load(ensemble_of(tmp_path / "choir", [(bundle.DEFAULT, 1.0), (bundle.DEFAULT, 3.0)]))
    )
    assert len(choir.members) == 2
    assert choir.bundle.sha256() != single.bundle.sha256()
    pixels = phantoms[side].pixels
    once, twice = single.predict(pixels, side), choir.predict(pixels, side)
    for task in single.card.tasks:
        np.testing.assert_allclose(twice.probabilities[task], once.probabilities[task], atol=1e-9)
    assert (twice.side, twice.side_agreement, twice.distance) == pytest.approx(
        (once.side, once.side_agreement, once.distance)
    )


FIRST = np.array([[0.6, 0.3, 0.1]])
SECOND = np.array([[0.1, 0.5, 0.4]])
THIRD = np.array([[0.2, 0.1, 0.7]])


def test_soft_vote_is_the_weighted_mean():
    np.testing.assert_allclose(vote.join([FIRST, SECOND], [1, 1], "soft"), [[0.35, 0.4, 0.25]])
    np.testing.assert_allclose(vote.join([FIRST, SECOND], [3, 1], "soft"), [[0.475, 0.35, 0.175]])


def test_hard_vote_counts_heads_and_ties_fall_to_the_smallest_grade():
    np.testing.assert_allclose(vote.join([FIRST, SECOND, FIRST], [1, 1, 1], "hard"), [[2 / 3, 1 / 3, 0]])
    tied = vote.join([THIRD, SECOND, FIRST], [1, 1, 1], "hard")
    np.testing.assert_allclose(tied, [[1 / 3, 1 / 3, 1 / 3]])
    assert decide(tied).tolist() == [0]
    assert decide(vote.join([FIRST, SECOND], [1, 2], "hard")).tolist() == [1]


def test_mixed_vote_breaks_ties_by_the_mean_and_by_nothing_less():
    # one vote each; the means are 0.30, 0.30, 0.40: the tie goes to grade 2
    assert decide(vote.join([FIRST, SECOND, THIRD], [1, 1, 1], "mixed")).tolist() == [2]
    # two votes for grade 1 by a hair outvote one that is sure of grade 0
    hair, sure = np.array([[0.49, 0.51, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    assert decide(vote.join([hair, hair, sure], [1, 1, 1], "mixed")).tolist() == [1]
    assert decide(vote.join([hair, hair, sure], [1, 1, 1], "soft")).tolist() == [0]


voices = st.integers(1, 7).flatmap(
    lambda m: st.lists(
        st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(lambda row: np.array([row]) / np.sum(row)),
        min_size=m,
        max_size=m,
    )
)


@settings(max_examples=60, deadline=None)
@given(voices=voices, kind=st.sampled_from(["soft", "hard", "mixed"]))
def test_every_vote_is_a_distribution(voices, kind):
    joined = vote.join(voices, [1.0] * len(voices), kind)
    assert joined.sum() == pytest.approx(1)
    assert (joined >= 0).all()


@settings(max_examples=60, deadline=None)
@given(voices=voices)
def test_equal_voices_tie_exactly(voices):
    """Pi 2023: the smallest of the grades with most votes (hard), or that with the largest mean (mixed)."""
    ballots = np.bincount([int(v.argmax()) for v in voices], minlength=5)
    leaders = np.flatnonzero(ballots == ballots.max())
    weights = [1.0] * len(voices)
    assert decide(vote.join(voices, weights, "hard"))[0] == leaders[0]
    mean = np.mean(voices, axis=0)[0]
    chosen = decide(vote.join(voices, weights, "mixed"))[0]
    assert chosen in leaders
    assert mean[chosen] == pytest.approx(mean[leaders].max())
