"""The table of what a user states about films."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from films import dicom, knee, raster, write
from kellgren.cli import app
from kellgren.errors import BadMetadata
from kellgren.read import Laterality, Spacing, Stated, list_images, read_bytes, read_metadata

FILM = dicom(knee(), ImageLaterality="R", ImagerPixelSpacing=[0.15, 0.15])
BARE = raster((knee(top=255)).astype(np.uint8))


def table(folder, text, **options):
    path = folder / "metadata.csv"
    path.write_bytes(text.encode(**options))
    return path


def test_every_column_is_read(tmp_path):
    found = read_metadata(
        table(
            tmp_path,
            "patient,file,side,spacing_row_mm,spacing_column_mm,frame,view,weight_bearing\n"
            "7,a/1.dcm,right,0.15,0.14,2,pa,true\n"
            '7,"a/2,b.dcm",B,,,,lateral,no\n'
            "\n"
            "8,b\\1.dcm,,,,,,\n",
            encoding="utf-8-sig",
        )
    )
    assert found.key == "file"
    assert found.ignored == ("patient",)
    assert found.rows == {
        "a/1.dcm": Stated("R", False, Spacing(0.15, 0.14, "user"), 2, "PA", True),
        "a/2,b.dcm": Stated(None, True, None, None, "lateral", False),
        "b/1.dcm": Stated(),
    }


@pytest.mark.parametrize(
    ("key", "rows", "path", "expected"),
    [
        ("file", ["a/1.dcm"], "/data/a/1.dcm", "a/1.dcm"),
        ("file", ["a/1.dcm"], "/data/ba/1.dcm", None),
        ("file", ["1.dcm", "a/1.dcm"], "/data/a/1.dcm", "a/1.dcm"),
        ("file", ["1.dcm", "a/1.dcm"], "/data/b/1.dcm", "1.dcm"),
        ("file", ["1"], "/data/1.dcm", None),
        ("name", ["1", "2.dcm"], "x/1.dcm", "1"),
        ("name", ["1", "2.dcm"], "x/2.dcm", "2.dcm"),
        ("barcode", ["016600383604"], "0.C.2/9000099/20050316/00383604/001", "016600383604"),
        ("barcode", ["016600383604"], "016600383604/001", "016600383604"),
        ("barcode", ["016600383604", "016700383604"], "00383604/001", None),
        ("barcode", ["123"], "00000123/001", None),
    ],
)
def test_a_film_finds_its_row(tmp_path, key, rows, path, expected):
    text = f"{key},side\n" + "".join(f"{row},R\n" for row in rows)
    found = read_metadata(table(tmp_path, text))
    assert found.key_of(path) == expected
    assert (found.find(path) is None) == (expected is None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("side\nR\n", "no column of file"),
        ("file side\na R\n", "separate columns by commas"),
        ("file,name,side\na,b,R\n", "more than one column"),
        ("file,comment\na,b\n", "states nothing"),
        ("file,side,side\na,R,L\n", "side more than once"),
        ("file,spacing_row_mm\na,0.1\n", "one of spacing_row_mm"),
        ("file,spacing_mm,spacing_row_mm,spacing_column_mm\na,1,1,1\n", "both spacing_mm"),
        ("file,side\na,R\nb\n", "line 3 has 1 cells, the header 2"),
        ("file,side\n,R\n", "line 2 has an empty file"),
        ("file,side\na,R\n\nb,L\na,L\n", "line 5 is about the same file as line 2"),
        ("file,side\na,north\n", "line 2 has an unusable side; it may be R, L or B"),
        ("file,spacing_mm\na,15\n", "line 2 has an unusable spacing_mm"),
        ("file,spacing_mm\na,nan\n", "unusable spacing_mm"),
        ("file,spacing_row_mm,spacing_column_mm\na,0.1,\n", "line 2 has one of"),
        ("file,frame\na,0\n", "unusable frame"),
        ("file,view\na,sideways\n", "AP, PA, lateral"),
        ("file,weight_bearing\na,maybe\n", "true or false"),
        ('file,side\n"a,R\n', "not CSV"),
    ],
)
def test_a_table_that_cannot_be_used_says_which_line(tmp_path, text, reason):
    with pytest.raises(BadMetadata) as caught:
        read_metadata(table(tmp_path, text))
    assert reason in caught.value.reason


def test_a_table_that_is_no_text_or_not_there(tmp_path):
    with pytest.raises(BadMetadata, match="not text"):
        read_metadata(table(tmp_path, "file,side\n\0,R\n", encoding="latin-1"))
    with pytest.raises(BadMetadata, match="no such file"):
        read_metadata(tmp_path / "none.csv")


def test_the_users_words_reach_the_film_whatever_its_format():
    stated = Stated(side="L", spacing=Spacing(0.2, 0.2, "user"))
    film = read_bytes(BARE, "film.png", stated=stated)
    assert film.laterality == Laterality("L", "user")
    assert film.spacing == Spacing(0.2, 0.2, "user")
    assert film.flags == ()


def test_contradictions_with_the_header_are_kept():
    film = read_bytes(FILM, "film.dcm", stated=Stated(side="L"))
    assert film.laterality.side == "L"
    assert film.laterality.conflict == "the user says L, the laterality tag says R"
    both = read_bytes(FILM, "film.dcm", stated=Stated(both=True)).laterality
    assert (both.side, both.both) == (None, True)
    assert "both knees" in str(both.conflict)
    film = read_bytes(FILM, "film.dcm", side="R", stated=Stated(side="L"))
    assert film.laterality.side == "R"
    assert film.flags == ("the user says R, the metadata table says L",)


@pytest.mark.parametrize(
    ("millimetres", "flagged"), [(0.13, False), (0.15, False), (0.16, True), (0.04, True)]
)
def test_a_spacing_that_magnification_cannot_explain_is_flagged(millimetres, flagged):
    stated = Stated(spacing=Spacing(millimetres, millimetres, "user"))
    film = read_bytes(FILM, "film.dcm", stated=stated)
    assert film.spacing == stated.spacing
    assert bool(film.flags) == flagged


def test_a_view_or_pose_that_grades_do_not_hold_for_is_flagged():
    assert "lateral" in read_bytes(BARE, "f.png", stated=Stated(view="lateral")).flags[0]
    assert "no weight" in read_bytes(BARE, "f.png", stated=Stated(weight_bearing=False)).flags[0]
    assert read_bytes(BARE, "f.png", stated=Stated(view="PA", weight_bearing=True)).flags == ()


def test_grade_takes_the_table(tmp_path, examples):
    source = examples / "knee-kl1-right.png"
    write(tmp_path, "one.png", source.read_bytes())
    write(tmp_path, "two.png", source.read_bytes())
    metadata = table(tmp_path, "name,side,view\none,R,AP\nthree,L,\ntwo,R,lateral\n")
    command = ["grade", str(tmp_path / "one.png"), str(tmp_path / "two.png"), "--input", "crop", "--out"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "out"), "--metadata", str(metadata)])
    assert result.exit_code == 0, result.output
    assert "2 of 2 files have a row; 1 rows match no file" in result.output
    with (tmp_path / "out" / "grades.csv").open(encoding="utf-8", newline="") as file:
        one, two = csv.DictReader(file)
    assert (one["side"], one["side_source"]) == (two["side"], two["side_source"]) == ("R", "user")
    assert two["status"] == "refer"
    assert "a view of kind lateral" in two["reason"]
    twice = [*command, str(tmp_path / "out"), "--metadata", str(metadata), "--side", "R"]
    assert CliRunner().invoke(app, twice).exit_code == 2


@pytest.mark.parametrize(
    ("key", "row", "names"),
    [
        ("name", "a", ["a.png", "a.dcm"]),
        ("name", "a.png", ["x/a.png", "y/a.png"]),
        ("file", "DICOM/IM1", ["P1/DICOM/IM1", "P2/DICOM/IM1"]),
        ("name", "1.2.840.7", ["p/1.2.840.7", "q/1.2.840.7"]),
    ],
)
def test_a_row_that_fits_two_files_is_refused(tmp_path, key, row, names):
    stated = read_metadata(table(tmp_path, f"{key},side\n{row},R\n"))
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(BARE)
    sources = list_images([tmp_path / "in"]).sources
    with pytest.raises(BadMetadata, match="line 2 fits two files"):
        stated.check_sources(sources)
    stated.check_sources(sources[:1])


def test_the_end_of_a_uid_is_no_suffix(tmp_path):
    stated = read_metadata(table(tmp_path, "name,side\n1.2.840.7,L\n1.2.840.8.1,R\nknee.v2,R\n"))
    assert stated.key_of("in/1.2.840.7.1") is None
    assert stated.key_of("in/1.2.840.8.1") == "1.2.840.8.1"
    assert stated.key_of("in/1.2.840.8.1.dcm") == "1.2.840.8.1"
    assert stated.key_of("in/knee.v2.PNG") == "knee.v2"
