"""Readings of made-up OAI and MOST tables, brought to image names."""

import csv
import json
import subprocess
import sys

import pytest

from contract import validate
from kellgren.data import inventory, load, oarsi
from kellgren.errors import BadDataset
from kellgren.vocabulary import READINGS

OAI = "ID|SIDE|READPRJ|V00XRKL|V00XROSFL|V00XROSFM|V00XRJSL|V00XRJSM|V00XRCHM"


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def oai(tmp_path, *rows, header=OAI):
    return oarsi.read_oai(write(tmp_path / "kxr_sq_bu00.txt", header, *rows))


def test_every_reading_has_a_column():
    assert set(oarsi.COLUMN) == set(READINGS)
    assert (oarsi.COLUMN["FL"], oarsi.COLUMN["JSN_M"], oarsi.COLUMN["SC_TM"]) == ("OSFL", "JSM", "SCTM")
    assert (oarsi.COLUMN["AT_TL"], oarsi.COLUMN["CY_FM"], oarsi.COLUMN["CH_L"]) == ("ATTL", "CYFM", "CHL")


def test_codes_labels_and_missing_codes(tmp_path):
    read = oai(
        tmp_path,
        "9000001|1|15|3|2|1|0|2|0",
        "9000001|2: Left|15|1: 1|.: Missing Form/Incomplete Workbook|.A: Not Expected||.|.",
    )
    assert read.knees["9000001", "R"] == {"KL": 3, "FL": 2, "FM": 1, "JSN_L": 0, "JSN_M": 2, "CH_M": 0}
    assert read.knees["9000001", "L"] == {"KL": 1}  # what was not read is absent, never 0
    assert read.notes == ()


@pytest.mark.parametrize("order", [1, -1])
def test_project_15_is_preferred_and_gaps_are_filled(tmp_path, order):
    rows = ["9000001|1|42|2|3|1|0|2|0", "9000001|1|15|2|.|1|0|1|.", "9000001|1|37|2|2|.|.|.|."][::order]
    read = oai(tmp_path, *rows)
    assert read.knees["9000001", "R"] == {"KL": 2, "FL": 2, "FM": 1, "JSN_L": 0, "JSN_M": 1, "CH_M": 0}
    assert {(n.task, n.words) for n in read.notes} == {
        ("FL", "project 37 reads 2, project 42 3: 2 was taken"),
        ("JSN_M", "project 15 reads 1, project 42 2: 1 was taken"),
    }


def test_rows_there_twice_agree_or_are_left_empty(tmp_path):
    read = oai(tmp_path, "9000001|1|15|2|0|0|0|1|0", "9000001|1|15|2|0|0|0|2|0")
    assert read.knees["9000001", "R"] == {"KL": 2, "FL": 0, "FM": 0, "JSN_L": 0, "CH_M": 0}
    [note] = read.notes
    assert (note.task, note.words) == ("JSN_M", "project 15 reads 1 and 2: left empty")


@pytest.mark.parametrize("cell", ["1.4", "5", "-1", "two"])
def test_what_is_no_grade_is_left_empty_and_told(tmp_path, cell):
    read = oai(tmp_path, f"9000001|1|15|2|0|0|0|{cell}|0")
    assert "JSN_M" not in read.knees["9000001", "R"]
    assert "is not a grade of 0..3" in read.notes[0].words


def test_other_visits(tmp_path):
    read = oai(tmp_path, "9000001|1|15|4", header="id|side|readprj|v06xrkl")
    assert read.knees == {("9000001", "R"): {"KL": 4}}
    assert read.columns == ("KL",)


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("ID|READPRJ|V00XRKL", "9|15|1", "no column SIDE"),
        ("ID|SIDE|READPRJ", "9|1|15", "0 columns like V00XRKL"),
        ("ID|SIDE|V00XRKL", "9|3|1", "SIDE '3' is not 1 or 2"),
        ("ID|SIDE|V00XRKL", "9|1", "line 2 has 2 cells, the header 3"),
    ],
)
def test_tables_that_are_none(tmp_path, header, row, words):
    with pytest.raises(BadDataset, match=words):
        oai(tmp_path, row, header=header)


MOST = ("MOSTID", "V0XRKL", "V0XLKL", "V0XROSFL", "V0XLOSFL", "V2XRKL", "V2XLKL")


@pytest.mark.parametrize("separator", ["\t", ",", "|"])
def test_most_is_wide_by_knee(tmp_path, separator):
    rows = [MOST, ("MB00001", "3", "8", "1", ".", "4", "X"), ("MB00002", "P", "0", "", "2", "S", "1")]
    path = write(tmp_path / "MOSTV01235XRAY.txt", *(separator.join(row) for row in rows))
    assert oarsi.read_most(path).knees == {
        ("MB00001", "R"): {"KL": 3, "FL": 1},
        ("MB00001", "L"): {},
        ("MB00002", "R"): {},
        ("MB00002", "L"): {"KL": 0, "FL": 2},
    }
    assert oarsi.read_most(path, 2).knees["MB00001", "R"] == {"KL": 4}
    with pytest.raises(BadDataset, match="no columns MOSTID and V1XRKL"):
        oarsi.read_most(path, 1)


@pytest.fixture
def images(tmp_path):
    """Knees in folders, in a flat place, with odd names."""
    root = tmp_path / "set"
    for name in ("train/3/9000001R", "train/0/9000001L", "val/1/9000002R", "9000003L", "9000004R", "knee"):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


ROWS = (
    "9000001|1|15|3|2|1|0|2|0",
    "9000001|2|15|1|.|.|0|0|.",
    "9000002|1|15|1|0|0|0|0|0",
    "9000003|2|15|2|1|0|0|0|0",
    "9000009|1|15|0|0|0|0|0|0",
)


def test_join_says_what_matched_and_what_did_not(tmp_path, images):
    joined = oarsi.join(inventory.take(images), [oai(tmp_path, *ROWS)])
    rows = {row["name"]: row for row in joined.rows}
    assert list(rows) == ["9000001L", "9000001R", "9000002R", "9000003L"]
    assert rows["9000001R"] == dict.fromkeys(oarsi.COLUMNS, "") | {
        "name": "9000001R", "split": "train", "patient": "9000001", "side": "R",
        "KL": "3", "FL": "2", "FM": "1", "JSN_L": "0", "JSN_M": "2", "CH_M": "0",
    }  # fmt: skip
    assert (rows["9000001L"]["KL"], rows["9000001L"]["FL"]) == ("", "")  # the folder says 0, the reading 1
    assert rows["9000003L"]["split"] == "all"
    assert (joined.unread, joined.unnamed, joined.unseen) == (("9000004R.png",), ("knee.png",), 1)
    assert [(n.patient, n.task) for n in joined.notes] == [("9000001", "KL")]
    assert not joined.whole


def test_command_writes_a_table_that_loads(tmp_path, images):
    for name in ("knee.png", "9000004R.png", "train/0/9000001L.png"):
        (images / name).unlink()
    readings = write(tmp_path / "kxr_sq_bu00.txt", OAI, *ROWS)
    command = [sys.executable, "-c", "from kellgren.cli import main; main()", "data", "join-oarsi", "--json"]
    done = subprocess.run(  # noqa: S603
        [*command, "--images", images, "--readings", readings, "--out", images / "labels.csv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    validate("join", document)
    assert document["matched"] == 3
    assert [(k.name, k.grade("KL"), k.grade("FL")) for k in load(images)] == [
        ("9000001R", 3, 2),
        ("9000002R", 1, 0),
        ("9000003L", 2, 1),
    ]
    with (images / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert tuple(csv.DictReader(file).fieldnames) == oarsi.COLUMNS


def test_two_images_of_one_name(tmp_path, images):
    (images / "again").mkdir()
    (images / "again" / "9000003L.jpg").write_bytes(b"x")
    with pytest.raises(BadDataset, match="two images are called '9000003L'"):
        oarsi.join(inventory.take(images), [oai(tmp_path, *ROWS)])
