"""Tables: whole rows at every moment, columns of the contract, cells that read back."""

import csv

import pytest

from kellgren.errors import UnreadableImage
from kellgren.report.table import TableWriter, cell_text, columns, failed_row


def test_each_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
    path = tmp_path / "t.csv"
    with TableWriter(path, ("file", "KL")) as table:
        assert path.read_text() == "file,KL\n"
        table.write({"file": "a,b.png", "KL": 2})
        assert path.read_text() == 'file,KL\n"a,b.png",2\n'
        table.write({"file": "c.png"})
        assert path.read_text().endswith("c.png,\n")


def test_a_cell_without_a_column_is_a_bug_that_is_said(tmp_path):
    with TableWriter(tmp_path / "t.csv", ("file",)) as table, pytest.raises(KeyError, match="KL"):
        table.write({"file": "a", "KL": 1})


@pytest.mark.parametrize("text", ['two\nlines, "quoted"', "Größe", " spaces "])
def test_text_survives(tmp_path, text):
    with TableWriter(tmp_path / "t.csv", ("file", "reason")) as table:
        table.write({"file": "a", "reason": text})
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["reason"] == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (0.25, "0.25"),
        (1.0, "1"),
        (1 / 3, "0.333333"),
        (0.0, "0"),
    ],
)
def test_cells(value, text):
    assert cell_text(value) == text


def test_columns_follow_the_bundles_tasks():
    names = columns(["KL", "OA", "JSN_M", "FL", "SIDE"])
    assert names[:7] == ("file", "root", "image_sha256", "knee", "status", "reason", "notes")
    assert names[7:13] == ("side", "side_source", "x0", "y0", "x1", "y1")
    assert names[13:15] == ("KL", "KL_argmax")
    assert names[-2:] == ("model", "kellgren")
    assert len(set(names)) == len(names)
    assert {"KL_p4", "KL_expected", "KL_low", "KL_high", "OA_p", "FL", "FL_p3", "JSN_M_p0"} <= set(names)
    assert not {"FM", "SIDE", "SIDE_p0", "KL_p5", "FL_p4", "OA"} & set(names)


def test_failed_row_says_what_to_do_but_not_where_the_file_lies():
    error = UnreadableImage("the file is empty", path="/home/somebody/a.png", remedy="send it again")
    row = failed_row(error, "a.png", "m@1")
    assert row["reason"] == "the file is empty; send it again"
    assert (row["file"], row["status"], row["model"]) == ("a.png", "failed", "m@1")
    assert "knee" not in row
