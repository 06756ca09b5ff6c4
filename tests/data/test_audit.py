"""The audit: planted copies of every kind are found, other knees left in peace, contradictions told."""

import csv

import cv2
import numpy as np
import pytest

from contract import validate
from kellgren.data import audit as auditing
from kellgren.data import inventory
from kellgren.data.fingerprint import SIZE, describe, thumbnail
from kellgren.data.overlay import lay_over
from kellgren.errors import BadDataset

HEADER = ("name", "split", "patient", "side", "KL")


def turned(image, angle, zoom=1.0, shift=(0, 0)):
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, zoom)
    matrix[:, 2] += shift
    return cv2.warpAffine(image, matrix, (side, side))


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


EDITS = {
    "resized": lambda i: cv2.resize(i, (160, 160), interpolation=cv2.INTER_AREA),
    "jpeg": lambda i: jpeg(i, 40),
    "flipped": lambda i: i[:, ::-1],
    "upside-down": lambda i: i[::-1],
    "inverted": lambda i: 255 - i,
    "gamma": lambda i: (255 * (i / 255.0) ** 1.8).astype(np.uint8),
    "dim": lambda i: (i * 0.6).astype(np.uint8),
    "turned": lambda i: turned(i, 9),
    "shifted": lambda i: turned(i, 0, shift=(20, -12)),
    "cropped": lambda i: cv2.resize(i[30:290, 10:270], (299, 299)),
    "noisy": lambda i: np.clip(i + np.random.default_rng(0).normal(0, 6, i.shape), 0, 255).astype(np.uint8),
    "all": lambda i: jpeg(turned(255 - i[:, ::-1], -6, 1.05, (5, 8)), 80),
}


@pytest.fixture(scope="module")
def films(phantom_set):
    """20 simulated knees by name."""
    return {k.stem: cv2.imread(str(k), cv2.IMREAD_GRAYSCALE) for k in sorted(phantom_set.rglob("*.png"))}


def put(root, name, image):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def table(path, *rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def run(root):
    return auditing.audit(inventory.take(root))


def only(result, kind):
    return [finding for finding in result.findings if finding.kind == kind]


@pytest.fixture(scope="module")
def planted(films, tmp_path_factory):
    """Every edit of one knee each in the other split, under names that say nothing."""
    root = tmp_path_factory.mktemp("planted")
    for number, image in enumerate(films.values()):
        put(root, f"train/0/original-{number}.png", image)
    for (edit, change), image in zip(EDITS.items(), films.values(), strict=False):
        put(root, f"val/0/{edit}.png", change(image))
    return run(root)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_found_across_splits(planted, edit):
    [finding] = [f for f in only(planted, "near_copy") if f.second.image.stem == edit]
    assert finding.first.image.stem == f"original-{list(EDITS).index(edit)}"
    assert finding.across == "train | val"
    assert finding.likeness > auditing.COPY
    assert not planted.passed


def test_no_other_pair_alarms(planted):
    assert len(only(planted, "near_copy")) == len(EDITS)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("flipped", "flipped left to right"),
        ("upside-down", "flipped upside down"),
        ("inverted", "inverted"),
        ("turned", "turned by 9 degrees"),
        ("cropped", "scaled by"),
        ("resized", "the same picture in other pixels"),
    ],
)
def test_it_says_what_was_done(planted, edit, words):
    [finding] = [f for f in only(planted, "near_copy") if f.second.image.stem == edit]
    assert finding.detail.startswith(words)


def test_simulated_set_passes(phantom_set):
    result = run(phantom_set)
    assert result.passed
    assert result.compared == 20
    assert auditing.sentences(result) == ["nothing was found among 20 images"]


def test_frames_do_not_make_images_alike(films):
    first, second = list(films.values())[:2]
    pair = [thumbnail(turned(image, 0, 0.8)) for image in (first, second)]
    for mirrored in (False, True):
        candidate = auditing.Candidate(0, 1, mirrored, 0.0, 1.0, 9.0)
        assert lay_over(*pair, candidate).likeness < auditing.COPY


def test_blank_images_are_no_copies(tmp_path):
    for value in (0, 90, 255):
        put(tmp_path, f"train/0/blank-{value}.png", np.full((200, 200), value, np.uint8))
    assert only(run(tmp_path), "near_copy") == []


def test_a_thumbnail_is_small_and_uses_its_range(films):
    wide = np.repeat(next(iter(films.values())), 2, axis=1).astype(np.float32) * 16
    small = thumbnail(wide)
    assert (small.shape, small.dtype, small.max()) == ((SIZE, SIZE), np.uint8, 255)
    assert describe(small).shape == (16, 40)


def test_a_copy_within_a_split_counts_too(films, tmp_path):
    image = next(iter(films.values()))
    put(tmp_path, "train/1/9000001R.png", image)
    put(tmp_path, "train/1/9000002R.png", jpeg(image, 60))
    result = run(tmp_path)
    [finding] = result.findings
    assert (finding.kind, finding.across) == ("near_copy", "")
    assert "names say two patients" in finding.detail
    assert not result.passed


def test_byte_copies_and_the_grades_they_have(films, tmp_path):
    image = next(iter(films.values()))
    put(tmp_path, "train/1/9000001R.png", image)
    put(tmp_path, "test/2/9000009R.png", image)
    result = run(tmp_path)
    [copy] = only(result, "byte_copy")
    assert copy.across == "test | train"
    [conflict] = only(result, "label_conflict")
    assert "KL 2 and KL 1" in conflict.detail or "KL 1 and KL 2" in conflict.detail
    assert any("measures memory" in sentence for sentence in auditing.sentences(result))


def small(films, root, *names):
    for name, image in zip(names, films.values(), strict=False):
        put(root, name, image)


def test_patients_in_two_splits_and_two_folds(films, tmp_path):
    small(films, tmp_path, "train/0/9000001R.png", "val/0/9000001L.png")
    small(films, tmp_path / "more", "train/0/9000002R.png", "train/0/9000002L.png")
    table(tmp_path / "folds.csv", ("name", "fold"), ("9000002R", "0"), ("9000002L", "1"))
    found = only(run(tmp_path), "shared_patient")
    assert [(f.first.patient, f.across) for f in found] == [
        ("9000001", "train | val"),
        ("9000002", "fold 0 | fold 1"),
    ]


def test_auto_test_is_told_and_never_independent(films, tmp_path):
    image = next(iter(films.values()))
    put(tmp_path, "test/0/9000001R.png", image)
    put(tmp_path, "auto_test/0/9000001R.png", turned(image, 0, 1.06, (6, -4)))
    result = run(tmp_path)
    [finding] = result.findings
    assert finding.kind == "auto_test"
    assert "1 images are other crops of the test films, 1 of patients in test, 1 confirmed" in finding.detail
    assert result.passed
    put(tmp_path, "train/0/renamed.png", jpeg(turned(image, 0, 1.06, (6, -4)), 70))
    leaks = only(run(tmp_path), "near_copy")
    assert {f.across for f in leaks} == {"test | train"}


def test_folder_table_and_name_that_contradict(films, tmp_path):
    small(films, tmp_path, "train/0/9000001R.png", "val/1/9000002L.png")
    rows = [("9000001R", "train", "9000001", "L", "3"), ("9000002L", "train", "9000002", "L", "1")]
    table(tmp_path / "labels.csv", HEADER, *rows)
    result = run(tmp_path)
    assert [f.detail for f in only(result, "label_conflict")] == [
        "grade: the folder says KL 0, labels.csv says KL 3",
        "split: the folder says val, labels.csv says train",
    ]
    assert [f.detail for f in only(result, "side_conflict")] == ["side: the name says R, labels.csv says L"]


def test_what_cannot_be_read_is_told(films, tmp_path):
    small(films, tmp_path, "train/0/9000001R.png")
    (tmp_path / "train/0/9000002R.png").write_bytes(b"not an image")
    result = run(tmp_path)
    assert result.compared == 1
    [finding] = result.findings
    assert (finding.kind, finding.first.file) == ("unreadable", "train/0/9000002R.png")


def test_rows_have_the_columns(planted):
    assert all(tuple(finding.row()) == auditing.COLUMNS for finding in planted.findings)
    document = planted.to_dict()
    validate("audit", document)
    assert "patient" not in " ".join(auditing.COLUMNS)
    assert document["counts"]["near_copy"] == {"across": len(EDITS), "within": 0}


@pytest.mark.parametrize(
    ("path", "split", "grade", "patient", "side"),
    [
        ("train/2/9000099R.png", "train", 2, "9000099", "R"),
        ("archive/kneeKL224/auto_test/4/9000099L.png", "auto_test", 4, "9000099", "L"),
        ("val/KL3/9000099_l (2).png", "val", 3, "9000099", "L"),
        ("train/0/9000099R_flipped.png", "train", 0, "9000099", "R"),
        ("Training/0Normal/NormalG0 (1).png", "train", 0, None, None),
        ("MB00123_R.png", None, None, "MB00123", "R"),
    ],
)
def test_places_and_names(tmp_path, path, split, grade, patient, side):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(b"x")
    [entry] = inventory.take(tmp_path).entries
    assert (entry.split, entry.grade, entry.patient, entry.side) == (split, grade, patient, side)


def test_empty_and_absent_folders(tmp_path):
    with pytest.raises(BadDataset, match="no images found"):
        inventory.take(tmp_path)
    with pytest.raises(BadDataset, match="not a folder"):
        inventory.take(tmp_path / "absent")


def test_no_patient_id_leaves_the_audit(tmp_path):
    """Only file names do: they are the user's own."""
    for path in ("train/0/a.png", "val/1/b.png", "MB00123R.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    lines = [
        "name,split,patient,side,KL",
        "a,train,Doe^Jane,R,0",
        "b,val,Doe^Jane,L,1",
        "MB00123R,val,Doe^Jim,R,1",
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    result = run(tmp_path)
    assert [f.detail for f in only(result, "shared_patient")] == ["one patient is in train and in val"]
    assert "patient: the name and labels.csv name two patients" in [f.detail for f in result.findings]
    assert "Doe" not in f"{result.to_dict()}{auditing.sentences(result)}"
