"""Every kind of training goes on after kill -9 as if nothing had happened, bit for bit on one thread."""

import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork and no kill -9"),
]
torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from kellgren.data import load  # noqa: E402 - after the check that torch is there
from kellgren.errors import BadDataset, BadRecipe  # noqa: E402
from kellgren.train import checkpoint, folder, session  # noqa: E402
from kellgren.train.contour import training as contour  # noqa: E402
from kellgren.train.graders import training as graders  # noqa: E402
from kellgren.train.hardware import Hardware  # noqa: E402
from kellgren.train.localiser import training as localiser  # noqa: E402
from kellgren.train.localiser.compared import training as compared  # noqa: E402
from kellgren.train.run import Run  # noqa: E402

TRAIN = {
    "grader": graders.train,
    "contour": contour.train,
    "locate": localiser.train,
    "mtcnn": compared.train,
    "hog": compared.train,
}
STAGES = {
    "grader": [""],
    "contour": [""],
    "locate": ["level1", "level2", "tuned"],
    "mtcnn": ["level1", "level2", "level3", "tuned2", "tuned3"],
    "hog": ["svm", "mined"],
}
TIMING = {"seconds", "seconds_left", "images_per_s"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run_of(tiny_recipes, pointed_set, two_films, initial_weights):
    def make(kind, out, **changes):
        run = Run(
            recipe=tiny_recipes[kind],
            dataset=load(pointed_set),
            out=out,
            fold=0,
            seed=3,
            hardware=Hardware(torch.device("cpu"), bf16=False, threads=1, name="test, fp32"),
            init=str(initial_weights) if kind == "grader" else None,
            films=two_films if kind in ("locate", "mtcnn", "hog") else None,
        )
        return replace(run, **changes)

    return make


def killed_after(saves, work):
    """Do the work in a process that is killed by -9 when it has saved its state so many times."""
    if not (child := os.fork()):
        original, left = session.State.save, [saves]

        def save(self, out):
            original(self, out)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        session.State.save = save
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def log_of(out):
    return [{k: v for k, v in e.plain().items() if k not in TIMING} for e in folder.read_log(out)]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "mtcnn" else ()) for kind in TRAIN]
)
def test_kill_9_changes_nothing(kind, run_of, tmp_path):
    train, whole, again = TRAIN[kind], tmp_path / "whole", tmp_path / "again"
    train(run_of(kind, whole))
    expected = log_of(whole)
    assert list(dict.fromkeys(entry.get("stage", "") for entry in expected)) == STAGES[kind]
    killed_after(1, lambda: train(run_of(kind, again)))
    assert len(log_of(again)) == 1
    with pytest.raises(BadRecipe, match=r"holds a run already.*--resume"):
        train(run_of(kind, again))
    with pytest.raises(BadRecipe, match="other seed"):
        train(run_of(kind, again, seed=4), resume=True)
    if len(expected) > 2:
        killed_after(len(expected) // 2, lambda: train(run_of(kind, again), resume=True))
    train(run_of(kind, again), resume=True)
    assert log_of(again) == expected
    for stage in STAGES[kind]:
        (first, epoch), (second, same) = (
            checkpoint.load_weights(session.best_file(out, stage)) for out in (whole, again)
        )
        assert first.keys() == second.keys()
        assert epoch == same
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=f"{stage} {name}")
    if kind in ("mtcnn", "hog"):
        for path in (whole / "detector").iterdir():
            assert (again / "detector" / path.name).is_file()
    assert not list(again.glob("*partial"))


@pytest.mark.parametrize("kind", TRAIN)
def test_a_train_knee_in_no_fold_is_refused(kind, run_of, tmp_path):
    run = run_of(kind, tmp_path / "run")
    knees = run.dataset.knees
    first = next(i for i, knee in enumerate(knees) if knee.split == "train")
    holed = (*knees[:first], replace(knees[first], fold=None), *knees[first + 1 :])
    with pytest.raises(BadDataset, match=f"1 train knees are in no fold, first '{knees[first].name}'"):
        TRAIN[kind](replace(run, dataset=replace(run.dataset, knees=holed)))
    assert not run.out.exists()


def test_a_damaged_state_is_said(run_of, tmp_path):
    run = run_of("contour", tmp_path)
    killed_after(1, lambda: contour.train(run))
    state = (tmp_path / "last.pt").read_bytes()
    for damage in (state[: len(state) // 2], b"", np.random.default_rng(0).bytes(5000)):
        (tmp_path / "last.pt").write_bytes(damage)
        with pytest.raises(BadRecipe, match="not a checkpoint of a run"):
            contour.train(run, resume=True)
    checkpoint.save(tmp_path / "last.pt", {"epoch": 1})
    with pytest.raises(BadRecipe, match="not the state of a run"):
        contour.train(run, resume=True)
