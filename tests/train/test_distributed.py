"""Two processes on this machine's processors train what one would: `torchrun` as a user starts it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.errors import BadRecipe  # noqa: E402 - after the check that torch is there
from kellgren.train import hardware  # noqa: E402
from kellgren.train.graders import training  # noqa: E402
from kellgren.train.graders.recipe import Augment, Phase, View  # noqa: E402
from kellgren.train.run import Run, silent  # noqa: E402

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this torch has no gloo", allow_module_level=True)


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    """A network without batch statistics or dropout, and a rule whose steps are as large as its gradients."""
    view = View(
        prepare=(tiny_recipe.views["joint"].prepare[0], {"step": "resize", "height": 32, "width": 40}),
        finish=({"step": "normalise", "mean": 0.5, "std": 0.5},),
    )
    phases = (
        Phase(epochs=1, lr=0.05, train="heads"),
        Phase(epochs=1, lr=0.05, schedule="cosine", warmup=0.5),
    )
    return replace(
        tiny_recipe,
        name="shared",
        views={"joint": view},
        network=replace(tiny_recipe.network, backbone="test_convnext", freeze=(), dropout=0.0, drop_path=0.0),
        augment=Augment(flip=0.5, rotate=10, gamma=1.2, noise=0.02),
        optimise=replace(tiny_recipe.optimise, phases=phases, batch=4, optimiser="sgd", ema=0.5),
    )


@pytest.fixture(scope="module")
def half_read(training_set, tmp_path_factory):
    """Knees of which some have no osteophyte readings: the two halves of a batch then count differently."""
    folder = tmp_path_factory.mktemp("half") / "knees"
    shutil.copytree(training_set, folder)
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for index, row in enumerate(rows):
            blank = {"FL": "", "FM": "", "TL": "", "TM": ""} if index % 3 else {}
            writer.writerow(row | blank)
    return folder


def run_kellgren(arguments, *, processes):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    starter = [sys.executable]
    if processes > 1:
        starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    options = [
        part for key, value in arguments.items() if key != "recipe" for part in (f"--{key}", str(value))
    ]
    command = [*starter, "-m", "kellgren", "train", str(arguments["recipe"]), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def runs(recipe, half_read, tmp_path_factory):
    """The same command by one process and by two: run folders."""
    import yaml

    folder = tmp_path_factory.mktemp("shared")
    values = json.loads(json.dumps(recipe.to_dict()))
    values["sizes"] = {values.pop("size"): {}}
    (folder / "shared.yaml").write_text(yaml.safe_dump(values))
    folders = {}
    for processes in (1, 2):
        folders[processes] = folder / f"by{processes}"
        arguments = {
            "recipe": folder / "shared.yaml",
            "size": "small",
            "data": half_read,
            "out": folders[processes],
            "device": "cpu",
            "seed": 5,
        }
        run_kellgren(arguments, processes=processes)
    return folders


def stored(folder, name="last.pt"):
    return torch.load(folder / name, weights_only=True)


def test_two_processes_learn_what_one_learns(runs):
    one, two = stored(runs[1]), stored(runs[2])
    assert (one["epoch"], one["step"]) == (two["epoch"], two["step"])
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, atol=2e-5, rtol=1e-3, msg=name)
    start = torch.zeros_like(one["model"]["heads.KL.weight"])
    assert not torch.allclose(one["model"]["heads.KL.weight"], start, atol=1e-2)


def test_first_process_writes_the_folder_once(runs):
    log = {
        n: [json.loads(text) for text in (f / "log.jsonl").read_text().splitlines()] for n, f in runs.items()
    }
    assert [entry["epoch"] for entry in log[2]] == [1, 2]
    for one, two in zip(log[1], log[2], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-3)
        assert two["best"] == one["best"]
    assert json.loads((runs[2] / "run.json").read_text())["processes"] == 2
    assert (runs[2] / "bundle" / "card.json").is_file()
    assert not list(runs[2].glob("*.partial"))


def test_a_batch_that_cannot_be_shared_is_said(recipe, tmp_path, half_read):
    from kellgren.data import load

    alone = hardware.choose("cpu")
    with pytest.raises(BadRecipe, match=r"optimise\.batch is 4, which 3 processes cannot share"):
        training.train(Run(recipe, load(half_read), tmp_path / "run", 0, 0, replace(alone, world=3)))


def test_each_process_gets_its_share_of_the_processors(monkeypatch):
    for key, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(hardware, "processors", lambda: 6)
    threads = torch.get_num_threads()
    try:
        chosen = hardware.choose("cpu")
    finally:
        torch.set_num_threads(threads)
    assert (chosen.rank, chosen.world, chosen.threads) == (1, 2, 3)
    assert chosen.name.startswith("2 processes, each 3 x ")


def test_only_graders_are_trained_by_several_processes(tmp_path, half_read):
    from kellgren.data import load
    from kellgren.train import kinds
    from kellgren.train.graders import recipe as recipes

    recipe = kinds.from_dict(recipes.document("contour", size="small"))
    run = Run(recipe, load(half_read), tmp_path, 0, 0, replace(hardware.choose("cpu"), world=2))
    with pytest.raises(BadRecipe, match="'contour' is trained by one process"):
        kinds.train(run, resume=False, track=silent)
