"""Tables that nobody should have written: typed errors, none of them slow."""

import random
import time
import zipfile

import pytest

from kellgren.data import load
from kellgren.data.films import load_films
from kellgren.data.imports import import_oai_films
from kellgren.data.oarsi import read_most, read_oai
from kellgren.errors import BadDataset, BadMetadata
from kellgren.read import read_metadata

POINTS = [
    f"{bone}{i}_{axis}" for bone, n in (("femur", 13), ("tibia", 17)) for i in range(n) for axis in "xy"
]


def points(path):
    return pytest.importorskip("kellgren.train.contour.crops").read_table(path)


READERS = {
    "labels.csv": (lambda path: load(path.parent), "name,split,patient,side,KL", "a,val,p,R,1", BadDataset),
    "folds.csv": (lambda path: load(path.parent), "name,fold", "9000001R,1", BadDataset),
    "boxes.csv": (lambda path: load_films(path.parent), "file,x0,y0,x1,y1", "a.png,1,2,3,4", BadDataset),
    "joint_line_points.csv": (
        points, ",".join(["name", "score", *POINTS]), ",".join(["a", "1", *["2"] * 60]), BadDataset
    ),
    "kxr_sq_bu00.txt": (read_oai, "ID|SIDE|READPRJ|V00XRKL", "9000001|1|15|2", BadDataset),
    "MOSTV01235XRAY.txt": (read_most, "MOSTID,V0XRKL,V0XLKL", "MB00001,1,2", BadDataset),
    "contents.csv": (
        lambda path: import_oai_films(path.parent, path.parent / "out"),
        "Folder,ParticipantID,Barcode,SeriesDescription", "0.C.2,9000001,1,Fixed Flexion Knee", BadDataset,
    ),
    "metadata.csv": (read_metadata, "file,side", "a.png,R", BadMetadata),
}  # fmt: skip

HOSTILE = {
    "empty": lambda head, row: b"",
    "NUL bytes": lambda head, row: f"{head}\n{row}\0\n".encode(),
    "binary": lambda head, row: random.Random(0).randbytes(100_000),
    "picture": lambda head, row: b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    "archive": lambda head, row: b"PK\x03\x04" + b"\0" * 100,
    "huge field": lambda head, row: f"{head}\n{row}{'x' * 3_000_000}\n".encode(),
    "too many cells": lambda head, row: f"{head}\n{row},,|,|,9\n".encode(),
    "too few cells": lambda head, row: f"{head}\nx\n".encode(),
    "open quote": lambda head, row: f'{head}\n"{row}\n{row}\n'.encode() * 2000,
    "open quote in the header": lambda head, row: f'"{head}\n{row}\n'.encode(),
    "other columns": lambda head, row: b"colour,shape\nred,round\n",
    "wide": lambda head, row: (",".join(f"c{i}" for i in range(100_000)) + "\n").encode(),
    "undecodable": lambda head, row: f"{head}\n{row}".encode() + b"\x81\x8d\n",
    "half UTF-16": lambda head, row: b"\xff\xfe" + f"{head}\n{row}".encode("utf-16-le") + b"x",
    "escapes": lambda head, row: f"{head}\n\x1b[2J{row}\n".encode(),
}


@pytest.mark.parametrize("kind", [*HOSTILE, "folder"])
@pytest.mark.parametrize("name", READERS)
def test_hostile_tables_are_refused(tmp_path, name, kind):
    read, head, row, error = READERS[name]
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(HOSTILE[kind](head, row))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("train/1/9000001R.png", b"x")
    started = time.perf_counter()
    with pytest.raises(error) as caught:
        read(path)
    assert time.perf_counter() - started < 5
    assert len(str(caught.value)) < 4000


@pytest.mark.parametrize("name", READERS)
def test_mutated_tables_are_read_or_refused(tmp_path, name):
    read, head, row, error = READERS[name]
    path = tmp_path / name
    (tmp_path / "a.png").write_bytes(b"x")
    rng = random.Random(name)
    for _ in range(60):
        data = bytearray(f"{head}\n{row}\n".encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = rng.choice(
                [b'"', b"\n", b",", b"nan", b"\xe4", b"1e999", b""]
            )
        path.write_bytes(data)
        try:
            read(path)
        except error:
            continue
