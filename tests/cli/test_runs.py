"""Runs of `kellgren grade` into a folder: continued, repeated, refused, interrupted and killed."""

import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

from contract import rows_of, validate
from films import raster
from kellgren.report import folder as run_folder
from kellgren.simulate import write_png
from kellgren.writing import LOCK, locked

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture
def films(phantoms, tmp_path):
    """A folder of four crops and an image that shows nothing."""
    folder = tmp_path / "films"
    folder.mkdir()
    write_png(phantoms["R"], folder / "a_R.png")
    write_png(phantoms["L"], folder / "b_L.png")
    (folder / "c_R.png").write_bytes((folder / "a_R.png").read_bytes())
    (folder / "d.png").write_bytes(raster(np.zeros((299, 299), np.uint8)))
    (folder / "e_L.png").write_bytes((folder / "b_L.png").read_bytes())
    return folder


def names(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def record(out):
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    validate("run", document)
    return document


def cut(out, rows):
    """Leave the folder as a kill leaves it: so many whole rows, half a row, a record without an end."""
    lines = (out / "grades.csv").read_bytes().splitlines(keepends=True)
    (out / "grades.csv").write_bytes(b"".join(lines[: rows + 1]) + lines[rows + 1][:40])
    document = record(out) | {"finished": None, "exit_code": None, "files": []}
    (out / "run.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_finished_run_has_nothing_left_to_do(command, films, tmp_path):
    out = tmp_path / "out"
    assert command("grade", films, "-o", out).code == 1
    before = {name: (out / name).read_bytes() for name in names(out)}
    again = command("grade", films, "-o", out)
    assert again.code == 1
    assert "nothing to do" in again.err
    assert "5 films, 4 knees" in again.out
    assert {name: (out / name).read_bytes() for name in names(out)} == before


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_killed_run_is_continued_to_the_same_table(command, films, tmp_path, rows):
    out, whole = tmp_path / "out", tmp_path / "whole"
    command("grade", films, "-o", whole, "--explain")
    shutil.copytree(whole, out)
    cut(out, rows)
    answer = command("grade", films, "-o", out, "--explain")
    assert answer.code == 1
    # the last file of a killed run is graded again: it may lack its second knee
    kept = max(rows - 1, 0)
    assert f"continuing: {kept} of 5 files already graded" in answer.err or not kept
    assert (out / "grades.csv").read_bytes() == (whole / "grades.csv").read_bytes()
    assert names(out) == names(whole)
    mine, theirs = record(out), record(whole)
    assert mine["counts"] == theirs["counts"]
    assert [entry["seconds"] is None for entry in mine["files"]] == [i < kept for i in range(5)]
    free = {"seconds"}
    for entry, other in zip(mine["files"], theirs["files"], strict=True):
        assert {k: v for k, v in entry.items() if k not in free} == {
            k: v for k, v in other.items() if k not in free
        }


def test_only_changed_new_and_vanished_files_change_the_table(command, films, tmp_path):
    out = tmp_path / "out"
    command("grade", films, "-o", out, "--explain")
    (films / "a_R.png").write_bytes((films / "b_L.png").read_bytes())
    (films / "b_L.png").unlink()
    (films / "aa_R.png").write_bytes((films / "c_R.png").read_bytes())
    answer = command("grade", films, "-o", out, "--explain")
    assert answer.code == 1
    assert "3 of 5 files already graded" in answer.err
    assert "1 changed since, graded again" in answer.err
    assert "1 no longer there, rows removed" in answer.err
    fresh = tmp_path / "fresh"
    command("grade", films, "-o", fresh, "--explain")
    assert (out / "grades.csv").read_bytes() == (fresh / "grades.csv").read_bytes()
    assert names(out) == names(fresh)


def test_a_missing_picture_is_drawn_again(command, films, tmp_path):
    out = tmp_path / "out"
    command("grade", films, "-o", out, "--explain")
    picture = out / "explain" / "b_L.png.knee1.png"
    picture.unlink()
    answer = command("grade", films, "-o", out, "--explain")
    assert "4 of 5 files already graded" in answer.err
    assert picture.is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--side", "R"], "other options: side"),
        (["--input", "crop"], "other options: input"),
        (["--explain"], "other options: explain"),
    ],
)
def test_another_run_is_refused_unless_overwrite(command, films, tmp_path, change, words):
    out = tmp_path / "out"
    command("grade", films, "-o", out)
    before = {name: (out / name).read_bytes() for name in names(out)}
    answer = command("grade", films, "-o", out, *change)
    assert answer.code == 2
    assert words in answer.err
    assert "--overwrite" in answer.err
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    assert command("grade", films, "-o", out, *change, "--overwrite").code == 1
    assert ("explain" in {name.split("/")[0] for name in names(out)}) == (change == ["--explain"])


def test_pictures_of_another_run_never_lie_beside_a_new_table(command, films, tmp_path):
    out = tmp_path / "out"
    command("grade", films, "-o", out, "--explain")
    command("grade", films, "-o", out, "--overwrite")
    assert names(out) == ["grades.csv", "run.json"]


@pytest.mark.parametrize("name", ["grades.csv", "run.json"])
def test_results_of_unknown_origin_are_refused(command, films, tmp_path, name):
    (tmp_path / name).write_text("file,KL\nx,2\n")
    answer = command("grade", films, "-o", tmp_path)
    assert answer.code == 2
    assert (tmp_path / name).read_text() == "file,KL\nx,2\n"
    assert "--out" in answer.err


def test_a_record_from_another_version_is_refused(command, films, tmp_path):
    out = tmp_path / "out"
    command("grade", films, "-o", out)
    document = record(out)
    document["versions"]["kellgren"] = "0.0.1"
    (out / "run.json").write_text(json.dumps(document))
    answer = command("grade", films, "-o", out)
    assert answer.code == 2
    assert "another version of kellgren: 0.0.1" in answer.err


def test_a_second_run_into_a_folder_is_refused(command, films, tmp_path):
    out = tmp_path / "out"
    with locked(out):
        answer = command("grade", films, "-o", out)
    assert answer.code == 2
    assert "another run is writing into this folder" in answer.err
    assert names(out) == []


def test_long_and_awkward_names_get_their_pictures(command, phantom_png, tmp_path):
    films = tmp_path / "films"
    awkward = ["=1+1.png", "n" * 250 + ".png", "tab\there.png", "x.png", "a:b.png"]
    for name in awkward:
        films.mkdir(exist_ok=True)
        shutil.copy(phantom_png, films / name)
    # a folder that is named like the picture of a file
    (films / "x.png.knee1.png").mkdir()
    shutil.copy(phantom_png, films / "x.png.knee1.png" / "y.png")
    out = tmp_path / "out"
    answer = command("grade", films, "-o", out, "--explain", "--json")
    assert answer.code == 0, answer.err
    rows = rows_of(out / "grades.csv")
    assert len(rows) == 6
    assert "./=1+1.png" in {row["file"] for row in rows}
    assert "tab\\x09here.png" in {row["file"] for row in rows}
    assert len(list((out / "explain").rglob("*.knee1.png"))) == 6
    assert "nothing to do" in command("grade", films, "-o", out, "--explain").err


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_stopped_run_says_what_is_kept(start, phantom_png, tmp_path, number):
    """The signal comes once the first row is there, with hundreds still to do."""
    films, out = many(tmp_path, phantom_png, 400), tmp_path / "out"
    running = start("grade", films, "--out", out, "--workers", "1", "--input", "crop")
    wait_for_rows(running, out, 2)
    running.send_signal(number)
    answer, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert answer == ""
    rows = rows_of(out / "grades.csv")
    assert 1 <= len(rows) < 400
    assert [row["file"] for row in rows] == [f"knee{index:03d}_R.png" for index in range(len(rows))]
    assert f"interrupted, {len(rows)} of 400 files graded" in errors
    assert "Run the same command again to continue." in errors
    document = record(out)
    assert document["exit_code"] == 130
    assert len(document["files"]) == len(rows)
    assert names(out) == ["grades.csv", "run.json"]


@POSIX
def test_an_interrupted_run_without_out_writes_nothing(start, phantom_png, tmp_path):
    films = many(tmp_path, phantom_png, 400)
    running = start("grade", films, "--workers", "1", "--input", "crop", "-v", cwd=tmp_path)
    time.sleep(6)
    running.send_signal(signal.SIGINT)
    answer, errors = running.communicate(timeout=120)
    assert (running.returncode, answer) == (130, "")
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


def many(folder, png, number):
    films = folder / "films"
    films.mkdir()
    for index in range(number):
        (films / f"knee{index:03d}_R.png").hardlink_to(png)
    return films


def wait_for_rows(running, out, rows):
    table, deadline = out / "grades.csv", time.monotonic() + 180
    while not (table.is_file() and table.read_bytes().count(b"\n") > rows):
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_after_kill(out):
    """Whatever was there when the process died: whole lines, whole documents."""
    if (out / "grades.csv").is_file():
        data = (out / "grades.csv").read_bytes()
        assert data.endswith(b"\n")
        rows_of(out / "grades.csv")
    if (out / "run.json").is_file():
        assert record(out)["exit_code"] is None


@POSIX
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_survives_kills_at_random_moments(start, command, phantom_png, tmp_path, kills):
    films, out, whole = many(tmp_path, phantom_png, 10 * kills), tmp_path / "out", tmp_path / "whole"
    arguments = ("grade", films, "--workers", "2", "--input", "crop", "--out")
    assert command(*arguments, whole).code == 0
    chance = random.Random(kills)
    for _ in range(kills):
        running = start(*arguments, out)
        done = (out / "grades.csv").read_bytes().count(b"\n") if (out / "grades.csv").is_file() else 0
        if chance.random() < 0.7:
            wait_for_rows(running, out, min(done + chance.randrange(1, 8), 10 * kills - 1))
        time.sleep(chance.uniform(0, 0.5))
        running.kill()
        running.communicate()
        check_after_kill(out) if running.returncode == -signal.SIGKILL else None
    answer = command(*arguments, out)
    assert answer.code == 0
    assert (out / "grades.csv").read_bytes() == (whole / "grades.csv").read_bytes()
    assert names(out) == names(whole) == ["grades.csv", "run.json"]
    assert record(out)["exit_code"] == 0


def test_the_lock_is_gone_after_a_run(command, films, tmp_path):
    command("grade", films, "-o", tmp_path / "out")
    assert LOCK not in names(tmp_path / "out")


def test_a_table_cut_in_its_first_line_begins_again(command, films, tmp_path):
    out = tmp_path / "out"
    command("grade", films, "-o", out)
    whole = (out / "grades.csv").read_bytes()
    (out / "grades.csv").write_bytes(whole[:10])
    document = record(out) | {"finished": None, "exit_code": None, "files": []}
    (out / "run.json").write_text(json.dumps(document))
    assert command("grade", films, "-o", out).code == 1
    assert (out / "grades.csv").read_bytes() == whole


def test_rows_of_a_file_are_written_at_once(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(run_folder.Lines, "append", lambda lines, text: written.append(text))
    monkeypatch.setattr(run_folder, "read_record", lambda folder: None)

    class Record:
        def save(self, folder):
            pass

    folder = run_folder.RunFolder(tmp_path, Record(), ("file", "root", "knee", "status"), overwrite=False)
    folder.begin([])
    rows = [{"file": "a", "knee": knee, "status": "graded"} for knee in (1, 2)]
    folder.add(("", "a"), rows, 1.0)
    assert written == ["a,,1,graded\na,,2,graded\n"]
