"""Golden outputs: drift, NaN and hostile contents are noticed."""

import json
import shutil
from pathlib import Path

import pytest

from kellgren.errors import BadBundle
from kellgren.grade import golden
from kellgren.model import bundle


@pytest.fixture
def folder(tmp_path):
    """A copy of the packaged joint-line bundle, the smallest."""
    copy = tmp_path / "contour"
    shutil.copytree(Path(str(bundle.packaged()["contour"])), copy)
    return copy


def changed(folder, change):
    path = folder / golden.FOLDER / golden.OUTPUTS
    stored = json.loads(path.read_text())
    name = next(iter(stored))
    replaced = change(name, stored[name])
    path.write_text(json.dumps({**stored, **replaced}))
    return bundle.load(folder)


def test_an_unchanged_bundle_passes(folder):
    result = golden.check(bundle.load(folder))
    assert result.passed
    assert result.largest <= golden.TOLERANCE


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_number_that_differs_in_any_way_fails(folder, value):
    def change(name, entry):
        entry["points"]["tibia"][3] = value
        return {name: entry}

    result = golden.check(changed(folder, change))
    assert not result.passed
    assert result.largest > golden.TOLERANCE


@pytest.mark.parametrize(
    "name", ["../card.json", "/etc/hostname", "..", "", "a\\b.png", "C:x.png", "missing.png"]
)
def test_names_that_lead_elsewhere_are_the_bundles_error(folder, name):
    opened = changed(folder, lambda _, entry: {name: entry})
    with pytest.raises(BadBundle, match=r"cannot be read|lies outside the bundle|in the bundle"):
        golden.check(opened)


@pytest.mark.parametrize(
    "change",
    [
        lambda name, entry: {name: {**entry, "points": {"tibia": entry["points"]["tibia"]}}},
        lambda name, entry: {name: {**entry, "points": {**entry["points"], "tibia": [0.5]}}},
        lambda name, entry: {name: {"side": entry["side"], "probabilities": {"KL": [1.0]}}},
    ],
)
def test_outputs_for_other_things_are_the_bundles_error(folder, change):
    with pytest.raises(BadBundle, match="are for other bones"):
        golden.check(changed(folder, change))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a.png": 3}', '{"a.png": {"side": "X"}}', "null"])
def test_outputs_of_another_shape_are_the_bundles_error(folder, text):
    (folder / golden.FOLDER / golden.OUTPUTS).write_text(text)
    with pytest.raises(BadBundle, match="no readable golden outputs"):
        golden.check(bundle.load(folder))


def test_an_input_that_is_no_image_is_the_bundles_error(folder):
    for path in (folder / golden.FOLDER).glob("*.png"):
        path.write_bytes(b"not an image")
    with pytest.raises(BadBundle, match=r"cannot be read|lies outside the bundle|in the bundle"):
        golden.check(bundle.load(folder))
