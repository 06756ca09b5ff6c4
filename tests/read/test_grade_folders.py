"""Split and grade by folder names."""

from __future__ import annotations

import pytest

from kellgren.read.grade_folders import Place, grade_of_folder, place_of


@pytest.mark.parametrize(
    ("name", "grade"),
    [
        ("0", 0),
        ("4", 4),
        ("KL3", 3),
        ("KL 2", 2),
        ("grade_1", 1),
        ("Grade-4", 4),
        ("0Normal", 0),
        ("1Doubtful", 1),
        ("2Mild", 2),
        ("3Moderate", 3),
        ("4Severe", 4),
        ("2 - minimal", 2),
        ("Moderate", 3),
        ("5", None),
        ("12", None),
        ("²", None),
        ("0Severe", None),
        ("knees", None),
        ("", None),
    ],
)
def test_grades(name, grade):
    assert grade_of_folder(name) == grade


@pytest.mark.parametrize(
    ("path", "split", "grade"),
    [
        ("train/2/a.png", "train", 2),
        ("kneeKL299/val/0/a.png", "val", 0),
        ("ClsKLData/kneeKL224/auto_test/4/a.png", "auto_test", 4),
        ("data.zip/valid/KL1/a.png", "val", 1),
        ("test.zip/3/a.png", "test", 3),
        ("Training/0Normal/a.png", "train", 0),
        ("MedicalExpert-I/4Severe/a.png", None, 4),
        ("train/a.png", "train", None),
        ("a.png", None, None),
    ],
)
def test_places(path, split, grade):
    assert place_of(path.split("/")) == Place(split, grade)
