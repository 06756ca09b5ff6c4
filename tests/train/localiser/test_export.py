"""A cascade trained in seconds becomes a bundle that finds what it finds."""

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren import locate  # noqa: E402 - after the check that torch is there
from kellgren.data import load  # noqa: E402
from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.grade.golden import check  # noqa: E402
from kellgren.model import bundle  # noqa: E402
from kellgren.train import kinds  # noqa: E402
from kellgren.train.hardware import Hardware  # noqa: E402
from kellgren.train.localiser.export import PARITY, export_localiser  # noqa: E402
from kellgren.train.run import Run, silent  # noqa: E402


def test_a_run_becomes_a_bundle(tiny_recipes, pointed_set, two_films, tmp_path):
    hardware = Hardware(torch.device("cpu"), bf16=False, threads=1, name="test, fp32")
    out, data = tmp_path / "run", load(pointed_set)
    run = Run(tiny_recipes["locate"], data, out, 0, 3, hardware, films=two_films)
    written = bundle.load(kinds.train(run, resume=False, track=silent))
    assert written.root == out / "bundle"
    card = written.card
    assert card.kind == "localiser"
    assert (card.training.films, card.training.held_out_fold) == (2, 0)
    assert len(card.training.windows) == 3
    assert card.parity.largest_difference <= PARITY
    assert check(written).passed
    joints = locate.load(str(out / "bundle")).find(np.full((120, 160), 90, np.uint16))
    assert all(joint.points.shape == (6, 2) for joint in joints)
    (out / "tuned.pt").unlink()
    with pytest.raises(BadRecipe, match="not finished"):
        export_localiser(out, data, tmp_path / "again")


def test_what_only_others_take_is_refused(tiny_recipes, pointed_set, tmp_path):
    hardware = Hardware(torch.device("cpu"), bf16=False, threads=1, name="test, fp32")
    run = Run(tiny_recipes["locate"], load(pointed_set), tmp_path / "run", 0, 3, hardware, init="hub")
    with pytest.raises(BadRecipe, match="starts from random weights"):
        kinds.train(run, resume=False, track=silent)
    assert not (tmp_path / "run").exists()
