"""Films in zip archives, and what an archive must not do."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from kellgren.errors import UnreadableImage
from kellgren.read import find_images, read_bytes
from kellgren.simulate import write_dicom, write_png


def zipped(files, method=zipfile.ZIP_DEFLATED):
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stored.getvalue()


@pytest.fixture(scope="module")
def film(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_png(phantoms["R"], folder / "a.png")
    write_dicom(phantoms["R"], folder / "b.dcm")
    return (folder / "a.png").read_bytes(), (folder / "b.dcm").read_bytes()


def names(path):
    return [source.file for source in find_images(path)]


def test_members_are_films_of_their_own(film, tmp_path):
    path = tmp_path / "films.zip"
    path.write_bytes(zipped({"9000001R.png": film[0], "deep/er/b": film[1]}))
    sources = list(find_images(path))
    assert [source.file.split("films.zip/")[-1] for source in sources] == ["9000001R.png", "deep/er/b"]
    for source in sources:
        assert read_bytes(source.load(), source.path).laterality.side == "R"


def test_archives_in_archives(film, tmp_path):
    (tmp_path / "outer.zip").write_bytes(zipped({"inner.zip": zipped({"a.dcm": film[1]}), "b.png": film[0]}))
    found = sorted(names(tmp_path))
    assert found == ["outer.zip/b.png", "outer.zip/inner.zip/a.dcm"]


def test_archives_too_deep_are_refused(film, tmp_path):
    data = zipped({"a.png": film[0]})
    for depth in range(8):
        data = zipped({f"{depth}.zip": data})
    (tmp_path / "deep.zip").write_bytes(data)
    errors = [source.error for source in find_images(tmp_path / "deep.zip")]
    assert all(isinstance(error, UnreadableImage) for error in errors)
    assert errors


def test_indexes_and_hidden_files_are_passed_over(film, tmp_path):
    path = tmp_path / "films.zip"
    path.write_bytes(
        zipped({"__MACOSX/._a.png": b"x", ".hidden.png": b"x", "DICOMDIR": b"x", "a.png": film[0]})
    )
    assert len(names(path)) == 1


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"a.png": bytes(700 << 20)}))
    (source,) = find_images(path)
    with pytest.raises(UnreadableImage):
        source.load()


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    data = bytearray(zipped({"a.png": bytes(64 << 20)}))
    # uncompressed size in the local header (PKZIP 4.3.7) and in the table of contents (4.3.12)
    data[22:26] = struct.pack("<I", 1000)
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    path = tmp_path / "liar.zip"
    path.write_bytes(bytes(data))
    for source in find_images(path):
        with pytest.raises(UnreadableImage):
            read_bytes(source.load(), source.path)


@pytest.mark.parametrize("keep", [10, 30, 200])
def test_truncated_archives_are_rows_with_a_reason(film, tmp_path, keep):
    path = tmp_path / "cut.zip"
    path.write_bytes(zipped({"a.png": film[0]})[:keep])
    for source in find_images(path):
        with pytest.raises(UnreadableImage):
            read_bytes(source.load(), source.path)


def test_names_that_climb_out_stay_names(film, tmp_path):
    path = tmp_path / "climb.zip"
    path.write_bytes(zipped({"../../etc/passwd.png": film[0]}))
    for source in find_images(path):
        assert ".." not in source.file.split("/")
    assert not (tmp_path.parent / "etc").exists()


def test_linked_folders_do_not_loop(film, tmp_path):
    (tmp_path / "a.png").write_bytes(film[0])
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["a.png"]


def test_an_empty_archive_is_a_row_with_a_reason(tmp_path):
    (tmp_path / "none.zip").write_bytes(zipped({}))
    (source,) = find_images(tmp_path)
    with pytest.raises(UnreadableImage, match="no files"):
        source.load()


def test_a_folder_that_may_not_be_entered_is_a_row_with_a_reason(film, tmp_path, monkeypatch):
    """Root may enter every folder, so the system's refusal is put in its place."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.png").write_bytes(film[0])
    may = Path.is_dir

    def refused(path):
        if path.name == "locked":
            raise PermissionError
        return may(path)

    monkeypatch.setattr(Path, "is_dir", refused)
    assert [source.file for source in find_images(tmp_path)] == ["a.png", "locked"]
