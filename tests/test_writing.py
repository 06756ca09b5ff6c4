"""Files written whole or not at all, whole lines on a full disk, and locks that die with their process."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kellgren import writing
from kellgren.errors import CannotWrite, FolderInUse

PACKAGE = str(Path(writing.__file__).parents[1])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def holder(folder, code="time.sleep(60)"):
    """Another process that holds the lock of a folder and says so."""
    program = (
        f"import time, pathlib; from kellgren.writing import locked\n"
        f"with locked(pathlib.Path({str(folder)!r})):\n    print('held', flush=True); {code}"
    )
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    writing.write_text(path, "old\n")
    with pytest.raises(TypeError), writing.whole(path) as file:
        file.writelines([b"half a l", None])
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["table.csv"]


def test_the_longest_name_that_the_system_takes_can_be_written(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")  # 255 bytes
    writing.write_json(path, {"a": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é"\n}\n'


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "gone" / "x", "the folder is not there"),
        (lambda folder: folder / "file" / "x", "a part of the path is a file"),
        (lambda folder: folder / ("n" * 300), "the name is too long"),
        (lambda folder: folder / "folder", "there is a folder of that name"),
    ],
)
def test_what_cannot_be_written_is_said_in_plain_words(tmp_path, make, words):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = make(tmp_path)
    with pytest.raises(CannotWrite, match=words) as raised:
        writing.write_bytes(path, b"x")
    assert raised.value.path == path


def test_a_full_disk_and_others_have_their_words():
    for number, words in (
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "read-only"),
        (None, "cannot be"),
    ):
        assert words in str(CannotWrite.because(OSError(number, "message"), "x"))


def test_whole_folder_replaces_only_when_complete(tmp_path):
    out = tmp_path / "out"
    with writing.whole_folder(out) as folder:
        (folder / "a").touch()
        assert not out.exists()
    with pytest.raises(FileExistsError), writing.whole_folder(out) as folder:
        (folder / "b").mkdir() or (folder / "b").mkdir()
    assert names(tmp_path) == ["out"]
    assert names(out) == ["a"]
    with writing.whole_folder(out) as folder:
        (folder / "c").touch()
    assert names(out) == ["c"]


def test_a_line_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    lines = writing.Lines(tmp_path / "t.csv")
    lines.append("first\n")

    class NearlyFull:
        """Takes four bytes more, then the disk is full."""

        def __init__(self, file):
            self.file, self.left = file, 4

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left = 0
            return self.file.write(data[:4])

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(lines, "_file", NearlyFull(lines._file))
    with pytest.raises(CannotWrite, match="the disk is full"):
        lines.append("second\n")
    lines.close()
    assert (tmp_path / "t.csv").read_text() == "first\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_file_that_is_removed_meanwhile_is_noticed(tmp_path):
    lines = writing.Lines(tmp_path / "t.csv")
    lines.append("first\n")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(CannotWrite, match="removed meanwhile"):
        lines.append("second\n")
    lines.close()


def test_a_second_process_is_refused_and_the_lock_leaves_nothing(tmp_path):
    process = holder(tmp_path)
    try:
        with pytest.raises(FolderInUse, match="another run"), writing.locked(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()
    with writing.locked(tmp_path):  # the dead process holds nothing
        assert names(tmp_path) == [writing.LOCK]
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_waiting_ends_when_the_holder_is_killed(tmp_path):
    process = holder(tmp_path)
    waiting = holder_that_waits(tmp_path)
    time.sleep(0.2)
    assert waiting.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert waiting.wait(60) == 0


def holder_that_waits(folder):
    program = (
        f"import pathlib; from kellgren.writing import locked\n"
        f"with locked(pathlib.Path({str(folder)!r}), wait=True): pass"
    )
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": PACKAGE}
    )


@pytest.mark.parametrize("reason", ["no fcntl", "no locks"])
def test_where_nothing_can_be_locked_a_warning_says_so(tmp_path, monkeypatch, caplog, reason):
    if reason == "no fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        fcntl = pytest.importorskip("fcntl")

        def refuse(file, flags):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
    with writing.locked(tmp_path):
        pass
    assert "make sure that only one run writes into it" in caplog.text
