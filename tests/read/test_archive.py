"""Films in zip archives, and what an archive must not do."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from kellgren.errors import UnreadableImage
from kellgren.read import list_images, read_bytes
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
    return [source.file for source in list_images([path]).sources]


def test_members_are_films_of_their_own(film, tmp_path):
    path = tmp_path / "films.zip"
    path.write_bytes(zipped({"9000001R.png": film[0], "deep/er/b": film[1]}))
    sources = list(list_images([path]).sources)
    assert [source.file.split("films.zip/")[-1] for source in sources] == ["9000001R.png", "deep/er/b"]
    for source in sources:
        assert read_bytes(source.read_bytes(), source.path).laterality.side == "R"


def test_archives_in_archives(film, tmp_path):
    (tmp_path / "outer.zip").write_bytes(zipped({"inner.zip": zipped({"a.dcm": film[1]}), "b.png": film[0]}))
    found = sorted(names(tmp_path))
    assert found == ["outer.zip/b.png", "outer.zip/inner.zip/a.dcm"]


def test_archives_too_deep_are_refused(film, tmp_path):
    data = zipped({"a.png": film[0]})
    for depth in range(8):
        data = zipped({f"{depth}.zip": data})
    (tmp_path / "deep.zip").write_bytes(data)
    errors = [source.error for source in list_images([tmp_path / "deep.zip"]).sources]
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
    (source,) = list_images([path]).sources
    with pytest.raises(UnreadableImage):
        source.read_bytes()


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    data = bytearray(zipped({"a.png": bytes(64 << 20)}))
    # uncompressed size in the local header (PKZIP 4.3.7) and in the table of contents (4.3.12)
    data[22:26] = struct.pack("<I", 1000)
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    path = tmp_path / "liar.zip"
    path.write_bytes(bytes(data))
    for source in list_images([path]).sources:
        with pytest.raises(UnreadableImage):
            read_bytes(source.read_bytes(), source.path)


@pytest.mark.parametrize("keep", [10, 30, 200])
def test_truncated_archives_are_rows_with_a_reason(film, tmp_path, keep):
    path = tmp_path / "cut.zip"
    path.write_bytes(zipped({"a.png": film[0]})[:keep])
    for source in list_images([path]).sources:
        with pytest.raises(UnreadableImage):
            read_bytes(source.read_bytes(), source.path)


def test_names_that_climb_out_stay_names(film, tmp_path):
    path = tmp_path / "climb.zip"
    path.write_bytes(zipped({"../../etc/passwd.png": film[0]}))
    for source in list_images([path]).sources:
        assert ".." not in source.file.split("/")
    assert not (tmp_path.parent / "etc").exists()


def test_linked_folders_do_not_loop(film, tmp_path):
    (tmp_path / "a.png").write_bytes(film[0])
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["a.png"]


def test_an_empty_archive_is_a_row_with_a_reason(tmp_path):
    (tmp_path / "none.zip").write_bytes(zipped({}))
    (source,) = list_images([tmp_path]).sources
    with pytest.raises(UnreadableImage, match="no files"):
        source.read_bytes()


def test_a_folder_that_may_not_be_entered_is_a_row_with_a_reason(film, tmp_path, monkeypatch):
    """Root may enter every folder, so the system's refusal is put in its place."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.png").write_bytes(film[0])
    may = os.scandir

    def refused(path):
        if Path(path).name == "locked":
            raise PermissionError
        return may(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert [source.file for source in list_images([tmp_path]).sources] == ["a.png", "locked"]


def tarred(files, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("z.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_tar_archives(film, tmp_path, name, mode):
    long = "deep/" * 30 + "er.png"
    (tmp_path / name).write_bytes(tarred({"001": film[1], "notes.txt": b"text", long: film[0]}, mode))
    listing = list_images([tmp_path])
    assert [s.file for s in listing.sources] == [f"{name}/001", f"{name}/{long}"]
    assert listing.skipped == {"files that are not images": 1}
    assert [s.read_bytes() for s in listing.sources] == [film[1], film[0]]


def test_single_files_under_gzip(film, tmp_path):
    (tmp_path / "film.dcm.gz").write_bytes(gzip.compress(film[1]))
    (tmp_path / "contents.csv.gz").write_bytes(gzip.compress(b"a,b\n"))
    (source,) = list_images([tmp_path]).sources
    assert (source.file, source.read_bytes()) == ("film.dcm.gz/film.dcm", film[1])


def test_tar_archives_in_a_zip(film, tmp_path):
    packed = {
        "0.C.2/488603.tar.gz": tarred({"001": film[1]}, "w:gz"),
        "b.tar": tarred({"c.png": film[0]}, "w"),
    }
    (tmp_path / "oai.zip").write_bytes(zipped(packed))
    sources = list_images([tmp_path]).sources
    assert [s.file for s in sources] == ["oai.zip/0.C.2/488603.tar.gz/001", "oai.zip/b.tar/c.png"]
    assert [s.read_bytes() for s in sources] == [film[1], film[0]]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.dcm.gz"])
@pytest.mark.parametrize("keep", [5, 40, 600, 700])
def test_cut_tar_archives_are_rows_with_a_reason(film, tmp_path, name, keep):
    whole = {"a.tar.gz": tarred({"a.png": film[0]}, "w:gz"), "a.tar": tarred({"a.png": film[0]}, "w")}
    (tmp_path / name).write_bytes(whole.get(name, gzip.compress(film[1]))[:keep])
    sources = list_images([tmp_path]).sources
    assert sources
    for source in sources:
        with pytest.raises(UnreadableImage):
            read_bytes(source.read_bytes(), source.path)


@pytest.mark.parametrize("size", [300 << 20, 40 << 20])
def test_a_gzip_bomb_is_refused(tmp_path, size):
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    for source in list_images([tmp_path]).sources:
        with pytest.raises(UnreadableImage):
            read_bytes(source.read_bytes(), source.path)


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_either_slash_parts_folders(film, tmp_path, separator):
    (tmp_path / "k.zip").write_bytes(zipped({separator.join(("val", "3", "9000001R.png")): film[0]}))
    (source,) = list_images([tmp_path]).sources
    assert source.parts == ("k.zip", "val", "3", "9000001R.png")
    assert source.stem == "9000001R"


@pytest.mark.parametrize(
    ("flag", "method", "words"), [(1, 8, "encrypted"), (0, 9, "compressed"), (0, 14, "compressed")]
)
def test_members_that_cannot_be_inflated_say_to_unpack_them(film, tmp_path, flag, method, words):
    data = bytearray(zipped({"a.png": film[0], "b.png": film[0]}))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(magic)
        data[place + at] |= flag
        data[place + at + 2] = method
    (tmp_path / "k.zip").write_bytes(bytes(data))
    bad, good = list_images([tmp_path]).sources
    with pytest.raises(UnreadableImage, match=f"{words}.*unpack it"):
        bad.read_bytes()
    assert good.read_bytes() == film[0]


def test_an_archive_that_was_rewritten_is_read_anew_or_refused(film, tmp_path):
    path = tmp_path / "k.zip"
    path.write_bytes(zipped({"a.png": film[0]}))
    (source,) = list_images([path]).sources
    path.write_bytes(zipped({"other.png": film[0]}))
    os.utime(path, ns=(1, 1))
    with pytest.raises(UnreadableImage, match="changed"):
        source.read_bytes()
