"""Tables: whole rows at every moment, columns of the contract, cells that read back."""

import csv
from pathlib import Path

import pytest

from kellgren.errors import UnreadableImage
from kellgren.report.table import cell_text, columns, failed_row, path_text, write_table


def test_a_cell_without_a_column_is_a_bug_that_is_said(tmp_path):
    with pytest.raises(KeyError, match="KL"):
        write_table(tmp_path / "t.csv", ("file",), [{"file": "a", "KL": 1}])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('"quoted", and more', '"quoted", and more'),
        ("Größe", "Größe"),
        (" spaces ", " spaces "),
        ("two\nlines\x1b[2J", "two\\x0alines\\x1b[2J"),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "\\x09=1"),
    ],
)
def test_text_survives_and_is_no_formula(tmp_path, text, shown):
    write_table(tmp_path / "t.csv", ("file", "reason"), [{"file": "a", "reason": text}])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["reason"] == shown
    assert (tmp_path / "t.csv").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@SUM(A1).png"])
def test_a_path_that_looks_like_a_formula_still_names_its_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert path_text(name) == f"./{name}"
    assert Path(path_text(name)).is_file()
    assert path_text(path_text(name)) == path_text(name)
    assert cell_text(path_text(name)) == path_text(name)


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
