"""A study from beginning to end on simulated knees: cached, resumed, a failing cell, another data set."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.train
pytest.importorskip("torch")

from contract import validate  # noqa: E402 - after the check that torch is there
from kellgren import data  # noqa: E402
from kellgren.errors import BadDataset, BadRecipe  # noqa: E402
from kellgren.model import bundle  # noqa: E402
from kellgren.study import cell_process, cells, plan, predictions, records, released, runner, table  # noqa: E402
from kellgren.study.runner import Settings  # noqa: E402
from kellgren.train.folder import read_log  # noqa: E402

EPOCHS = 8

RECIPE = f"""
name: toy
title: A toy
source: nobody
tasks: {{KL: 1.0, OA: 0.5, FL: 0.2, FM: 0.2}}
side_convention: as_right
views:
  joint:
    prepare:
      - {{step: percentile_range, low: 0.5, high: 99.5}}
      - {{step: resize, height: 64, width: 64}}
    finish:
      - {{step: normalise, mean: 0.5, std: 0.5}}
network: {{kind: multi_task, backbone: test_efficientnet}}
optimise: {{phases: [{{epochs: {EPOCHS}, lr: 1.0e-3}}], batch: 8}}
sizes: {{full: {{}}, small: {{}}}}
"""


@dataclasses.dataclass
class Study:
    settings: Settings
    plan: plan.Plan
    folder: object
    document: dict
    orphan_code: int
    epochs_before: int

    def cell(self, name):
        row = self.plan.row(name)
        [cell] = runner.cells_of(row, self.settings, data.load(self.settings.data))
        return cell


def built(folder, *, draws):
    """`table.json` as it is written."""
    table.build(folder, draws=draws)
    return json.loads((folder / "table.json").read_text())


def jobs(chosen, settings):
    """Each row's job as the runner gives it to a worker."""
    dataset = data.load(settings.data)
    evaluations = runner.evaluations_of(chosen, settings, dataset, dataset, "val")
    for row in chosen.rows:
        if row.recipe:
            [cell] = runner.cells_of(row, settings, dataset)
            yield row.name, cell, runner.job_of(cell, settings, dataset, evaluations, 0, 0.0)


@pytest.fixture(scope="module")
def study(training_set, tmp_path_factory):
    """Row `interrupted` was left by a process that ended at once; `quick` was trained without a bundle."""
    folder = tmp_path_factory.mktemp("study")
    recipe = folder / "toy.yaml"
    recipe.write_text(RECIPE)
    rows = [
        {"name": "interrupted", "recipe": str(recipe)},
        {"name": "other", "recipe": str(recipe), "set": ["optimise.phases.0.epochs=1"]},
        {"name": "broken", "recipe": str(recipe), "set": ["network.freeze=[conv_stem]"]},
        {"name": "both", "vote": {"of": ["interrupted", "other"], "rule": "search"}},
    ]
    chosen = plan.from_dict(
        {
            "name": "toys",
            "title": "Toys",
            "source": "nobody",
            "rows": rows,
            "compare": [["interrupted", "*"]],
            "figures": ["KL.accuracy", "FL.qwk"],
            "tables": ["gradient_share"],
        },
        size="small",
    )
    settings = Settings(data=training_set, out=folder / "out", size="small", device="cpu")
    given = {name: (cell, job) for name, cell, job in jobs(chosen, settings)}
    code, before = _leave(*given["interrupted"])
    cell_process.work(given["other"][1])
    out = runner.run(chosen, settings)
    return Study(settings, chosen, out, built(out, draws=100), code, before)


def _leave(cell, job):
    """Start a worker, and end it after its first epoch as the end of its parent does: without a farewell."""
    cells.describe(cell)
    records.write(cell.folder / "job.json", job)
    with (cell.folder / cells.LOG).open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "kellgren.study.cell_process", str(cell.folder / "job.json")],
            stdin=subprocess.PIPE,
            stderr=log,
        )
        until = time.monotonic() + 120
        while not read_log(cell.run) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.stdin.close()
        return process.wait(20), len(read_log(cell.run))


def with_bundle(study, bundle, **changes):
    """A plan of the study's first row, a bundle, and the vote of both that is best on the held-out fold."""
    first = {"name": "interrupted", "recipe": study.plan.row("interrupted").recipe}
    rows = [
        first,
        {"name": "released", "bundle": str(bundle)},
        {"name": "both", "vote": {"of": ["interrupted", "released"], "rule": "search"}},
    ]
    values = {"name": "released", "title": "T", "source": "nobody", "figures": ["KL.accuracy", "FL.qwk"]}
    return plan.from_dict(
        {**values, "rows": rows, "compare": [["interrupted", "*"]], **changes}, size="small"
    )


def test_a_bundle_stands_beside_what_a_plan_trains(study):
    other = study.cell("other")
    folder = runner.run(with_bundle(study, other.bundle), study.settings)
    rows = {row["name"]: row for row in built(folder, draws=100)["rows"]}
    trained = next(row for row in study.document["rows"] if row["name"] == "other")
    assert [row["state"] for row in rows.values()] == ["done"] * 3
    assert rows["released"]["figures"] == trained["figures"]
    assert rows["released"]["bundle"] == str(other.bundle)
    assert rows["released"]["cost"]["parameters"] == trained["cost"]["parameters"]
    assert rows["released"]["cost"]["epochs"] == [1]
    counted = rows["released"]["cost"]["macs"]
    assert counted == pytest.approx(trained["cost"]["macs"], rel=0.02), "one from the graph, one by torch"
    both = rows["interrupted"]["cost"]["macs"] + counted
    assert rows["both"]["cost"]["macs"] == both
    assert rows["both"]["chosen"]["n"] == len(data.load(study.settings.data).select(split="train", folds={0}))
    assert "released" in (folder / "table.md").read_text()
    for name in ("study", "table"):
        validate(name, json.loads((folder / f"{name}.json").read_text()))
    for entry in json.loads((folder / "study.json").read_text())["cells"]["released"]:
        validate("cost", json.loads((folder.parent / "cells" / entry["key"] / cells.COST).read_text()))


def test_a_bundle_is_judged_once(study, monkeypatch):
    chosen = with_bundle(study, study.cell("other").bundle)
    runner.run(chosen, study.settings)
    monkeypatch.setattr("kellgren.evaluate.evaluation.evaluate", None)
    runner.run(chosen, study.settings)


def test_the_same_graph_calibrated_anew_is_judged_anew(study, tmp_path):
    other = study.cell("other").bundle
    shutil.copytree(other, tmp_path / "b")
    card = json.loads((tmp_path / "b" / "card.json").read_text())
    card["calibration"]["temperature"]["KL"] *= 2
    (tmp_path / "b" / "card.json").write_text(json.dumps(card))
    dataset = data.load(study.settings.data)
    first, second = (
        released.find("r", str(path), dataset, tmp_path, fold=0) for path in (other, tmp_path / "b")
    )
    assert first.bundle.sha256() == second.bundle.sha256()
    assert first.folder != second.folder


def test_who_starts_from_another_waits_and_has_no_time_of_its_own(study, monkeypatch):
    """Generations one after the other, with one deadline."""
    seen = []

    def train(title, cell, job, share, stop):
        seen.append((title, job.deadline))
        time.sleep(0.2 * (2 - cell.generation))

    monkeypatch.setattr(runner, "_train", train)
    first = study.cell("other")
    second = dataclasses.replace(first, before=first)
    third = dataclasses.replace(first, before=second)
    settings = dataclasses.replace(study.settings, parallel=3, minutes=1.0)
    jobs = [("third", third), ("first", first), ("second", second), ("also first", first)]
    runner.carry_out(jobs, settings, data.load(settings.data), {})
    assert {title for title, _ in seen[:2]} == {"first", "also first"}
    assert [title for title, _ in seen[2:]] == ["second", "third"]
    assert len({deadline for _, deadline in seen}) == 1


def test_a_bundle_is_not_judged_on_what_it_learned_from(study, tmp_path):
    bundle_ = study.cell("other").bundle
    settings = dataclasses.replace(study.settings, fold=1, out=tmp_path)
    with pytest.raises(BadRecipe, match="did not hold out fold 1"):
        runner.run(with_bundle(study, bundle_), settings)
    for name, words in (
        ("locate", "is not a grader but a localiser"),
        ("joint", "did not hold out fold 0 of this"),
    ):
        with pytest.raises(BadRecipe, match=words):
            runner.run(with_bundle(study, name), study.settings)


def states(study):
    return {row["name"]: row["state"] for row in study.document["rows"]}


def test_an_interrupted_cell_goes_on(study):
    assert study.orphan_code == cell_process.ORPHANED
    assert 1 <= study.epochs_before < EPOCHS
    cell = study.cell("interrupted")
    assert [entry.epoch for entry in read_log(cell.run)] == list(range(1, EPOCHS + 1))
    log = (cell.folder / cells.LOG).read_text()
    assert f"epoch {EPOCHS}/{EPOCHS}" in log
    assert log.count("epoch 1/") <= 1, "the first epoch was trained twice"  # its end may come before its word
    assert not (cell.run / "last.pt").exists(), "what only resuming needs is gone"


def test_what_a_study_holds(study):
    """A vote, a row that failed, shares of the gradient: as published in the schemas."""
    for name in ("study", "table"):
        validate(name, json.loads((study.folder / f"{name}.json").read_text()))


def test_pictures_of_every_task(study):
    pytest.importorskip("matplotlib")
    from kellgren.study import plots

    drawn = records.read(records.Table, study.folder / "table.json")
    names = {path.name for path in plots.draw(drawn, study.folder)}
    assert names == {"plot.png", "curves.png", "roc.png", "confusion.png", "confusion-FL.png"}
    assert all((study.folder / name).stat().st_size > 5_000 for name in names)


def test_a_row_goes_on_from_another(study):
    recipe = study.plan.row("other").recipe
    rows = [
        {"name": "other", "recipe": recipe, "set": ["optimise.phases.0.epochs=1"]},
        {"name": "again", "recipe": recipe, "set": ["optimise.phases.0.epochs=2"], "start": "other"},
        {"name": "broken", "recipe": recipe, "set": ["network.freeze=[conv_stem]"]},
        {"name": "orphan", "recipe": recipe, "start": "broken"},
    ]
    values = {"name": "starts", "title": "T", "source": "nobody", "figures": ["KL.accuracy"]}
    chosen = plan.from_dict({**values, "rows": rows}, size="small")
    assert runner.wanted_rows(chosen, ["again"]) == {"again", "other"}
    out = runner.run(chosen, study.settings)
    other = study.cell("other")
    dataset = data.load(study.settings.data)
    [again] = runner.cells_of(chosen.row("again"), study.settings, dataset, [other])
    plain = dataclasses.replace(chosen.row("again"), start="")
    assert again.key != runner.cells_of(plain, study.settings, dataset)[0].key
    assert again.generation == 1
    record = json.loads((again.run / "run.json").read_text())
    assert record["learned_before"] == [{"data_sha256": dataset.sha256(), "fold": 0}]
    told = bundle.load(str(again.bundle)).card.training.initial_weights
    assert told.startswith("run/best.pt ")
    document = built(out, draws=100)
    state = {row["name"]: row["state"] for row in document["rows"]}
    assert (state["other"], state["again"]) == ("done", "done")
    assert "from which it starts, is not trained" in state["orphan"]
    validate("study", json.loads((out / "study.json").read_text()))
    brief = json.loads((out / "study.json").read_text())["cells"]["again"][0]
    assert brief["init"] == f"toy of cell {other.key[:8]}, from random"
    seeded = dataclasses.replace(chosen.row("again"), seeds=(3,))
    with pytest.raises(BadRecipe, match="has no seed 3"):
        runner.cells_of(seeded, study.settings, dataset, [other])


def test_a_failing_cell_is_one_failed_row(study):
    assert states(study)["interrupted"] == states(study)["other"] == states(study)["both"] == "done"
    assert states(study)["broken"].startswith("failed: ")
    assert "initial weights" in states(study)["broken"]


def test_what_a_cell_holds(study):
    cell = study.cell("interrupted")
    identity = json.loads((cell.folder / "cell.json").read_text())
    assert identity["data_sha256"] == data.load(study.settings.data).sha256()
    assert (identity["seed"], identity["fold"], identity["init"]) == (0, 0, None)
    assert bundle.load(str(cell.bundle)).card.tasks == {"KL": 5, "OA": 2, "FL": 4, "FM": 4}
    for name in ("val", cells.HELD_OUT):
        metrics = json.loads((cell.evaluation(name) / "metrics.json").read_text())
        validate("metrics", metrics)
    val, held = (predictions.read(cell.evaluation(name)) for name in ("val", cells.HELD_OUT))
    assert (val.split, held.split) == (("val",), ("train",))
    fold = {knee.name for knee in data.load(study.settings.data) if knee.fold == 0}
    assert set(held.names) == fold
    cost = json.loads((cell.folder / cells.COST).read_text())
    validate("cost", cost)
    for line in (cell.run / "log.jsonl").read_text().splitlines():
        validate("log", json.loads(line))
    assert cost["epochs"] == EPOCHS
    assert 50_000 < cost["parameters"] < 200_000
    assert cost["peak_bytes"] > 100 << 20
    assert cost["input"] == {"joint": [64, 64]}


def test_operations_are_counted(study):
    """MACs of the same network at twice the height and width are about four times as many."""
    from kellgren.train.graders import recipe as recipes

    cell = study.cell("interrupted")
    values = json.loads(json.dumps(cell.recipe.to_dict()))
    values["views"]["joint"]["prepare"][1] |= {"height": 128, "width": 128}
    hardware = cell_process.hardware.choose("cpu")
    large = cell_process.cost_of(recipes.from_dict(values), cell.run, hardware)
    assert 3.8 < large.macs / json.loads((cell.folder / cells.COST).read_text())["macs"] < 4.2


def test_a_searched_vote_says_what_it_chose(study):
    [row] = [row for row in study.document["rows"] if row["name"] == "both"]
    assert set(row["chosen"]["members"]) == {"interrupted", "other"}
    assert row["chosen"]["tried"] == 3
    assert row["chosen"]["n"] == 12


def test_gradient_shares_are_tabulated(study):
    shares = {entry["row"]: entry["shares"] for entry in study.document["gradient_share"]}
    assert set(shares) == {"interrupted", "other"}
    assert sum(shares["other"]["images"]) == pytest.approx(1)


def test_nothing_is_trained_twice(study, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(runner.subprocess, "Popen", never)
    again = dataclasses.replace(study.settings, only=("interrupted", "both"))
    assert runner.run(study.plan, again) == study.folder
    retitled = dataclasses.replace(study.plan, name="others", title="The same under another name")
    assert runner.run(retitled, again) != study.folder


def test_a_cell_is_judged_on_another_data_set(study, phantom_set, monkeypatch):
    """In this process; without a bundle the network itself answers."""
    settings = dataclasses.replace(study.settings, test_data=phantom_set, only=("other",), bundle=False)
    started = []

    def here(title, cell, job, share, stop):
        started.append(title)
        cell_process.work(job)

    monkeypatch.setattr(runner, "_train", here)
    folder = runner.run(study.plan, settings)
    assert started == ["other, seed 0"]
    assert folder.name == f"toys-small-on-{phantom_set.name}"
    document = built(folder, draws=50)
    done = {row["name"]: row["state"] for row in document["rows"]}
    assert done["other"] == "done"
    assert document["n"] == sum(knee.split == "val" for knee in data.load(phantom_set))
    assert document["judged_on"] != document["data"]
    assert "by the networks themselves" in (folder / "table.md").read_text()


def test_out_of_time_keeps_the_epochs_there_are(study, tmp_path):
    job = next(job for name, _, job in jobs(study.plan, study.settings) if name == "interrupted")
    late = dataclasses.replace(job, folder=str(tmp_path / "late"), deadline=time.time() - 1, bundle=False)
    with pytest.raises(BadRecipe, match="before the end of the first epoch"):
        cell_process.work(late)
    run = tmp_path / "stopped" / "run"
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text('{"epoch": 1, "loss": 1.0, "seconds": 2.0, "score": 0.5, "best": true}\n')
    cell_process.stop_early(run)
    assert read_log(run)[-1].stopped == "out of time"


def test_what_cannot_be_is_said_before_anything_is_trained(study, phantom_set):
    run = runner.run
    with pytest.raises(BadDataset, match="no knees in split 'test'"):
        run(study.plan, dataclasses.replace(study.settings, split="test"))
    with pytest.raises(BadRecipe, match="did you mean 'broken'"):
        run(study.plan, dataclasses.replace(study.settings, only=("brokn",)))
    with pytest.raises(BadRecipe, match="needs a held-out fold"):
        run(study.plan, dataclasses.replace(study.settings, fold=-1))
    with pytest.raises(BadDataset, match="no knees in"):
        run(study.plan, dataclasses.replace(study.settings, data=phantom_set, fold=7))
    held = dataclasses.replace(study.plan, split="held_out")
    with pytest.raises(BadRecipe, match="leave --test-data out"):
        run(held, dataclasses.replace(study.settings, test_data=phantom_set))


def test_every_knee_is_answered_by_the_network_that_left_it_out(study, monkeypatch):
    row = {"name": "crossed", "recipe": study.plan.row("other").recipe, "folds": [0, 1]}
    values = {"name": "folds", "title": "T", "source": "nobody", "figures": ["KL.accuracy"]}
    rows = [row | {"set": ["optimise.phases.0.epochs=1"]}]
    chosen = plan.from_dict({**values, "rows": rows, "split": "held_out"}, size="small")
    started = []

    def here(title, cell, job, share, stop):
        started.append(title)
        cell_process.work(job)

    monkeypatch.setattr(runner, "_train", here)
    settings = dataclasses.replace(study.settings, bundle=False)
    folder = runner.run(chosen, settings)
    assert started == ["crossed, seed 0, fold 1"], "of fold 0 it is the cell of `other`"
    train = data.load(settings.data).select(split="train")
    [found] = built(folder, draws=50)["rows"]
    assert (found["state"], found["folds"]) == ("done", [0, 1])
    assert found["n"] == sum(knee.fold in (0, 1) for knee in train)
    absent = dataclasses.replace(chosen, rows=(dataclasses.replace(chosen.rows[0], folds=(0, 9)),))
    with pytest.raises(BadDataset, match="no knees in"):
        runner.run(absent, settings)
