"""Downloads of made-up files, brought into data set folders."""

import csv
import zipfile

import pytest

from kellgren.data import imports, load
from kellgren.errors import BadDataset


def fill(root, *names, content=None):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if content is None else content)


CROPS = ("train/2/9000001R.png", "train/0/9000001L.png", "val/4/9000002R.png", "auto_test/1/9000003R.png")


@pytest.mark.parametrize("around", ["", "archive/", "KneeXrayData/ClsKLData/kneeKL224/"])
def test_crops_of_a_folder(tmp_path, around):
    fill(tmp_path / "src", *(around + name for name in CROPS), around + "notes.txt")
    done = imports.import_crops(tmp_path / "src", tmp_path / "out")
    assert (done.added, done.there) == (3, 0)
    assert done.left_out == {"auto_test: other crops of the test films": 1}
    assert [(k.name, k.split, k.grade("KL")) for k in load(tmp_path / "out")] == [
        ("9000001L", "train", 0),
        ("9000001R", "train", 2),
        ("9000002R", "val", 4),
    ]
    assert (tmp_path / "out/val/4/9000002R.png").read_bytes() == (around + CROPS[2]).encode()


def test_crops_of_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name in (*CROPS, "__MACOSX/train/2/._9000001R.png"):
            archive.writestr(name, name)
    assert imports.import_crops(tmp_path / "archive.zip", tmp_path / "out").added == 3
    assert len(load(tmp_path / "out")) == 3


def test_both_sizes_need_a_word(tmp_path):
    fill(tmp_path / "src", "kneeKL224/train/0/9000001R.png", "kneeKL299/train/0/9000001R.png")
    with pytest.raises(BadDataset, match=r"9000001R is duplicated.*299 or 224"):
        imports.import_crops(tmp_path / "src", tmp_path / "out")
    done = imports.import_crops(tmp_path / "src", tmp_path / "out", size=299)
    assert done.left_out == {"of 224 pixels": 1}
    assert b"kneeKL299" in (tmp_path / "out/train/0/9000001R.png").read_bytes()


def test_again_adds_what_is_missing(tmp_path):
    fill(tmp_path / "src", *CROPS)
    imports.import_crops(tmp_path / "src", tmp_path / "out")
    (tmp_path / "out/val/4/9000002R.png").unlink()
    done = imports.import_crops(tmp_path / "src", tmp_path / "out")
    assert (done.added, done.there) == (1, 2)
    fill(tmp_path / "out", CROPS[0], content=b"something else of another length")
    with pytest.raises(BadDataset, match="another file of that name"):
        imports.import_crops(tmp_path / "src", tmp_path / "out")


def test_links_share_the_file(tmp_path):
    fill(tmp_path / "src", *CROPS)
    imports.import_crops(tmp_path / "src", tmp_path / "out", link=True)
    assert (tmp_path / "src" / CROPS[0]).samefile(tmp_path / "out" / CROPS[0])


def test_nothing_to_import(tmp_path):
    fill(tmp_path / "src", "pictures/knee.png")
    with pytest.raises(BadDataset, match="no images under SPLIT/GRADE/"):
        imports.import_crops(tmp_path / "src", tmp_path / "out")
    with pytest.raises(BadDataset, match="no such file or folder"):
        imports.import_crops(tmp_path / "absent.zip", tmp_path / "out")


HEADER = ("Folder", "ParticipantID", "StudyDate", "Barcode", "StudyDescription", "SeriesDescription")
KNEES = "Bilateral PA Fixed Flexion Knee"


def contents(root, *rows, header=HEADER):
    root.mkdir(exist_ok=True)
    with (root / "contents.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def test_oai_films(tmp_path):
    root = tmp_path / "OAI_00m"
    contents(
        root,
        ("0.C.2/9000099/20050112/01021602", "9000099", "20050112", "016601021602", "OAI^XRAY", KNEES),
        (
            "0.C.2/9000099/20050112/01021603",
            "9000099",
            "20050112",
            "016601021603",
            "OAI^XRAY",
            "PA Right Hand",
        ),
        ("0.C.2/9000123/20050113/01021700", "9000123", "20050113", "016601021700", "OAI^XRAY", KNEES),
        ("../9000124", "9000124", "20050113", "016601021701", "OAI^XRAY", KNEES),
    )
    fill(root, "0.C.2/9000099/20050112/01021602/001", "0.C.2/9000099/20050112/01021603/001")
    fill(tmp_path, "9000124/001")
    done = imports.import_oai_films(root, tmp_path / "films")
    assert (done.added, done.there) == (1, 0)
    assert done.left_out == {"another series": 1, "no film in the folder that the table names": 2}
    with (tmp_path / "films/films.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row == {
        "file": "9000099_016601021602.dcm", "side": "B", "view": "PA", "weight_bearing": "true",
        "patient": "9000099", "oai_barcode": "016601021602", "visit": "OAI^XRAY",
    }  # fmt: skip
    assert (tmp_path / "films" / row["file"]).read_bytes().endswith(b"01021602/001")
    assert imports.import_oai_films(root, tmp_path / "films").there == 1


def test_tables_of_contents_that_are_none(tmp_path):
    contents(tmp_path / "src", ("a", "b"), header=("Folder", "ParticipantID"))
    with pytest.raises(BadDataset, match="no column Barcode, SeriesDescription"):
        imports.import_oai_films(tmp_path / "src", tmp_path / "out")
    with pytest.raises(BadDataset, match="there is no such file"):
        imports.import_oai_films(tmp_path / "absent", tmp_path / "out")
