"""`benchmarks/train_many.py`: runs by name, a small copy of a data set, weights in parts and back."""

import argparse
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import train_many  # noqa: E402 - lies beside the package
from kellgren import data  # noqa: E402
from kellgren.writing import write_json  # noqa: E402


def arguments(tmp_path, **changes):
    given = {"out": tmp_path, "size": "full", "smoke": False, "fold": 0, "init": None}
    return argparse.Namespace(**given | changes)


def test_runs_by_name(phantom_set, tmp_path):
    dataset = data.load(phantom_set)
    title, cell = train_many.planned("wang::12:3", arguments(tmp_path), dataset)
    assert title == "wang full, seed 3"
    assert (cell.recipe.size, cell.recipe.optimise.epochs, cell.seed) == ("full", 12, 3)
    _, tried = train_many.planned("wang:small", arguments(tmp_path, smoke=True), dataset)
    assert (tried.recipe.size, tried.recipe.optimise.epochs) == ("small", len(tried.recipe.optimise.phases))
    with pytest.raises(SystemExit, match="is no RECIPE"):
        train_many.planned("wang:full:1:2:hub", arguments(tmp_path), dataset)


def test_a_small_copy_of_a_data_set(training_set, tmp_path):
    whole = data.load(training_set)
    part = data.load(train_many.subset(whole, tmp_path / "part", share=0.01))
    assert 0 < len(part) < len(whole)
    by_name = {knee.name: knee for knee in whole}
    for knee in part:
        original = by_name[knee.name]
        assert (knee.split, knee.patient, knee.fold) == (original.split, original.patient, original.fold)
        assert dict(knee.readings) == dict(original.readings)
        assert knee.image.read_bytes() == original.image.read_bytes()
    assert len({(k.split, k.fold) for k in part}) == len({(k.split, k.fold) for k in whole})


def test_weights_travel_in_parts(tmp_path, monkeypatch):
    out = tmp_path / "out"
    weights = {
        "kernel": torch.randn(64, 3, 3, 3),
        "bias": torch.randn(64),
        "count": torch.tensor(7, dtype=torch.long),
    }
    runs = []
    for key in ("aaaa", "bbbb"):
        run = out / "cells" / key / "run"
        (out / "cells" / key / "evaluations" / "val").mkdir(parents=True)
        (out / "cells" / key / "evaluations" / "val" / "predictions.csv").write_text(key)
        run.mkdir()
        torch.save({"model": weights, "epoch": 3}, run / "best.pt")
        (run / "run.json").write_text("{}")
        (run / "log.jsonl").write_text("")
        (run / "last.pt").write_bytes(b"not wanted")
        runs.append({"key": key, "recipe": key, "title": key})
    write_json(out / train_many.SUMMARY, {"runs": runs})
    monkeypatch.setattr(train_many, "PART_BYTES", 1000)
    parts, back = tmp_path / "parts", tmp_path / "back"
    one = len(train_many.rounded(out / "cells" / "aaaa" / "run" / "best.pt"))
    train_many.pack(argparse.Namespace(out=out, to=parts, most=1.5 * one / 2**20, only=None))
    assert json.loads((parts / train_many.SUMMARY).read_text())["weights_left_out"] == ["bbbb"]
    assert len(list(parts.glob("session.zip.*"))) > 1
    assert max(path.stat().st_size for path in parts.glob("session.zip.*")) <= 1000
    train_many.unpack(argparse.Namespace(parts=parts, out=back))
    for key in ("aaaa", "bbbb"):
        assert (back / "cells" / key / "evaluations" / "val" / "predictions.csv").read_text() == key
    assert not (back / "cells" / "bbbb" / "run").exists()
    assert not (back / "cells" / "aaaa" / "run" / "last.pt").exists()
    state = torch.load(back / "cells" / "aaaa" / "run" / "best.pt", weights_only=True)
    assert state["epoch"] == 3
    assert torch.equal(state["model"]["kernel"], weights["kernel"].half().float())
    assert torch.equal(state["model"]["bias"], weights["bias"])
    assert state["model"]["count"].dtype == torch.long
