"""Which files a run reads: arguments, folders, links, pipes, names; and what it counts as skipped."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from films import raster
from kellgren.errors import UnreadableImage
from kellgren.read import list_images, read_bytes

GREY = np.tile(np.arange(80, dtype=np.uint8), (80, 1))
PNG = raster(GREY)
posix = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and names of POSIX")


def files(listing):
    return [(source.root, source.file) for source in listing.sources]


def put(path, data=PNG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_one_argument_has_no_root(tmp_path):
    put(tmp_path / "P1/IM0001")
    assert files(list_images([tmp_path / "P1"])) == [("", "IM0001")]
    assert files(list_images([tmp_path])) == [("", "P1/IM0001")]
    assert files(list_images([tmp_path / "P1/IM0001"])) == [("", "IM0001")]


def test_the_same_names_in_several_arguments_stay_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for patient in ("P1", "P2"):
        put(tmp_path / patient / "DICOM/IM0001")
    both = list_images(["P1", "P2"])
    assert files(both) == [("P1", "DICOM/IM0001"), ("P2", "DICOM/IM0001")]
    assert files(list_images(["P1", "P1/DICOM"])) == [("P1", "DICOM/IM0001"), ("P1/DICOM", "IM0001")]
    assert files(list_images(["P1/DICOM/IM0001", "P2/DICOM/IM0001"])) == [
        ("P1/DICOM/IM0001", "IM0001"),
        ("P2/DICOM/IM0001", "IM0001"),
    ]
    assert len(list_images(["P1", "P1"]).sources) == 1


@posix
def test_names_that_are_shown_alike_are_numbered(tmp_path):
    for name in (b"a\xff.png", b"a\\xff.png"):
        put(tmp_path / os.fsdecode(name))
    names = [source.file for source in list_images([tmp_path]).sources]
    assert len(set(names)) == 2
    assert all(name.isprintable() for name in names)


@posix
def test_linked_folders_are_entered_once(tmp_path):
    put(tmp_path / "store/b.png")
    put(tmp_path / "in/here.png")
    (tmp_path / "in/cohort").symlink_to("../store")
    assert files(list_images([tmp_path / "in"])) == [("", "cohort/b.png"), ("", "here.png")]
    (tmp_path / "in/again").symlink_to("../store")
    (tmp_path / "store/up").symlink_to("../in")
    (tmp_path / "in/self").symlink_to(".")
    listing = list_images([tmp_path / "in"])
    assert files(listing) == [("", "again/b.png"), ("", "here.png")]
    assert listing.skipped == {"linked folders that were read already": 3}


@posix
@pytest.mark.parametrize("name", ["pipe.zip", "pipe.png", "pipe", "pipe.tar.gz", "pipe.dcm"])
def test_pipes_never_block(tmp_path, name):
    os.mkfifo(tmp_path / name)
    put(tmp_path / "z.png")
    for source in (*list_images([tmp_path]).sources, *list_images([tmp_path / name]).sources):
        if source.path.name == name:
            with pytest.raises(UnreadableImage, match="not a regular file"):
                source.read_bytes()
    assert ("", "z.png") in files(list_images([tmp_path]))


@posix
def test_devices_and_sockets_are_not_read(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        with pytest.raises(UnreadableImage):
            list_images([tmp_path]).sources[0].read_bytes()
    for device in ("/dev/null", "/dev/zero"):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            list_images([device]).sources[0].read_bytes()


DISC = {
    "DICOMDIR": bytes(128) + b"DICM",
    "AUTORUN.INF": b"[autorun]",
    "README.TXT": b"To view",
    "README": b"To view",
    "viewer.exe": b"MZ\x90\0" + bytes(300),
    "lib/a.dll": b"MZ\x90\0" + bytes(300),
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "index.htm": b"<html>",
    "empty.log": b"",
}


def test_a_viewers_files_are_counted_and_not_read(tmp_path):
    for name, data in DISC.items():
        put(tmp_path / name, data)
    put(tmp_path / "DICOM/IM0")
    listing = list_images([tmp_path])
    assert files(listing) == [("", "DICOM/IM0")]
    assert sum(listing.skipped.values()) == len(DISC)
    assert listing.sentence() == "skipped: files that are not images (7), hidden or system files (2)"


@pytest.mark.parametrize("data", [b"", b"text", PNG[:30]])
@pytest.mark.parametrize("name", ["a.png", "IM0001", "1.2.840.7", "b.dcm", "c.JPEG", "d.heic"])
def test_a_file_named_like_an_image_is_listed_whatever_it_holds(tmp_path, name, data):
    put(tmp_path / name, data)
    (source,) = list_images([tmp_path]).sources
    with pytest.raises(UnreadableImage):
        read_bytes(source.read_bytes(), source.path)


@pytest.mark.parametrize("name", ["scan", "scan.backup", "scan.png.part", "scan.txt"])
def test_an_image_is_listed_whatever_its_name(tmp_path, name):
    put(tmp_path / name)
    assert files(list_images([tmp_path])) == [("", name)]


@pytest.mark.parametrize("folder", ["explain", "reports", "dicom"])
def test_what_an_earlier_run_wrote_is_skipped(tmp_path, folder):
    put(tmp_path / "knee.png")
    put(tmp_path / folder / "knee.png.knee1.png")
    assert len(list_images([tmp_path]).sources) == 2
    put(tmp_path / "grades.csv", b"file,root\n")
    listing = list_images([tmp_path])
    assert files(listing) == [("", "knee.png")]
    assert listing.skipped["folders of an earlier run"] == 1


@posix
def test_a_thousand_folders_within_each_other(tmp_path, request):
    # Removed here: it is too deep for what removes the folders of tests.
    request.addfinalizer(lambda: subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True))  # noqa: S603, S607
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    with os.fdopen(os.open("a.png", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(PNG)
    os.close(here)
    (source,) = list_images([tmp_path]).sources
    assert source.file.count("/") == 1100
    assert source.read_bytes() == PNG


@pytest.mark.parametrize("name", ["n" * 252 + ".png", "n" * 5000, "a\0b.png"])
def test_names_that_no_file_can_have(name):
    (source,) = list_images([name]).sources
    with pytest.raises(UnreadableImage):
        source.read_bytes()
