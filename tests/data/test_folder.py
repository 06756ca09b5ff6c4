"""Data set folders: every layout that is understood, and a plain word for every one that is not."""

import csv
import os
import re
import zipfile

import numpy as np
import pytest

from kellgren.data import load
from kellgren.errors import BadDataset

KNEES = {"train/0/9000001R": "a", "train/2/9000001L": "b", "val/4/9000002R": "c"}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def images(root, *names, suffix=".png", content=b"x"):
    """Put files at `root/NAME.SUFFIX`; nothing of a data set is decoded when it is listed."""
    for name in names:
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def zipped(path, *names, suffix=".jpg", content=b"zipped"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}{suffix}", content)


HEADER = ("name", "split", "patient", "side", "KL")


def refused(root, *words):
    with pytest.raises(BadDataset) as caught:
        load(root)
    for word in words:
        assert re.search(re.escape(word), str(caught.value)), (word, str(caught.value))
    return caught.value


def test_split_grade_folders(root):
    images(root, *KNEES)
    dataset = load(root)
    assert [k.name for k in dataset] == ["9000001L", "9000001R", "9000002R"]
    assert [(k.split, k.patient, k.side, k.grade("KL"), k.grade("OA"), k.fold) for k in dataset] == [
        ("train", "9000001", "L", 2, 1, None),
        ("train", "9000001", "R", 0, 0, None),
        ("val", "9000002", "R", 4, 1, None),
    ]
    assert [k.grade("FL") for k in dataset] == [-1, -1, -1]
    assert len(dataset) == 3
    assert "train 2, val 1" in repr(dataset)


@pytest.mark.parametrize("inner", ["", "kneeKL299/"])
def test_zips_hold_the_same_folders(root, inner):
    names = list(KNEES)
    zipped(root / "images-1.zip", *(inner + n for n in names[:2]))
    zipped(root / "images-2.zip", *(inner + n for n in names[2:]), content=b"other")
    dataset = load(root)
    assert [(k.name, k.split, k.grade("KL")) for k in dataset] == [
        ("9000001L", "train", 2),
        ("9000001R", "train", 0),
        ("9000002R", "val", 4),
    ]
    assert [k.image.read_bytes() for k in dataset] == [b"zipped", b"zipped", b"other"]


def test_a_zip_that_was_rewritten_is_read_anew(root):
    zipped(root / "i.zip", "train/0/9000001R", content=b"old")
    knee = load(root).knees[0]
    assert knee.image.read_bytes() == b"old"
    zipped(root / "i.zip", "train/0/9000001R", content=b"new")
    os.utime(root / "i.zip", ns=(1, 1))
    assert knee.image.read_bytes() == b"new"


def test_what_a_mac_adds_is_passed_over(root):
    zipped(root / "i.zip", "train/0/9000001R", "__MACOSX/train/0/._9000001R")
    images(root, "train/1/9000002R", ".thumbnails/9000003R", "train/1/._9000002R")
    assert [k.name for k in load(root)] == ["9000001R", "9000002R"]


def test_other_files_are_passed_over(root):
    images(root, "train/0/9000001R")
    images(root, "notes", suffix=".txt")
    assert len(load(root)) == 1


def test_labels_name_the_knees_wherever_their_images_lie(root):
    images(root, "here/one", "there/two", "three")
    table(
        root / "labels.csv",
        (*HEADER, "FL", "JSN_M", "CH_L", "remark"),
        ("two", "val", "p2", "", "", "", "0", "1", ""),
        ("one", "train", "p1", "R", "3", "2", "", "", "blurred"),
    )
    one, two = load(root)  # an image without a row is not a knee of the set
    assert (one.name, one.split, one.patient, one.side, dict(one.readings)) == (
        "one",
        "train",
        "p1",
        "R",
        {"KL": 3, "FL": 2},
    )
    assert (two.side, dict(two.readings)) == (None, {"JSN_M": 0, "CH_L": 1})
    assert (two.grade("KL"), two.grade("OA"), two.grade("JSN_M")) == (-1, -1, 0)
    assert two.image.path == root / "there" / "two.png"


def test_labels_with_a_byte_order_mark_and_spaces(root):
    images(root, "one")
    (root / "labels.csv").write_text(
        "\ufeffname,split,patient,side,KL\none , train,p1, R ,2\n", encoding="utf-8"
    )
    (knee,) = load(root)
    assert (knee.name, knee.side, knee.grade("KL")) == ("one", "R", 2)


def test_labels_and_folders_that_agree(root):
    images(root, *KNEES)
    table(
        root / "labels.csv",
        (*HEADER, "FM"),
        ("9000001R", "train", "9000001", "R", "0", "1"),
        ("9000001L", "train", "9000001", "L", "", ""),  # a missing grade contradicts no folder
        ("9000002R", "val", "9000002", "R", "4", "3"),
    )
    dataset = load(root)
    np.testing.assert_array_equal(dataset.grades("KL"), [-1, 0, 4])
    np.testing.assert_array_equal(dataset.grades("FM"), [-1, 1, 3])
    np.testing.assert_array_equal(dataset.grades("OA"), [-1, 0, 1])
    assert dataset.patients().tolist() == ["9000001", "9000001", "9000002"]


@pytest.mark.parametrize(
    ("split", "kl", "says"),
    [("train", "3", "train/KL 3"), ("val", "0", "val/KL 0"), ("val", "", "val/KL None")],
)
def test_labels_and_folders_that_disagree(root, split, kl, says):
    images(root, "train/0/9000001R")
    images(root, "other")
    other = ("other", split, "9000002", "R", "1")
    table(root / "labels.csv", HEADER, ("9000001R", split, "9000001", "R", kl), other)
    refused(root, "9000001R", f"labels.csv says {says}", "its folder says train/KL 0")


def test_folds(root):
    images(root, *KNEES)
    table(root / "folds.csv", ("name", "fold"), ("9000001R", "3"), ("9000001L", "3"))
    assert {k.name: k.fold for k in load(root)} == {"9000001R": 3, "9000001L": 3, "9000002R": None}


def test_select_by_split_and_fold(root):
    images(root, *KNEES, "train/1/9000003R")
    table(root / "folds.csv", ("name", "fold"), ("9000001R", "0"), ("9000001L", "0"), ("9000003R", "1"))
    dataset = load(root)
    assert [k.name for k in dataset.select(split="val")] == ["9000002R"]
    assert [k.name for k in dataset.select(split="train", folds=[1])] == ["9000003R"]
    assert len(dataset.select(split="train", folds={0, 1})) == 3
    with pytest.raises(BadDataset, match=r"no knees in split 'test'.*train 3, val 1"):
        dataset.select(split="test")
    with pytest.raises(BadDataset, match=r"split 'train', folds \[7\]"):
        dataset.select(split="train", folds=[7])


def test_auto_test_knees_have_names_of_their_own(root):
    images(root, "test/1/9000001R", "auto_test/1/9000001R", "auto_test/2/9000001L")
    dataset = load(root)
    assert [k.name for k in dataset] == ["9000001R", "auto_test/9000001L", "auto_test/9000001R"]
    assert {k.patient for k in dataset} == {"9000001"}
    assert len(dataset.select(split="auto_test")) == 2


def test_auto_test_patients_may_not_be_trained_on(root):
    images(root, "train/1/9000001R", "auto_test/1/9000001R")
    refused(root, "one patient is in ", "train", "test")


@pytest.mark.parametrize("split", ["val", "test", "auto_test"])
def test_patient_in_two_splits(root, split):
    images(root, "train/1/9000001R", f"{split}/1/9000001L")
    refused(root, "one patient is in ", "train", "test" if split == "auto_test" else split)


def test_patient_in_two_folds(root):
    images(root, "train/0/9000001R", "train/0/9000001L")
    table(root / "folds.csv", ("name", "fold"), ("9000001R", "0"), ("9000001L", "1"))
    refused(root, "one patient is in two folds", "9000001L and 9000001R")


def test_not_a_folder(root):
    assert refused(root, "not a folder").path == root


def test_empty_folder(root):
    root.mkdir()
    refused(root, "no images found", "SPLIT/GRADE/NAME.png")


def test_image_outside_of_the_layout(root):
    images(root, "train/0/9000001R", "stray/9000002R")
    refused(root, "stray/9000002R.png is not under SPLIT/GRADE/", "labels.csv")


def test_unknown_split_folder(root):
    images(root, "pilot/0/9000001R")
    refused(root, "pilot/0/9000001R.png is not under SPLIT/GRADE/", "train, val, test, auto_test")


@pytest.mark.parametrize("grade", ["5", "²"])
def test_folder_of_an_impossible_grade(root, grade):
    images(root, f"train/{grade}/9000001R")
    refused(root, f"train/{grade}/9000001R.png")


def test_name_without_a_patient(root):
    images(root, "train/0/knee7")
    refused(root, "cannot tell the patient of 'knee7'", "9000099L")


def test_two_images_of_one_name(root):
    images(root, "train/0/9000001R")
    zipped(root / "more.zip", "train/0/9000001R")
    refused(root, "two images are called '9000001R'", "more.zip")


def test_damaged_zip(root):
    images(root, "train/0/9000001R")
    (root / "bad.zip").write_bytes(b"PK\x03\x04 and then nothing")
    assert refused(root, "the archive is damaged").path == root / "bad.zip"


GOOD = ("one", "train", "p1", "R", "2")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([HEADER[:-1], GOOD[:-1]], ["no column KL"]),
        ([("a", "b"), ("c", "d")], ["no column name, split, patient, side, KL"]),
        ([HEADER, GOOD, GOOD], ["line 3", "'one' appears twice"]),
        ([HEADER, ("one", "train", "p1", "both", "2")], ["line 2", "side 'both' is not R, L or empty"]),
        ([HEADER, ("one", "train", "", "R", "2")], ["line 2", "no patient"]),
        ([HEADER, ("one", "train", "p1", "R", "5")], ["line 2", "KL is '5', not 0..4 or empty"]),
        ([HEADER, ("one", "train", "p1", "R", "-1")], ["line 2", "KL is '-1'"]),
        ([HEADER, ("one", "train", "p1", "R", "1.5")], ["line 2", "KL is '1.5'"]),
        ([HEADER, ("one", "train", "p1", "R", "9" * 5000)], ["line 2", "KL is '99"]),
        ([HEADER, ("one", "train", "p1", "R", "")], ["the column KL is empty"]),
        ([(*HEADER, "kl"), (*GOOD, "3")], ["two columns of one name"]),
        (
            [HEADER, ("one", "trian", "NA", "up", "7"), ("one", "val", "p", "R", "x")],
            [
                "5 cells are in doubt",
                "line 2: side 'up'",
                "'trian': write 'train'",
                "no patient",
                "KL is '7'",
                "line 3: KL is 'x'",
            ],
        ),
        ([HEADER, ("one", "train", "p1", "R", "²")], ["line 2", "KL is '²'"]),
        ([(*HEADER, "FL"), (*GOOD, "4")], ["line 2", "FL is '4', not 0..3"]),
        ([(*HEADER, "CH_M"), (*GOOD, "2")], ["line 2", "CH_M is '2', not 0..1"]),
        ([HEADER, GOOD[:-1]], ["line 2", "cells, the header 5"]),
        ([HEADER, (*GOOD, "more")], ["line 2", "cells, the header 5"]),
        ([HEADER, GOOD, ("two", "train", "p2", "R", "1")], ["names 1 knees without an image", "'two'"]),
        ([HEADER], ["no images found"]),
    ],
)
def test_labels_that_break_the_contract(root, rows, words):
    images(root, "one")
    table(root / "labels.csv", *rows)
    refused(root, *words)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("trian", "train"), ("auto-test", "auto_test"), ("valdation", "val")],
)
def test_a_split_that_is_nearly_one_of_the_usual_words(root, word, meant):
    images(root, "one")
    table(root / "labels.csv", HEADER, ("one", word, "p1", "R", "2"))
    assert refused(root, f"line 2: split {word!r}", f"write {meant!r}").path == root / "labels.csv"


@pytest.mark.parametrize("word", ["external", "centre-2", "all"])
def test_a_split_of_another_name_is_allowed(root, word):
    images(root, "one")
    table(root / "labels.csv", HEADER, ("one", word, "p1", "R", "2"))
    assert load(root).select(split=word).knees[0].name == "one"


def test_a_row_without_a_split(root):
    images(root, "one")
    table(root / "labels.csv", HEADER, ("one", "", "p1", "R", "2"))
    refused(root, "line 2: no split", "train, val, test, auto_test")


@pytest.mark.parametrize("name", ["labels.csv", "folds.csv"])
def test_table_that_is_not_text(root, name):
    images(root, "train/0/9000001R")
    head = b"name,split,patient,side,KL,fold\n"
    (root / name).write_bytes(head + b"9000001R,train,p\x81tient,R,0,0\n")
    refused(root, name, "the table is not text")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("name", "part"), ("9000001R", "1")], ["no column fold"]),
        ([("name", "fold"), ("9000001R", "one")], ["line 2", "fold 'one' is not a number"]),
        ([("name", "fold"), ("9000001R", "²")], ["line 2", "fold '²' is not a number"]),
        ([("name", "fold"), ("9000001R", "1"), ("9000001R", "2")], ["line 3", "'9000001R' appears twice"]),
    ],
)
def test_folds_that_break_the_contract(root, rows, words):
    images(root, "train/0/9000001R")
    table(root / "folds.csv", *rows)
    assert refused(root, *words).path == root / "folds.csv"


def test_fingerprint_follows_what_was_read_and_nothing_else(root):
    images(root, *KNEES)
    first = load(root).sha256()
    images(root, *KNEES, content=b"other pixels")
    assert load(root).sha256() == first
    table(root / "folds.csv", ("name", "fold"), ("9000001R", "0"), ("9000001L", "0"))
    assert load(root).sha256() != first


def test_the_same_knees_in_another_layout_have_the_same_fingerprint(root, tmp_path):
    images(root, *KNEES)
    zipped(tmp_path / "zips" / "i.zip", *KNEES)
    assert load(root).sha256() == load(tmp_path / "zips").sha256()


def test_simulated_set_is_a_data_set(phantom_set):
    dataset = load(phantom_set)
    assert len(dataset) == 20
    assert {k.split for k in dataset} == {"train", "val"}
    assert all(k.grade(task) >= 0 for k in dataset for task in ("KL", "FL", "JSN_M"))
    assert all(k.image.read_bytes()[1:4] == b"PNG" for k in dataset)


AS_PEOPLE_WRITE = {
    "floats": "name,split,patient,side,KL\none,val,p1,R,1.0\ntwo,val,p2,L,\n",
    "suffixes": "name,split,patient,side,KL\none.png,val,p1,R,1\ntwo.JPG,val,p2,L,NA\n",
    "words": "name,split,patient,side,KL\none,validation,p1,Right,KL 1\ntwo,Valid,p2,left,nan\n",
    "letters": "name,split,patient,side,KL\none,VAL,p1,r,1Doubtful\ntwo,val,p2,l,.\n",
    "oai codes": "name,split,patient,side,KL\none,val,p1,1,1\ntwo,val,p2,2.0,N/A\n",
    "semicolons": "name;split;patient;side;KL\none;val;p1;R;1,0\ntwo;val;p2;L;\n",
    "tabs": "name\tsplit\tpatient\tside\tKL\none\tval\tp1\tR\t1\ntwo\tval\tp2\tL\t\n",
    "header": "\ufeffNAME, Split ,Patient,SIDE,kl\none,val,p1,R,1\ntwo,val,p2,L,<NA>\n",
    "paths": 'name,split,patient,side,KL\n"C:\\my films\\one.png",val,p1,R,1\nval/two.png,val,p2,L,-\n',
    "lines": "name,split,patient,side,KL\r\none,val,p1,R,1\r\n,,,,\r\ntwo,val,p2,L,null\r\n",
}


@pytest.mark.parametrize("text", AS_PEOPLE_WRITE.values(), ids=AS_PEOPLE_WRITE)
def test_labels_as_people_write_them(root, text):
    images(root, "one", "two")
    (root / "labels.csv").write_text(text, encoding="utf-8", newline="")
    assert [(k.name, k.split, k.patient, k.side, dict(k.readings)) for k in load(root)] == [
        ("one", "val", "p1", "R", {"KL": 1}),
        ("two", "val", "p2", "L", {}),
    ]


def test_patients_that_a_table_program_made_numbers(root):
    images(root, "one", "two")
    table(
        root / "labels.csv",
        HEADER,
        ("one", "val", "9000001.0", "R", "2.0"),
        ("two", "val", "9000001", "L", "3"),
    )
    assert [k.patient for k in load(root)] == ["9000001", "9000001"]


def test_many_offenders_are_counted(root):
    images(root, "one")
    table(root / "labels.csv", HEADER, *((f"k{i}", "val", "p", "R", "9") for i in range(30)))
    refused(root, "30 cells are in doubt", "line 21: KL is '9'", "and 10 more")
