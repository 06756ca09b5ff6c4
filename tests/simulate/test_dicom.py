"""DICOM of simulated knees: each variant is what it says; dciodvfy, where installed, finds no error."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from kellgren.simulate import draw_crop, draw_film, write_dicom

KINDS = ("dx", "dx-processing", "cr", "sc")


@pytest.fixture(scope="module")
def phantoms():
    """A crop, a film of two knees, a lateral film, by name."""
    return {
        "crop": draw_crop(np.random.default_rng(0), size=96),
        "two": draw_film(np.random.default_rng(26), knees=2),
        "lateral": draw_film(np.random.default_rng(23), view="lateral"),
    }


@pytest.mark.parametrize(
    ("kind", "modality", "spacing"),
    [
        ("dx", "DX", "ImagerPixelSpacing"),
        ("dx-processing", "DX", "ImagerPixelSpacing"),
        ("cr", "CR", "ImagerPixelSpacing"),
        ("sc", "OT", "NominalScannedPixelSpacing"),
    ],
)
def test_kinds_state_what_they_are(phantoms, tmp_path, kind, modality, spacing):
    film = phantoms["lateral"]
    ds = pydicom.dcmread(write_dicom(film, tmp_path / "a.dcm", kind=kind))
    assert ds.Modality == modality
    assert [float(v) for v in ds[spacing].value] == [film.spacing_mm] * 2
    assert "PixelSpacing" not in ds  # nothing calibrates it
    assert (ds.get("ImageLaterality") or ds.Laterality) == film.sides[0]
    assert np.array_equal(ds.pixel_array, film.pixels >> 4)
    assert ("WindowCenter" in ds) == (kind != "dx-processing")


@pytest.mark.parametrize("kind", ["cr", "sc"])
def test_side_and_spacing_may_be_unknown(phantoms, tmp_path, kind):
    ds = pydicom.dcmread(
        write_dicom(phantoms["crop"], tmp_path / "a.dcm", kind=kind, side_tag=False, spacing_tag=False)
    )
    assert not ds.Laterality
    assert not ds.PatientOrientation
    assert not {"ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing"} & set(ds.dir())


def test_two_knees_are_both_sides(phantoms, tmp_path):
    assert pydicom.dcmread(write_dicom(phantoms["two"], tmp_path / "a.dcm")).ImageLaterality == "B"
    assert not pydicom.dcmread(write_dicom(phantoms["two"], tmp_path / "a.dcm", kind="cr")).Laterality


@pytest.mark.parametrize("wrong", [{"kind": "mr"}, {"side_tag": False}, {"kind": "dx", "spacing_tag": False}])
def test_impossible_objects_are_refused(phantoms, tmp_path, wrong):
    with pytest.raises(ValueError, match="must be"):
        write_dicom(phantoms["crop"], tmp_path / "a.dcm", **wrong)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(phantoms, tmp_path, kind):
    variants = [
        ("crop", photometric, bits, stated, stated)
        for photometric in ("MONOCHROME1", "MONOCHROME2")
        for bits in (8, 10, 12, 14, 16)
        for stated in ((True,) if kind.startswith("dx") else (True, False))
    ]
    variants += [(name, "MONOCHROME2", 12, True, True) for name in ("two", "lateral")]
    for name, photometric, bits, side, spacing in variants:
        path = write_dicom(
            phantoms[name],
            tmp_path / "a.dcm",
            kind=kind,
            photometric=photometric,
            bits_stored=bits,
            side_tag=side,
            spacing_tag=spacing,
        )
        done = subprocess.run(  # noqa: S603 - our own file
            ["dciodvfy", str(path)],  # noqa: S607 - wherever it is installed
            capture_output=True,
            text=True,
            check=False,
        )
        report = done.stdout + done.stderr
        assert not [line for line in report.splitlines() if line.startswith("Error")], (
            name,
            photometric,
            bits,
        )
