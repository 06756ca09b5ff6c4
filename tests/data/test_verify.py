"""Downloads of every kind against a small manifest; the real one is complete."""

import hashlib
import zipfile
from collections import Counter
from types import MappingProxyType

import cv2
import numpy as np
import pytest

from contract import validate
from kellgren.data import verify as verification
from kellgren.data.manifest import SIZE, SMALL_SIZE, Published, published

PLACES = {"9000001R": ("train", 0), "9000002L": ("val", 3), "9000003R": ("test", 1)}


def picture(name, size=SIZE, suffix=".png"):
    rng = np.random.default_rng(int(name[:7]))
    return cv2.imencode(suffix, rng.integers(0, 255, (size, size), np.uint8))[1].tobytes()


@pytest.fixture
def manifest(monkeypatch):
    images = {
        name: Published(name, split, grade, hashlib.sha256(picture(name)).hexdigest())
        for name, (split, grade) in PLACES.items()
    }
    monkeypatch.setattr(verification, "published", lambda: MappingProxyType(images))


def fill(root, around="", **changes):
    for name, (split, grade) in PLACES.items():
        path = root / around / split / str(grade) / f"{name}{changes.get('suffix', '.png')}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(name, **changes))


def states(root):
    return {image.file: image.state for image in verification.verify(root).images}


def test_the_real_manifest():
    images = published()
    assert Counter(image.split for image in images.values()) == {"train": 5778, "val": 826, "test": 1656}
    train = Counter(image.grade for image in images.values() if image.split == "train")
    assert [train[grade] for grade in range(5)] == [2286, 1046, 1516, 757, 173]
    assert len({image.sha256 for image in images.values()}) <= len(images)
    assert all(len(image.sha256) == 64 for image in images.values())


@pytest.mark.parametrize("around", ["", "ClsKLData/kneeKL299"])
def test_the_published_archive(manifest, tmp_path, around):
    fill(tmp_path, around)
    result = verification.verify(tmp_path)
    assert result.complete
    assert verification.sentences(result)[-1] == "all 3 published images are there, unchanged"


def test_missing_renamed_extra_and_wrong_place(manifest, tmp_path):
    fill(tmp_path)
    (tmp_path / "test/1/9000003R.png").unlink()
    (tmp_path / "train/0/9000001R.png").rename(tmp_path / "train/0/mine.png")
    (tmp_path / "val/2").mkdir()
    (tmp_path / "val/3/9000002L.png").rename(tmp_path / "val/2/9000002L.png")
    (tmp_path / "val/2/9999999L.png").write_bytes(picture("9999999"))
    result = verification.verify(tmp_path)
    assert {i.file: i.state for i in result.images} == {
        "train/0/mine.png": "renamed",
        "val/2/9000002L.png": "wrong place",
        "val/2/9999999L.png": "extra",
    }
    assert [image.name for image in result.missing] == ["9000003R"]
    document = result.to_dict()
    validate("verification", document)
    assert "published in val/3, here in val/2" in str(document["odd"])
    assert any("all 1 of test" in sentence for sentence in verification.sentences(result))
    assert not result.complete


def test_re_encoded_copies_in_zips(manifest, tmp_path):
    fill(tmp_path / "plain", suffix=".jpg")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "plain").rglob("*.jpg")):
            archive.write(path, path.relative_to(tmp_path / "plain"))
            path.unlink()
    result = verification.verify(tmp_path)
    assert {image.state for image in result.images} == {"re-encoded"}
    assert result.images[0].detail == "JPEG, 299 x 299 pixels"
    assert (result.missing, result.complete) == ((), False)


@pytest.mark.parametrize(("size", "state"), [(SMALL_SIZE, "224"), (160, "resized")])
def test_other_sizes(manifest, tmp_path, size, state):
    fill(tmp_path, size=size)
    assert set(states(tmp_path).values()) == {state}


def test_kaggle_with_auto_test(manifest, tmp_path):
    fill(tmp_path, "archive", size=SMALL_SIZE)
    for name, folder in (("9000003R", "auto_test/1"), ("9000001R", "auto_test/0")):
        path = tmp_path / "archive" / folder / f"{name}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture("9000007", size=SMALL_SIZE))
    result = verification.verify(tmp_path)
    found = {i.file: i.state for i in result.images if "auto_test" in i.file}
    assert found == {
        "archive/auto_test/1/9000003R.png": "auto_test",
        "archive/auto_test/0/9000001R.png": "extra",  # no test patient: not the published crops
    }
    assert result.twice == ()


def test_the_same_knee_twice(manifest, tmp_path):
    fill(tmp_path)
    fill(tmp_path, "small", size=SMALL_SIZE)
    result = verification.verify(tmp_path)
    assert result.twice == tuple(PLACES)
    assert not result.complete


def test_damaged_files(manifest, tmp_path):
    fill(tmp_path)
    (tmp_path / "val/3/9000002L.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert states(tmp_path)["val/3/9000002L.png"] == "unreadable"
