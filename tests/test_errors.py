"""Errors: words for people, and paths that Windows does not take."""

from pathlib import Path

import pytest

from kellgren import writing
from kellgren.errors import CannotWrite, UnreadableImage, printable, refused_by_windows
from kellgren.read import files
from kellgren.read.limits import DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("films/con.png", "con.png is a reserved name"),
        ("NUL", "NUL is a reserved name"),
        ("C:/com1/film.dcm", "com1 is a reserved name"),
        ("lpt9.tar.gz/x.png", "lpt9.tar.gz is a reserved name"),
        ("x" * 261, "261 characters"),
    ],
)
def test_what_windows_does_not_take_is_refused_by_name(path, words):
    assert words in refused_by_windows(path, windows=True)
    assert refused_by_windows(path, windows=False) is None


@pytest.mark.parametrize(
    "path", ["console.png", "com10.dcm", "null/film.dcm", "C:/Users/x/com.png", "y" * 260]
)
def test_other_paths_are_fine(path):
    assert refused_by_windows(path, windows=True) is None


def test_reading_and_writing_ask_first(monkeypatch, tmp_path):
    for module in (writing, files):
        monkeypatch.setattr(module, "refused_by_windows", lambda path: refused_by_windows(path, windows=True))
    with pytest.raises(CannotWrite, match="reserved name"):
        writing.write_bytes(tmp_path / "aux.csv", b"x")
    with pytest.raises(UnreadableImage, match="reserved name"):
        files.load(Path("prn.png"), DEFAULT_LIMITS)


def test_an_error_names_its_path_in_what_a_terminal_can_show():
    error = UnreadableImage("it is empty", path="a\x1b[2J.png", remedy="copy it again")
    assert str(error) == "a\\x1b[2J.png: it is empty; copy it again"
    assert printable("a\udce9") == "a\\xe9"
