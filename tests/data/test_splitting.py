"""Dividing a data set: by patient, in the grades' own mix, the same every time."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from contract import validate
from kellgren.cli import app
from kellgren.data.folder import read_folds, read_labels
from kellgren.data.splitting import divide, split_folder
from kellgren.errors import BadDataset

pytest.importorskip("sklearn")


@pytest.fixture
def folder(tmp_path):
    """90 patients of two knees, half of them KL 0, with a column that nobody here knows."""
    rng = np.random.default_rng(3)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "split", "patient", "side", "KL", "clinic"])
        for patient in range(90):
            for side in "LR":
                kl = rng.choice(["0", "0", "0", "1", "2", "4", ""])
                writer.writerow([f"{patient}{side}", "all", f"p{patient}", side, kl, f"c{patient % 3}"])
    return tmp_path


def test_no_patient_is_on_two_sides_and_grades_keep_their_mix(folder):
    knees = read_labels(folder / "labels.csv")
    divided = divide(knees, shares={"train": 5, "val": 1, "test": 3}, folds=5, seed=0)
    assert set(divided.splits) == set(knees)
    sides = {}
    for name, split in divided.splits.items():
        assert sides.setdefault(knees[name].patient, split) == split
    folds = {}
    for name, fold in divided.folds.items():
        assert folds.setdefault(knees[name].patient, fold) == fold
    assert {name for name, split in divided.splits.items() if split == "train"} == set(divided.folds)
    assert divided.patients == {"train": 50, "val": 10, "test": 30}
    whole = np.sum(list(divided.counts.values()), axis=0)
    for split, share in (("train", 5 / 9), ("val", 1 / 9), ("test", 3 / 9)):
        np.testing.assert_allclose(divided.counts[split], share * whole, atol=5)


def test_a_seed_decides(folder):
    knees = read_labels(folder / "labels.csv")
    one, same, other = (divide(knees, shares={"train": 2, "val": 1}, folds=2, seed=s) for s in (4, 4, 5))
    assert one == same
    assert one.splits != other.splits


def test_the_table_keeps_its_other_columns(folder):
    before = list(csv.DictReader((folder / "labels.csv").open()))
    divided = split_folder(folder)
    after = list(csv.DictReader((folder / "labels.csv").open()))
    assert [{**row, "split": "all"} for row in after] == before
    assert {row["name"]: row["split"] for row in after} == divided.splits
    assert read_folds(folder / "folds.csv") == divided.folds
    with pytest.raises(BadDataset, match="already divided: test, train, val"):
        split_folder(folder)
    split_folder(folder, shares={"train": 1}, folds=0, again=True)
    assert {row["split"] for row in csv.DictReader((folder / "labels.csv").open())} == {"train"}
    assert not (folder / "folds.csv").exists(), "folds of another division"


def test_what_cannot_be_divided(folder, tmp_path_factory):
    with pytest.raises(BadDataset, match="90 patients cannot be divided into 100 parts"):
        split_folder(folder, shares={"train": 99, "val": 1})
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(BadDataset, match="no knee to divide"):
        split_folder(empty)
    (folder / "train" / "2").mkdir(parents=True)
    (folder / "train" / "2" / "0L.png").write_bytes(b"")
    with pytest.raises(BadDataset, match=r"train/2/0L.png lies in a folder that names its split"):
        split_folder(folder)


def test_the_command(folder):
    done = CliRunner().invoke(
        app, ["data", "split", str(folder), "--share", "train=4", "--share", "val=1", "--json"]
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    validate("division", document)
    assert document["splits"]["train"]["patients"] == 72
    assert sum(document["folds"]) == document["splits"]["train"]["knees"]
    wrong = CliRunner().invoke(app, ["data", "split", str(folder), "--share", "train"])
    assert wrong.exit_code == 2
    assert "NAME=PARTS" in wrong.output
    for shares in (["train=2", "train=3"], ["trian=2"]):
        given = [word for share in shares for word in ("--share", share)]
        assert CliRunner().invoke(app, ["data", "split", str(folder), *given]).exit_code == 2
