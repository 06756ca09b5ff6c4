"""Hostile bundles: every one is the bundle's own error, none takes long, none ends the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hostile_bundles

CASES = list(hostile_bundles.cases())
SAMPLE = 6
"""Every so many of the cases run on each change; the others with `-m slow`."""


def results(tmp_path, cases):
    """What a process of its own says of each bundle, as long as it lives."""
    paths = {}
    for i, (name, make) in enumerate(cases):
        paths[str(make(tmp_path / f"b{i}"))] = name
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(Path(hostile_bundles.__file__)), *paths]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    told = {paths[path]: (answer, seconds) for path, answer, seconds in answers}
    silent = [name for name in paths.values() if name not in told]
    assert not silent, f"the process ended with {done.returncode} at {silent[0]!r}: {done.stderr[-2000:]}"
    return told


def check(tmp_path, cases):
    told = results(tmp_path, cases)
    assert {name: answer for name, (answer, _) in told.items() if answer != "BadBundle"} == {}
    assert {name: seconds for name, (_, seconds) in told.items() if seconds > 10} == {}


def test_the_bundle_that_they_are_made_of_is_sound(tmp_path):
    hostile_bundles.write(tmp_path / "sound", arrays=hostile_bundles.npz(**hostile_bundles.TYPICAL))
    assert hostile_bundles.use(tmp_path / "sound") == "used"
    assert hostile_bundles.use(hostile_bundles.packed(lambda archive: None)(tmp_path / "packed")) == "used"
    assert np.isfinite(hostile_bundles.WEIGHTS).all()


def test_there_are_two_hundred():
    assert len(CASES) >= 200
    assert len({name for name, _ in CASES}) == len(CASES)


def test_a_sample_of_hostile_bundles(tmp_path):
    check(tmp_path, CASES[::SAMPLE])


@pytest.mark.slow
def test_every_hostile_bundle(tmp_path):
    check(tmp_path, CASES)
