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


@pytest.fixture(scope="session")
def phantoms():
    """One simulated right and one left knee, 299 pixels, by side."""
    import numpy as np

    from kellgren.simulate import draw_crop

    return {side: draw_crop(np.random.default_rng(3), KL=2, side=side) for side in ("R", "L")}


@pytest.fixture(scope="session")
def phantom_png(phantoms, tmp_path_factory):
    """The right knee as 8-bit PNG, under a name that tells no side."""
    from kellgren.simulate import write_png

    return write_png(phantoms["R"], tmp_path_factory.mktemp("phantom") / "film.png")


@pytest.fixture(scope="session")
def grader():
    """The packaged default bundle at work."""
    import kellgren

    return kellgren.load(threads=1)


@pytest.fixture
def stub_session(monkeypatch):
    """Every network opened meanwhile is this arithmetic one (see `stub_bundle`)."""
    from kellgren.model import predict
    from stub_bundle import StubSession

    session = StubSession()
    monkeypatch.setattr(predict, "Session", session.open)
    return session


@pytest.fixture(scope="session")
def tiny_recipe():
    """The default recipe with a toy backbone and crop: two epochs take seconds."""
    from dataclasses import replace

    from kellgren.train.graders import recipe as recipes

    recipe = recipes.load("joint", size="small")
    view = recipes.View(
        prepare=(
            {"step": "percentile_range", "low": 0.5, "high": 99.5},
            {"step": "resize", "height": 96, "width": 96},
        ),
        finish=(
            {"step": "region", "top": 0.25, "left": 0.0, "height": 0.6667, "width": 1.0},
            {"step": "normalise", "mean": 0.5, "std": 0.5},
        ),
    )
    (phase,) = recipe.optimise.phases
    return replace(
        recipe,
        name="tiny",
        views={"joint": view},
        network=replace(recipe.network, backbone="test_efficientnet", freeze=("conv_stem", "bn1")),
        optimise=replace(recipe.optimise, phases=(replace(phase, epochs=2),), batch=4),
    )


@pytest.fixture(scope="session")
def initial_weights(tmp_path_factory, tiny_recipe):
    """A folder of initial weights in timm's names, three channels, random, for the tiny backbone."""
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")
    name = tiny_recipe.network.backbone
    save_file(timm.create_model(name, num_classes=0).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def training_set(tmp_path_factory):
    """A data set folder of 30 small simulated knees in all file formats: two folds of six patients; val."""
    from kellgren.simulate import simulate

    folder = tmp_path_factory.mktemp("training")
    files = simulate(folder, 30, seed=4, format="mixed", size=96)
    rows = [f"{file.stem},{index // 2 % 2}" for index, file in enumerate(files) if index // 2 % 5 != 4]
    (folder / "folds.csv").write_text("name,fold\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder
