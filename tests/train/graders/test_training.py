"""A whole run on simulated knees: it learns, goes on where it stopped, and becomes a bundle that grades."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from contract import validate  # noqa: E402 - after the check that torch is there
from kellgren.data import load  # noqa: E402
from kellgren.errors import BadBundle, BadDataset, BadRecipe  # noqa: E402
from kellgren.grade import golden  # noqa: E402
from kellgren.grade.grader import Grader  # noqa: E402
from kellgren.model import bundle  # noqa: E402
from kellgren.model.tta import Look  # noqa: E402
from kellgren.train.folder import WHOLE_SPLIT  # noqa: E402
from kellgren.train.graders import export, networks, training  # noqa: E402
from kellgren.train.graders.export import PARITY, export_run  # noqa: E402
from kellgren.train.graders.recipe import Loss  # noqa: E402
from kellgren.train.hardware import Hardware  # noqa: E402
from kellgren.train.run import Run, check, silent  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums in a fixed order, so that weights can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run_in(tiny_recipe, training_set, initial_weights):
    def make(folder, **changes):
        run = Run(
            recipe=tiny_recipe,
            dataset=load(training_set),
            out=folder,
            fold=0,
            seed=7,
            init=str(initial_weights),
            hardware=Hardware(torch.device("cpu"), bf16=False, threads=2, name="test, fp32"),
        )
        return replace(run, **changes)

    return make


@pytest.fixture(scope="module")
def finished(run_in, tmp_path_factory):
    """An uninterrupted run: its folder and the network it returned."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, training.train(run_in(folder))


def stored(folder, name):
    return torch.load(folder / name, weights_only=True)


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_run_folder(finished, run_in, tiny_recipe):
    folder, net = finished
    log = entries(folder)
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert all(np.isfinite(entry["loss"]) and entry["loss"] > 0 for entry in log)
    for name in ("KL_accuracy", "KL_qwk", "KL_nll", "FL_accuracy", "score"):
        assert all(f"held_out_{name}" in entry for entry in log), name
    record = json.loads((folder / "run.json").read_text())
    assert record["recipe"] == json.loads(json.dumps(tiny_recipe.to_dict()))
    assert (record["fold"], record["seed"], record["init"]) == (0, 7, "test_efficientnet.safetensors")
    assert record["data_sha256"] == run_in(folder).dataset.sha256()
    best = stored(folder, "best.pt")
    assert best["epoch"] == [entry["epoch"] for entry in log if entry["best"]][-1]
    assert not net.training
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, best["model"][name], rtol=0, atol=0)
    assert not list(folder.glob("*.partial"))


def test_training_moves_the_weights_and_leaves_the_frozen_ones(finished, run_in, tmp_path):
    torch.manual_seed(7)
    run = run_in(tmp_path)
    start = networks.build(run.recipe, init=run.init).state_dict()
    end = stored(finished[0], "last.pt")["model"]
    assert start.keys() == end.keys()
    moved = {name for name in end if not torch.equal(end[name], start[name])}
    frozen = {name for name in end if name.startswith(("backbone.model.conv_stem.", "backbone.model.bn1."))}
    assert "backbone.model.bn1.running_var" in frozen
    assert not frozen & moved
    assert moved == end.keys() - frozen


@pytest.fixture(scope="module")
def resumed(run_in, tmp_path_factory):
    """The same run, killed in its second epoch and then resumed."""
    folder = tmp_path_factory.mktemp("runs") / "resumed"

    def killed(items, total, description):
        del total
        for index, item in enumerate(items):
            if description.startswith("epoch 2/") and index == 1:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        training.train(run_in(folder), track=killed)
    assert len(entries(folder)) == 1
    with pytest.raises(BadRecipe, match=r"1 of 2 epochs.*--resume"):
        export_run(folder, run_in(folder).dataset.root, folder / "bundle", track=silent)
    training.train(run_in(folder), resume=True)
    return folder


def test_resumed_run_ends_with_the_same_bits(finished, resumed):
    whole, again = stored(finished[0], "last.pt"), stored(resumed, "last.pt")
    for part in ("model", "average"):
        for name, value in whole[part].items():
            torch.testing.assert_close(again[part][name], value, rtol=0, atol=0, msg=f"{part} {name}")
    assert [whole[key] for key in ("epoch", "step", "phase")] == [
        again[key] for key in ("epoch", "step", "phase")
    ]
    timing = {"seconds", "seconds_left", "images_per_s"}
    first, second = entries(finished[0]), entries(resumed)
    assert [{k: v for k, v in e.items() if k not in timing} for e in first] == [
        {k: v for k, v in e.items() if k not in timing} for e in second
    ]


def test_folder_of_a_run_is_not_overwritten(finished, run_in):
    with pytest.raises(BadRecipe, match=r"holds a run already.*--resume"):
        training.train(run_in(finished[0]))


def test_nothing_to_resume(run_in, tmp_path):
    with pytest.raises(BadRecipe, match="nothing to resume"):
        training.train(run_in(tmp_path), resume=True)


@pytest.mark.parametrize("changes", [{"seed": 8}, {"fold": 1}])
def test_another_run_is_not_resumed(finished, run_in, changes):
    with pytest.raises(BadRecipe, match=f"other {next(iter(changes))}"):
        training.train(run_in(finished[0], **changes), resume=True)


def test_other_initial_weights_are_not_resumed_from(finished, run_in, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(BadRecipe, match="other init"):
        training.train(run_in(finished[0], init=str(tmp_path / "weights.safetensors")), resume=True)


def test_frozen_stages_need_initial_weights(run_in, tmp_path):
    with pytest.raises(BadRecipe, match=r"freezes stages.*--init"):
        training.train(run_in(tmp_path / "run", init=None))
    assert not (tmp_path / "run").exists()


def test_absent_initial_weights_are_said_before_anything_is_written(run_in, tmp_path):
    with pytest.raises(BadRecipe, match="no initial weights there"):
        training.train(run_in(tmp_path / "run", init=str(tmp_path / "none.safetensors")))
    assert not list((tmp_path / "run").glob("*"))


# --- going on from a trained network ------------------------------------------------------------------------


def test_a_run_goes_on_from_a_trained_network(finished, run_in, tmp_path):
    folder, net = finished
    run = run_in(tmp_path / "second", init=str(folder))
    started = networks.build(run.recipe, init=run.init)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(started.state_dict()[name], value, rtol=0, atol=0)
    training.train(run)
    record = json.loads((tmp_path / "second" / "run.json").read_text())
    epoch = stored(folder, "best.pt")["epoch"]
    said = rf"whole/best\.pt [0-9a-f]{{8}} of epoch {epoch}, from test_efficientnet\.safetensors"
    assert re.fullmatch(said, record["init"])
    assert run_in(tmp_path, init=str(folder / "best.pt")).initial_weights() == record["init"]


def test_what_was_learned_from_is_not_held_out(finished, run_in, tmp_path, caplog):
    with pytest.raises(BadRecipe, match=r"learned from fold 1, .*--fold 0"):
        training.train(run_in(tmp_path / "run", init=str(finished[0]), fold=1))
    assert not (tmp_path / "run").exists()
    alone = tmp_path / "best.pt"
    alone.write_bytes((finished[0] / "best.pt").read_bytes())
    check(run_in(tmp_path / "run", init=str(alone), fold=1), resume=False)
    assert "which knees it has learned from" in caplog.text
    check(
        run_in(tmp_path / "run", init=str(finished[0]), fold=WHOLE_SPLIT), resume=False
    )  # holds nothing out


def test_what_an_ancestor_learned_from_is_not_held_out_either(finished, run_in, tmp_path):
    """First data, other data, then the first data again with another fold held out."""
    first = run_in(finished[0])
    between = tmp_path / "between"
    between.mkdir()
    (between / "best.pt").write_bytes((finished[0] / "best.pt").read_bytes())
    record = run_in(between, init=str(finished[0])).record()
    assert [(a.data_sha256, a.fold) for a in record.learned_before] == [(first.dataset.sha256(), 0)]
    other = record.model_copy(update={"data_sha256": "other", "fold": 1})
    (between / "run.json").write_text(other.model_dump_json())
    with pytest.raises(BadRecipe, match=r"learned from fold 1, .*--fold 0"):
        check(run_in(tmp_path / "run", init=str(between), fold=1), resume=False)
    check(run_in(tmp_path / "run", init=str(between), fold=0), resume=False)
    assert first.record().learned_before == ()


def test_a_damaged_start_is_said_before_anything_is_written(finished, run_in, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    (start / "best.pt").write_bytes(b"no checkpoint")
    with pytest.raises(BadRecipe, match="not a checkpoint of a run"):
        training.train(run_in(tmp_path / "run", init=str(start)))
    (start / "best.pt").write_bytes((finished[0] / "best.pt").read_bytes())
    (start / "run.json").write_text("{")
    with pytest.raises(BadRecipe, match="not the record of a run"):
        training.train(run_in(tmp_path / "run", init=str(start)))
    assert not (tmp_path / "run").exists()


def test_heads_of_other_tasks_start_at_random(finished, tiny_recipe, caplog):
    path = str(finished[0] / "best.pt")
    binary = replace(tiny_recipe, tasks={"KL": 1.0, "OA": 1.0}, loss={"default": Loss(kind="coral")})
    torch.manual_seed(1)
    net = networks.build(binary, init=path)
    trained = stored(finished[0], "best.pt")["model"]
    assert torch.equal(net.state_dict()["backbone.model.bn1.weight"], trained["backbone.model.bn1.weight"])
    assert "4 tensors start from random weights, first heads.KL" in caplog.text


def test_a_trained_network_with_another_backbone_is_refused(finished, tiny_recipe, tmp_path):
    other = replace(tiny_recipe, network=replace(tiny_recipe.network, backbone="test_resnet", freeze=()))
    with pytest.raises(BadRecipe, match=r"another backbone \(first difference: backbone"):
        networks.build(other, init=str(finished[0]))
    (tmp_path / "best.pt").write_bytes(b"no checkpoint")
    with pytest.raises(BadRecipe, match="not a checkpoint of a run"):
        networks.build(tiny_recipe, init=str(tmp_path))


def test_another_recipe_is_not_resumed(finished, run_in, tiny_recipe):
    other = replace(tiny_recipe, optimise=replace(tiny_recipe.optimise, clip=0.5))
    with pytest.raises(BadRecipe, match="other recipe"):
        training.train(run_in(finished[0], recipe=other), resume=True)


def test_held_out_fold_is_never_trained_on(run_in, tmp_path):
    run = run_in(tmp_path)
    learned, held_out = run.training(), run.held_out()
    assert {k.fold for k in learned} == {1}
    assert {k.fold for k in held_out} == {0}
    assert not {k.patient for k in learned} & {k.patient for k in held_out}
    assert {k.split for k in (*learned, *held_out)} == {"train"}
    whole = run_in(tmp_path, fold=WHOLE_SPLIT)
    assert len(whole.training()) == len(learned) + len(held_out)
    assert whole.held_out() is None
    with pytest.raises(BadDataset, match=r"folds \[5\]"):
        run_in(tmp_path, fold=5).held_out()


# --- export ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(finished, training_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    written = export_run(finished[0], training_set, out, name="toy", version="9.9", track=silent)
    assert written == out
    return out


def test_exported_card(exported, training_set, tiny_recipe):
    document = json.loads((exported / "card.json").read_text())
    validate("card", document)
    card = bundle.load(exported).card
    assert card.title == "toy@9.9"
    assert list(card.tasks) == list(tiny_recipe.tasks)
    assert card.inputs[0].size == (64, 96)
    assert list(card.inputs[0].steps) == [
        *tiny_recipe.views["joint"].prepare,
        *tiny_recipe.views["joint"].finish,
    ]
    assert (card.side_convention, card.tta) == ("as_right", ("flip", "framing"))
    assert card.decision["KL"] == tiny_recipe.decision["KL"]
    assert document["parity"]["largest_probability_difference"] <= PARITY
    assert document["training"]["held_out_fold"] == 0
    assert document["training"]["folds"] == [1]
    assert document["training"]["seeds"] == [7]
    assert document["calibration"]["fitted"]["n"] == 12
    assert document["calibration"]["fitted"]["n_patients"] == 6
    assert set(card.calibration.calibrators) == set(tiny_recipe.tasks) - {"SIDE"}
    assert document["validation"]["n"] == sum(knee.split == "val" for knee in load(training_set)) == 6
    assert document["validation"]["model"] == "toy@9.9"


def test_exported_bundle_gives_its_golden_outputs_and_grades(exported, phantom_png):
    check = golden.check(bundle.load(exported))
    assert check.passed
    assert check.inputs == 3
    (knee,) = Grader(bundle.load(exported)).grade(phantom_png, side="R", explain=True)
    assert sum(knee["KL"].probabilities) == pytest.approx(1)
    assert knee.explanation.maps["KL"].shape[0] == 5


def test_exported_graph_agrees_with_the_network(exported, finished, phantoms):
    """Independent of the export's own check: rounding to half precision is all that may differ."""
    model = Grader(bundle.load(exported)).model
    tensor = model.tensors(phantoms["R"].pixels, Look(mirrored=False))["joint"]
    raw = model.run({"joint": np.concatenate([tensor, tensor[..., ::-1], tensor])})
    with torch.inference_mode():
        logits, maps, embedding = finished[1].explain(torch.from_numpy(tensor))
    for task in logits:
        np.testing.assert_allclose(raw[f"logits_{task}"][0], logits[task][0], atol=0.02)
        np.testing.assert_allclose(raw[f"maps_{task}"][0], maps[task][0], atol=0.05)
        np.testing.assert_allclose(raw[f"logits_{task}"][2], raw[f"logits_{task}"][0], atol=1e-6)
    np.testing.assert_allclose(raw["embedding"][0], embedding[0], atol=0.02)


def test_weights_that_do_not_bear_rounding_stay_single(finished, run_in, tmp_path, monkeypatch, exported):
    """A bound that no rounding meets: the graph holds fp32, and the card says so."""
    import onnx

    rounded = json.loads((exported / "card.json").read_text())["parity"]
    assert rounded["weights"] == "fp16"
    assert 0 < rounded["largest_rounding_difference"] <= export.ROUNDING
    monkeypatch.setattr(export, "ROUNDING", 0.0)
    run = run_in(finished[0])
    proof = export.write_graph(run.recipe, finished[0] / "best.pt", run.training(), tmp_path)
    assert (proof.weights, proof.largest_rounding_difference) == ("fp32", 0.0)
    assert proof.largest_probability_difference <= PARITY
    kinds = {i.data_type for i in onnx.load(tmp_path / "model.onnx").graph.initializer if len(i.dims) > 1}
    assert onnx.TensorProto.FLOAT16 not in kinds


def test_exported_graph_names_no_file_of_the_machine(exported):
    data = (exported / "model.onnx").read_bytes()
    for trace in (b"site-packages", b"/kellgren/", b".py"):
        assert trace not in data
    assert len(data) < 1.5 * 2 * sum(p.numel() for p in _parameters(exported)) + 200_000


def _parameters(exported):
    import onnx
    from onnx import numpy_helper

    stored_arrays = [numpy_helper.to_array(i) for i in onnx.load(exported / "model.onnx").graph.initializer]
    assert any(a.dtype == np.float16 for a in stored_arrays)
    return [torch.from_numpy(np.array(a, dtype=np.float32)) for a in stored_arrays]


def test_export_refuses_another_data_set(finished, phantom_set, tmp_path):
    with pytest.raises(BadRecipe, match="not the one that the run was trained on"):
        export_run(finished[0], phantom_set, tmp_path / "b", track=silent)


def test_export_refuses_what_is_no_run(tmp_path, training_set):
    with pytest.raises(BadRecipe, match="not a run folder"):
        export_run(tmp_path, training_set, tmp_path / "b", track=silent)


def test_export_overwrites_no_folder_but_a_bundle(finished, training_set, tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(BadBundle, match="not empty and holds no bundle"):
        export_run(finished[0], training_set, tmp_path, track=silent)
    assert (tmp_path / "thesis.doc").read_text() == "years of work"


def test_an_export_that_ends_early_leaves_no_half_bundle(
    finished, exported, training_set, tmp_path, monkeypatch
):
    monkeypatch.setattr("kellgren.train.graders.export._write_typical", None)
    out = tmp_path / "bundle"
    with pytest.raises(TypeError):
        export_run(finished[0], training_set, out, track=silent)
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(exported, out)
    before = (out / "card.json").read_bytes()
    with pytest.raises(TypeError):
        export_run(finished[0], training_set, out, track=silent)
    assert (out / "card.json").read_bytes() == before, "what was there stays until the new one is whole"


def test_command_line_exchanges_values_of_the_recipe(monkeypatch, training_set, tmp_path):
    from typer.testing import CliRunner

    from kellgren.cli import app
    from kellgren.train import kinds

    seen = []
    monkeypatch.setattr(kinds, "train", lambda run, **_: seen.append(run.recipe) or tmp_path)
    arguments = ["train", "joint", "--data", str(training_set), "--out", str(tmp_path), "--size", "small"]
    changes = ["--set", "optimise.batch=8", "--set", "loss.KL.gamma=3"]
    assert CliRunner().invoke(app, [*arguments, *changes]).exit_code == 0
    assert (seen[0].optimise.batch, seen[0].loss_of("KL").gamma) == (8, 3.0)
    wrong = CliRunner().invoke(app, [*arguments, "--set", "optimise.bach=8"])
    assert wrong.exit_code == 2
    assert "did you mean 'batch'" in wrong.output
    assert len(seen) == 1
