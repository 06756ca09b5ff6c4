"""Shared fixtures: real data when it is given, simulated knees always."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    """Skip what this installation cannot run, saying why."""
    no_data = pytest.mark.skip(reason="no real data: set KELLGREN_DATA to the data folder")
    no_train = pytest.mark.skip(reason="the train extra is not installed")
    for item in items:
        if "real" in item.keywords and not os.environ.get("KELLGREN_DATA"):
            item.add_marker(no_data)
        if "train" in item.keywords and find_spec("timm") is None:
            item.add_marker(no_train)


@pytest.fixture(scope="session")
def real_data():
    """The data folder, for tests marked `real`."""
    return Path(os.environ["KELLGREN_DATA"])


@pytest.fixture(scope="session")
def examples():
    """The repository's simulated example knees."""
    return Path(__file__).parents[1] / "examples" / "knees"


@pytest.fixture(scope="session")
def phantom_set(tmp_path_factory):
    """A data set folder of 20 simulated knees (10 patients, train and val)."""
    from kellgren.simulate import simulate

    folder = tmp_path_factory.mktemp("phantoms")
    simulate(folder, 20, seed=11)
    return folder
