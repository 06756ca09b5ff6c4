"""Plans, votes and tables of `kellgren study`: what needs no training."""

import csv
import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from kellgren.errors import BadDataset, BadRecipe
from kellgren.evaluate import metrics
from kellgren.evaluate.reweighted import reweighted
from kellgren.evaluate.statistics import mcnemar
from kellgren.model import bundle
from kellgren.study import (
    cells,
    figures,
    gradient_share,
    plan,
    predictions,
    records,
    released,
    rows,
    table,
    voting,
)
from kellgren.study.plan import Row
from kellgren.study.records import STUDY
from kellgren.train import documents
from kellgren.train.graders import recipe as recipes
from kellgren.writing import write_json
from paired_comparison import compare
from study_samples import one_hot, small, study_folder, write_predictions

PAPERS = {
    "wang-systems": {("wang", "KL.accuracy"): 0.7632, ("chen", "KL.accuracy_pm1"): 0.9730},
    "dual-stream-ablation": {("clahe", "KL.accuracy"): 0.6184, ("attention", "KL.recall.4"): 0.7843},
    "dual-stream-systems": {("densenet121", "KL.accuracy"): 0.71, ("dual-stream", "KL.f1_macro"): 0.67},
    "oa-men-systems": {("oa-men", "KL.accuracy_ovr.1"): 0.7587, ("resnet", "KL.auc_macro"): 0.8323},
    "pi-sizes": {("pi-efficientnetv2-s at 384", "KL.accuracy"): 0.7378},
    "pi-vote": {("searched", "KL.accuracy"): 0.7693},
}
"""Some of the figures that the papers print, typed here a second time."""


# Plans


@pytest.mark.parametrize("name", plan.available())
def test_packaged_plan(name):
    for size in ("matched",) if name.endswith("-matched") else ("full", "small"):
        chosen = plan.load(name, size=size)
        for row in chosen.rows:
            if row.recipe:
                recipes.from_dict(plan.document(row, size=size))
        assert chosen.name == name
        assert {row.recipe for row in chosen.rows if row.recipe} <= set(documents.available())
    full = plan.load(name)
    printed = {(entry.row, entry.figure): entry.value for entry in full.printed}
    assert len(printed) == len(full.printed), "a figure is duplicated"
    assert PAPERS.get(name, {}).items() <= printed.items()
    assert all(0 < value < 1 for value in printed.values())
    assert not full.printed or full.differs


@pytest.mark.parametrize("name", ["dual-stream-clip", "losses", "pi-sizes", "dual-stream-gradient-share"])
def test_changes_of_a_packaged_plan_reach_the_recipe(name):
    seen = set()
    for row in plan.load(name, size="small").rows[:4]:
        recipe = recipes.from_dict(plan.document(row, size="small"))
        seen.add(json.dumps(recipe.to_dict(), sort_keys=True))
    assert len(seen) == len(plan.load(name, size="small").rows[:4])


def test_the_plan_of_all_systems_has_every_grader():
    graders = {name for name in documents.available() if "kind" not in documents.document(name)}
    assert {row.recipe for row in plan.load("systems").rows if row.recipe} == graders


@pytest.mark.parametrize("page", ["reference/studies.md", "how-to/compare-systems.md"])
def test_plans_of_the_documentation(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.S)
    chosen = plan.from_dict({"name": "example", **yaml.safe_load(example)}, size="full")
    for row in chosen.rows:
        if row.recipe:
            recipes.from_dict(plan.document(row, size="small"))


def test_the_documentation_names_every_plan_and_key():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "studies.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w-]+)`", text))
    keys = {field.name for cls in (plan.Plan, Row, plan.Vote, plan.Printed) for field in fields(cls)}
    assert {*plan.available(), *keys, "foreach"} <= named


def test_a_bundle_is_judged_as_it_is():
    row = {"name": "old", "bundle": "joint"}
    assert plan.from_dict(small(rows=[row]), size="small").row("old").bundle == "joint"
    with pytest.raises(BadRecipe, match="judged as it is"):
        plan.from_dict(small(rows=[{**row, "seeds": [1, 2]}]), size="small")
    with pytest.raises(BadRecipe, match="one of the three"):
        plan.from_dict(small(rows=[{**row, "recipe": "joint"}]), size="small")


def test_a_bundle_of_the_whole_split_left_out_no_fold(tmp_path):
    learned = records.Learned("0" * 64, held_out_fold=None, initial_weights=None, seeds=(3,), epochs=2)
    brief = released.Released("r", bundle.load("joint"), (learned,), tmp_path / "joint").training()
    assert (brief.seed, brief.fold, brief.epochs, brief.init) == (3, -1, 2, None)


def test_foreach_writes_rows_out():
    row = {
        "name": "{network} at {pixels}",
        "foreach": {"network": ["a", "b"], "pixels": {"full": [448, 512], "small": [96]}},
        "recipe": "joint",
        "set": ["views.joint.prepare.1.height={pixels}"],
        "group": "{network}",
    }
    full = plan.from_dict(small(rows=[row]), size="full")
    assert [r.name for r in full.rows] == ["a at 448", "a at 512", "b at 448", "b at 512"]
    [one, two] = plan.from_dict(small(rows=[row]), size="small").rows
    assert (one.name, one.set, two.group) == ("a at 96", ("views.joint.prepare.1.height=96",), "b")


def test_printed_figures_of_the_other_size_are_left_out():
    row = {"name": "at {p}", "foreach": {"p": {"full": [448], "small": [96]}}, "recipe": "joint"}
    printed = [{"row": "at 448", "figure": "KL.accuracy", "value": 0.7, "where": "Table 1"}]
    assert len(plan.from_dict(small(rows=[row], printed=printed), size="full").printed) == 1
    assert plan.from_dict(small(rows=[row], printed=printed), size="small").printed == ()


def test_everybody_is_compared_with_one():
    rows_ = [{"name": name, "recipe": "joint"} for name in "abc"]
    chosen = plan.from_dict(small(rows=rows_, compare=[["b", "*"]]), size="full")
    assert chosen.pairs() == (("b", "a"), ("b", "c"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tittle": "x"}, "did you mean 'title'"),
        ({"figures": ["KL.acuracy"]}, "did you mean 'accuracy'"),
        ({"figures": ["KLL.accuracy"]}, "did you mean 'KL'"),
        ({"figures": ["KL.recall.7"]}, "no grade '7'"),
        ({"figures": ["KL.recall"]}, "KL.recall.mean"),
        ({"figures": ["KL.accuracy.2"]}, "write KL.accuracy"),
        ({"compare": [["one", "tow"]]}, "did you mean 'two'"),
        ({"compare": [["one"]]}, "plan.compare"),
        ({"rows": [{"name": "a", "recipe": "joit"}]}, "did you mean 'joint'"),
        ({"rows": [{"name": "a", "recipe": "joint", "sets": []}]}, "did you mean 'set'"),
        ({"rows": [{"name": "a", "recipe": "joint"}] * 2}, "two are called 'a'"),
        ({"rows": [{"name": "a"}]}, "one of the three"),
        ({"rows": [{"name": "a", "recipe": "joint", "set": {"ful": []}}]}, "did you mean 'full'"),
        ({"rows": []}, r"plan.rows is \[\]"),
        ({"printed": [{"row": "on", "figure": "KL.qwk", "value": 1.0, "where": ""}]}, "did you mean 'one'"),
        ({"split": "test"}, "'val' or 'held_out'"),
        ({"rows": [{"name": "a", "recipe": "joint", "folds": [-1]}]}, "counted from 0"),
        ({"rows": [{"name": "a", "recipe": "joint", "folds": [1, 1]}]}, "each once"),
        (
            {"rows": [*small()["rows"], {"name": "c", "recipe": "joint", "start": "oen"}]},
            "did you mean 'one'",
        ),
        (
            {"rows": [{"name": "c", "recipe": "joint", "start": "one"}, *small()["rows"]]},
            "comes after it",
        ),
        (
            {"rows": [*small()["rows"], {"name": "c", "bundle": "joint", "start": "one"}]},
            "judged as it is",
        ),
        (
            {"rows": [*small()["rows"], {"name": "c", "vote": {"of": ["one"]}, "start": "one"}]},
            "trains nothing",
        ),
        (
            {
                "rows": [
                    {"name": "b", "bundle": "joint"},
                    {"name": "c", "recipe": "joint", "start": "b"},
                ]
            },
            "does not train",
        ),
        (
            {
                "rows": [
                    *small()["rows"],
                    {"name": "c", "recipe": "joint", "start": "one", "init": "random"},
                ]
            },
            "one of the two",
        ),
        (
            {
                "rows": [
                    {"name": "a", "recipe": "joint", "folds": [0, 1]},
                    {"name": "v", "vote": {"of": ["a"]}},
                ]
            },
            "trainings: all",
        ),
        (
            {
                "rows": [
                    *small()["rows"],
                    {"name": "v", "vote": {"of": ["one"], "decision": {"KLL": "median"}}},
                ]
            },
            "did you mean 'KL'",
        ),
        (
            {"rows": [*small()["rows"], {"name": "v", "vote": {"of": ["one"], "decision": {"KL": "mean"}}}]},
            "'argmax' or 'median'",
        ),
        (
            {
                "rows": [
                    *small()["rows"],
                    {"name": "v", "vote": {"of": ["one"], "rule": "hard", "decision": {"KL": "median"}}},
                ]
            },
            "count ballots",
        ),
    ],
)
def test_a_wrong_plan_names_the_nearest(changes, words):
    with pytest.raises(BadRecipe, match=words):
        plan.from_dict(small(**changes), size="full")


def test_a_vote_needs_rows_before_it():
    member = {"name": "a", "recipe": "joint"}
    vote = {"name": "v", "vote": {"of": ["a"]}}
    with pytest.raises(BadRecipe, match="comes after"):
        plan.from_dict(small(rows=[vote, member]), size="full")
    with pytest.raises(BadRecipe, match="a vote itself"):
        plan.from_dict(small(rows=[member, vote, {"name": "w", "vote": {"of": ["v"]}}]), size="full")


def test_unknown_plan_and_size():
    with pytest.raises(BadRecipe, match="did you mean 'losses'"):
        plan.load("lossses")
    with pytest.raises(BadRecipe, match="did you mean 'small'"):
        plan.load("losses", size="smal")


def test_without_takes_parts_away():
    row = Row("a", recipe="joint", without=("tasks.OA", "augment"))
    values = plan.document(row, size="small")
    assert "OA" not in values["tasks"]
    assert "augment" not in values
    with pytest.raises(BadRecipe, match="did you mean 'KL'"):
        plan.document(Row("a", recipe="joint", without=("tasks.KLL",)), size="small")


@pytest.mark.parametrize(
    ("epochs", "shares"), [(1, [1, 1, 1]), (3, [1, 1, 1]), (4, [1, 1, 2]), (10, [1, 1, 8]), (40, [4, 2, 34])]
)
def test_fewer_epochs_keep_every_phase(epochs, shares):
    values = plan.document(Row("w", recipe="wang"), size="full", epochs=epochs)
    assert [phase["epochs"] for phase in values["optimise"]["phases"]] == shares


# Cells


@pytest.fixture
def cell(phantom_set, tmp_path):
    from kellgren.data import load

    dataset = load(phantom_set)

    def make(recipe="joint", set_=(), seed=0, fold=0, init=None):
        values = plan.document(Row("a", recipe=recipe, set=tuple(set_)), size="small")
        return cells.make(values, dataset, tmp_path, seed=seed, fold=fold, init=init)

    return make


def test_what_decides_a_cell(cell, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "tf_efficientnet_lite2.safetensors").write_bytes(b"one")
    same = cell()
    assert same.key == cell().key
    changed = [cell(seed=1), cell(fold=1), cell(set_=["optimise.batch=8"]), cell(init=str(weights))]
    assert len({same.key, *(one.key for one in changed)}) == 5
    assert cell(set_=["title=another name"]).key == same.key, "a title decides nothing"


def test_initial_weights_are_known_by_their_content(cell, tmp_path):
    keys = set()
    for content in (b"one", b"two"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        (folder / "tf_efficientnet_lite2.safetensors").write_bytes(content)
        keys.add(cell(init=str(folder)).key)
    assert len(keys) == 2


def test_a_calibration_that_is_not_the_first_decides_a_cell(cell):
    """Cells from before there was a choice keep their names."""
    plain, best = (cell(set_=[f"calibration={method}"]) for method in ("temperature", "best"))
    assert plain.key != best.key
    assert "calibration" not in plain.identity.recipe
    assert best.identity.recipe["calibration"] == "best"


def test_rows_without_weights_for_them_start_at_random(cell, tmp_path):
    (tmp_path / "mobilenetv2_100.safetensors").write_bytes(b"")
    assert cell(init=str(tmp_path)).init is None
    assert cell("antony", init=str(tmp_path)).init is None
    assert cell("oa-men-mobilenet", init=str(tmp_path)).init == str(tmp_path)
    assert cell("pi-densenet161", init="hub").init is None, "a narrowed backbone fits no weights"
    with pytest.raises(BadRecipe, match="no initial weights"):
        cell(init=str(tmp_path / "nowhere"))


def test_rows_of_a_study_do_not_go_on_from_a_run(cell, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"")
    with pytest.raises(BadRecipe, match=r"rows start alike.*kellgren train --init"):
        cell(init=str(tmp_path))


def test_both_backbones_of_oa_men_are_asked_for():
    values = plan.document(Row("a", recipe="oa-men"), size="full")
    assert cells.backbones(recipes.from_dict(values)) == ("resnet50", "mobilenetv1_100")


# Votes


def test_hard_ties_fall_to_the_smallest_grade():
    voices = [one_hot(3), one_hot(1, sure=0.4), one_hot(4)]
    assert voting.decide(voices, "hard")[1].tolist() == [1]


def test_mixed_ties_are_broken_by_the_mean_probability():
    two_against_two = [one_hot(1, sure=0.4), one_hot(1, sure=0.4), one_hot(3, sure=0.9), one_hot(3, sure=0.5)]
    assert voting.decide(two_against_two, "hard")[1].tolist() == [1]
    assert voting.decide(two_against_two, "mixed")[1].tolist() == [3]
    assert voting.decide(two_against_two, "soft")[1].tolist() == [3]


def test_a_majority_beats_a_larger_mean_when_votes_are_mixed():
    voices = [one_hot(0, sure=0.3), one_hot(0, sure=0.3), one_hot(2, sure=0.99)]
    assert voting.decide(voices, "mixed")[1].tolist() == [0]
    assert voting.decide(voices, "soft")[1].tolist() == [2]


@pytest.mark.parametrize("rule", voting.RULES)
@pytest.mark.parametrize("members", [2, 3, 7])
def test_joined_probabilities_agree_with_the_decision(rule, members):
    rng = np.random.default_rng(members)
    voices = [rng.dirichlet(np.ones(5), size=300) for _ in range(members)]
    joined, decided = voting.decide(voices, rule)
    np.testing.assert_allclose(joined.sum(axis=1), 1)
    assert (joined.argmax(axis=1) == decided).mean() > 0.99
    # counted one knee at a time, in integers
    for i in range(300):
        ballots = [int(voice[i].argmax()) for voice in voices]
        counts = [ballots.count(k) for k in range(5)]
        soft = np.mean([voice[i] for voice in voices], axis=0)
        leaders = [k for k in range(5) if counts[k] == max(counts)]
        expected = {
            "soft": int(soft.argmax()),
            "hard": leaders[0],
            "mixed": max(leaders, key=lambda k: soft[k]),
        }
        assert decided[i] == expected[rule]


def answers(probabilities, truth, *, split="train", names=None, patients=None, source="made"):
    n = len(truth)
    p = np.asarray(probabilities, float)
    return predictions.Predictions(
        Path(source),
        tuple(names or (f"k{i:03}" for i in range(n))),
        np.array(patients if patients is not None else [f"p{i // 2}" for i in range(n)]),
        (split,),
        {"KL": p},
        {"KL": p.argmax(axis=1)},
        {"KL": np.asarray(truth)},
    )


def test_search_finds_the_members_that_are_right_together():
    truth = [0, 1, 2, 3, 4, 0]
    good = answers(one_hot(0, 1, 2, 3, 0, 0), truth)
    better = answers(one_hot(0, 1, 2, 0, 4, 0, sure=0.5), truth)
    wrong = answers(one_hot(4, 4, 4, 0, 0, 4, sure=0.9), truth)
    ranked = voting.search([wrong, good, better])
    assert len(ranked) == 4 * 3
    assert ranked[0].members == (1, 2)
    assert ranked[0].score >= ranked[-1].score
    confusion = metrics.confusion_matrix(
        np.array(truth), voting.join([good, better], ranked[0].rule).decided["KL"], 5
    )
    assert ranked[0].accuracy == pytest.approx(float(metrics.accuracy(confusion)))


@pytest.mark.parametrize("split", ["val", "test", "auto_test"])
def test_members_are_chosen_on_the_held_out_fold_alone(split):
    voters = [answers(one_hot(0, 1), [0, 1], split=split)] * 2
    with pytest.raises(BadDataset, match=f"not chosen on the split '{split}'"):
        voting.search(voters)


def test_voters_need_the_same_readings_and_some_knee():
    one = answers(one_hot(0, 1), [0, 1])
    with pytest.raises(BadDataset, match="other KL readings"):
        voting.join([one, answers(one_hot(0, 1), [0, 2])], "soft")
    with pytest.raises(BadDataset, match="no knee"):
        voting.join([one, answers(one_hot(0, 1), [0, 1], names=["x", "y"])], "soft")


# Saved predictions


def test_reading_saved_predictions(tmp_path):
    path = write_predictions(tmp_path / "predictions.csv", one_hot(0, 3, 2, 1), [0, 2, None, 1], failed=(3,))
    found = predictions.read(tmp_path)
    assert found.source == path
    assert found.names == ("k000", "k001", "k002")
    assert found.truth["KL"].tolist() == [0, 2, -1]
    assert found.decided["KL"].tolist() == [0, 3, 2]
    assert found.decided["OA"].tolist() == [0, 1, 1]
    assert found.tasks == ("KL", "OA"), "FL was never read"
    assert len(found.sample("KL").truth) == 2
    with pytest.raises(BadDataset, match="JSN_M was not graded"):
        found.sample("JSN_M")


def test_a_table_that_is_none(tmp_path):
    (tmp_path / "predictions.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadDataset, match="no predictions there"):
        predictions.read(tmp_path)
    with pytest.raises(BadDataset, match="cannot read"):
        predictions.read(tmp_path / "nowhere.csv")


# Rows and tables


def found(name, *each):
    one = rows.Found(Row(name), rows.DONE, tuple(range(len(each))), list(each))
    rows.judge(one, WANTED, draws=500)
    return one


WANTED = [figures.parse(name) for name in ("KL.accuracy", "KL.qwk", "KL.mae", "KL.auc_macro", "KL.recall.2")]


def test_values_are_those_of_the_confusion_matrix():
    truth = [0, 0, 1, 1, 2, 2, 3, 4]
    one = found("a", answers(one_hot(0, 1, 1, 1, 2, 0, 3, 4), truth))
    values = {figure.name: value for figure, [value] in one.values.items()}
    assert values["accuracy"] == pytest.approx(6 / 8)
    assert values["mae"] == pytest.approx((1 + 2) / 8)
    assert values["recall"] == pytest.approx(1 / 2)
    # kappa by hand: observed squared distances 1 + 4; expected over all pairs of readings and answers
    decided = np.array([0, 1, 1, 1, 2, 0, 3, 4])
    expected = np.subtract.outer(np.array(truth), decided) ** 2
    assert values["qwk"] == pytest.approx(1 - (5 / 8) / expected.mean())


def test_a_figure_over_seeds_is_their_mean():
    truth = [0, 1, 2, 3, 4, 0, 1, 2]
    right, half = answers(one_hot(*truth), truth), answers(one_hot(0, 0, 0, 0, 4, 0, 1, 0), truth)
    one = found("a", right, half)
    accuracy = WANTED[0]
    assert one.values[accuracy] == [1.0, 0.5]
    alone = found("b", half)
    np.testing.assert_allclose(one.drawn[accuracy], (1.0 + alone.drawn[accuracy]) / 2)


def test_differences_are_those_of_the_paired_comparison():
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 5, 60)
    first, second = (answers(rng.dirichlet(np.ones(5), 60) + np.eye(5)[truth] * k, truth) for k in (0.3, 0.9))
    first, second = (
        answers(one.probabilities["KL"] / one.probabilities["KL"].sum(axis=1, keepdims=True), truth)
        for one in (first, second)
    )
    ours = rows.differences(found("a", first), found("b", second), WANTED, draws=500)
    theirs = compare(
        (first.probabilities["KL"], first.decided["KL"]),
        (second.probabilities["KL"], second.decided["KL"]),
        truth,
        first.patients,
        draws=500,
    )
    by_name = {entry.figure: entry for entry in ours}
    for name in ("accuracy", "qwk", "mae", "auc_macro"):
        expected = theirs[name]
        entry = by_name[f"KL.{name}"]
        for key in ("value", "low", "high", "p"):
            assert getattr(entry, key) == pytest.approx(getattr(expected, key)), (name, key)
    right = [model.decided["KL"] == truth for model in (first, second)]
    assert by_name["KL.accuracy"].mcnemar_p == mcnemar(*right).p


def test_differences_are_of_the_knees_that_both_graded():
    truth = [0, 1, 2, 3, 4, 0]
    whole = found("a", answers(one_hot(0, 1, 2, 3, 0, 4), truth))
    part = found("b", answers(one_hot(0, 1, 2, 3), truth[:4]))
    [entry] = rows.differences(whole, part, WANTED[:1], draws=100)
    assert (entry.first, entry.second) == (1.0, 1.0)


def built(folder, *, draws):
    """`table.json` as it is written."""
    table.build(folder, draws=draws)
    return json.loads((folder / "table.json").read_text())


def test_table_of_hand_computed_values(tmp_path):
    document = built(study_folder(tmp_path), draws=200)
    one, two, both = document["rows"]
    assert (one["state"], two["state"], both["state"]) == ("done",) * 3
    assert one["figures"]["KL.accuracy"]["value"] == pytest.approx(6 / 8)
    assert two["figures"]["KL.accuracy"]["value"] == pytest.approx(4 / 8)
    assert one["best_of_group"]
    assert not two["best_of_group"]
    # one-vs-rest: two of eight knees are wrong, each wrong for two of the five grades
    assert one["figures"]["KL.accuracy_ovr.mean"]["value"] == pytest.approx(1 - 2 * 2 / 8 / 5)
    assert both["cost"]["parameters"] == 4_000_000
    assert both["cost"]["train_minutes"] == pytest.approx(3.0)
    pairs = {(entry["first"], entry["second"]) for entry in document["comparisons"]}
    assert pairs == {("one", "two"), ("one", "both")}
    assert document["comparisons"][0]["differences"][0]["value"] == pytest.approx(-0.25)
    [printed] = document["printed"]
    assert (printed["printed"], printed["ours"]["value"]) == (0.7, 0.75)
    assert printed["differs"][:2] == ["metric", "data"]
    assert {"initial weights random", "5 epochs"} <= set(printed["differs"])


def test_table_files(tmp_path):
    folder = study_folder(tmp_path)
    document = built(folder, draws=100)
    assert json.loads((folder / "table.json").read_text()) == json.loads(json.dumps(document))
    with (folder / "table.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 3 * 2
    assert float(lines[0]["value"]) == 0.75
    text = (folder / "table.md").read_text()
    main, _, rest = text.partition("## One-vs-rest accuracy")
    assert "one-vs-rest" not in main, "never beside top-1"
    assert "0.7 | Table 1" in rest
    assert "- metric\n" in rest
    assert "| data; " in rest


def test_rows_not_run_are_shown_as_such(tmp_path):
    folder = study_folder(tmp_path, answered=("one",))
    document = built(folder, draws=100)
    one, two, both = document["rows"]
    assert (two["state"], two["figures"], two["cost"]) == ("not run", {}, None)
    assert both["state"] == "waits for two"
    assert [entry["second"] for entry in document["comparisons"]] == []
    assert not one["best_of_group"], "the group is not whole"
    assert "not run" in (folder / "table.md").read_text()


def test_several_seeds(tmp_path):
    document = built(study_folder(tmp_path, seeds=(0, 1)), draws=100)
    one = document["rows"][0]
    assert one["seeds"] == [0, 1]
    assert one["figures"]["KL.accuracy"]["seed_low"] == one["figures"]["KL.accuracy"]["seed_high"] == 0.75
    assert document["comparisons"][0]["differences"][0]["mcnemar_p"] is None


def test_several_folds_and_one_vote_of_all(tmp_path):
    folder = study_folder(tmp_path, folds=(0, 1, 2), vote={"trainings": "all"})
    document = built(folder, draws=100)
    one, _, both = document["rows"]
    assert (one["seeds"], one["folds"]) == ([0], [0, 1, 2])
    assert len(one["cost"]["epochs"]) == 3
    assert both["cost"]["parameters"] == 2 * 3 * 2_000_000, "six networks vote"
    assert both["figures"]["KL.accuracy"]["seed_low"] == both["figures"]["KL.accuracy"]["seed_high"]
    assert "0 (folds 0, 1, 2)" in (folder / "table.md").read_text()
    write_json(tmp_path / "cells" / "two01" / cells.FAILED, {"reason": "no memory"})
    (tmp_path / "cells" / "two01" / "evaluations" / "val" / "metrics.json").unlink()
    assert built(folder, draws=100)["rows"][1]["state"] == "seed 0 fold 1 failed: no memory"


def test_all_trainings_vote_once_and_not_by_seed(tmp_path):
    """Of three networks two say 0 with 0.4, one says 1 with 1: the mean says 1."""
    folder = study_folder(tmp_path, seeds=(0, 1, 2), vote={"of": ["one"], "trainings": "all"})
    truth = [1] * 8
    for seed, probabilities in enumerate([[0.6, 0.4, 0, 0, 0], [0.6, 0.4, 0, 0, 0], [0, 1.0, 0, 0, 0]]):
        path = tmp_path / "cells" / f"one{seed}0" / "evaluations" / "val" / "predictions.csv"
        write_predictions(path, np.tile(probabilities, (8, 1)), truth)
    one, _, all_of_one = built(folder, draws=100)["rows"]
    assert one["figures"]["KL.accuracy"]["value"] == pytest.approx(1 / 3)
    assert all_of_one["figures"]["KL.accuracy"]["value"] == 1.0


def test_held_out_folds_answer_for_their_own_knees(tmp_path):
    """Two folds of eight knees each: the row is judged on all sixteen, each by one network."""
    folder = study_folder(tmp_path, folds=(0, 1), vote={"trainings": "all"})
    study = json.loads((folder / STUDY).read_text())
    (folder / STUDY).write_text(json.dumps(study | {"held_out_evaluation": "val"}))
    for name in ("one", "two"):
        path = tmp_path / "cells" / f"{name}01" / "evaluations" / "val" / "predictions.csv"
        write_predictions(path, one_hot(0, 1), [0, 0], knees=["x", "y"])
    one = built(folder, draws=100)["rows"][0]
    assert one["n"] == 10
    assert one["figures"]["KL.accuracy"]["value"] == pytest.approx((6 + 1) / 10)
    (tmp_path / "cells" / "one01" / "evaluations" / "val" / "metrics.json").unlink()
    one = built(folder, draws=100)["rows"][0]
    assert one["figures"] == {}, "of a seed with a fold missing nothing is said"


def test_a_knee_is_in_one_fold():
    with pytest.raises(BadDataset, match="'a' is in two of the folds"):
        predictions.together([answers(one_hot(0), [0], names=["a"]), answers(one_hot(0), [0], names=["a"])])


def test_a_soft_vote_decides_as_it_is_told():
    voices = [np.array([[0.4, 0.2, 0.3, 0.1, 0.0]])]
    assert voting.decide(voices, "soft")[1].tolist() == [0]
    assert voting.decide(voices, "soft", "median")[1].tolist() == [1]
    one = answers(voices[0], [1])
    assert voting.join([one, one], "soft", {"KL": "median"}).decided["KL"].tolist() == [1]


def test_state_of_a_cell(tmp_path):
    def line(epoch):
        return json.dumps({"epoch": epoch, "loss": 1.0, "seconds": 1.0, "score": 0.0, "best": True}) + "\n"

    assert cells.status(tmp_path, "val", 5) == "not run"
    (tmp_path / "run").mkdir()
    assert cells.status(tmp_path, "val", 5) == "begun: 0 of 5 epochs"
    (tmp_path / "run" / "log.jsonl").write_text("".join(map(line, (1, 2))))
    assert cells.status(tmp_path, "val", 5) == "begun: 2 of 5 epochs"
    assert cells.status(tmp_path, "val", 2) == "trained, not graded yet"
    write_json(tmp_path / cells.FAILED, {"reason": "the loss is nan"})
    assert cells.status(tmp_path, "val", 5) == "failed: the loss is nan"


def test_no_study(tmp_path):
    with pytest.raises(BadDataset, match="no study there"):
        table.studies(tmp_path)


# Reweighting


def test_reweighting_by_hand():
    # KL 0: 6 knees, 2 read, one of them right. KL 2: 2 knees, both read and right.
    kl = np.array([0, 0, 0, 0, 0, 0, 2, 2])
    truth = np.array([0, 1, -1, -1, -1, -1, 2, 2])
    decided = np.array([0, 0, 3, 3, 3, 3, 2, 2])
    patients = np.array([f"p{i}" for i in range(8)])
    as_if = reweighted(decided, truth, kl, patients, 4, draws=200)
    # every read knee of KL 0 counts three times: 3 right and 3 wrong of 6, then 2 right
    assert as_if["accuracy"].value == pytest.approx(5 / 8)
    assert as_if["majority_accuracy"].value == pytest.approx(3 / 8)
    assert as_if["balanced_accuracy"].value == pytest.approx((1 + 0 + 1) / 3)
    read = truth >= 0
    plain = reweighted(decided, truth, np.where(read, kl, -1), patients, 4, draws=200)
    assert plain["accuracy"].value == pytest.approx(3 / 4)
    weighted = np.zeros((4, 4))
    for t, d, w in ((0, 0, 3), (1, 0, 3), (2, 2, 2)):
        weighted[t, d] += w
    assert as_if["qwk"].value == pytest.approx(float(metrics.qwk(weighted)))
    assert as_if["accuracy"].low <= as_if["accuracy"].value <= as_if["accuracy"].high


def test_reweighting_what_is_whole_changes_nothing():
    rng = np.random.default_rng(0)
    truth, decided, kl = (rng.integers(0, 4, 80) for _ in range(3))
    patients = np.array([f"p{i // 2}" for i in range(80)])
    found_ = reweighted(decided, truth, kl, patients, 4, draws=50)
    confusion = metrics.confusion_matrix(truth, decided, 4)
    assert found_["qwk"].value == pytest.approx(float(metrics.qwk(confusion)))
    with pytest.raises(ValueError, match="no knee was read"):
        reweighted(decided, np.full(80, -1), kl, patients, 4)


# Share of the gradient


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_gradient_is_the_slope_of_the_loss(gamma):
    rng = np.random.default_rng(1)
    alpha = np.array([0.133, 0.267, 0.133, 0.133, 0.333])
    logits, truth = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)

    def loss(z):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p = (p / p.sum(axis=1, keepdims=True))[np.arange(6), truth]
        return -alpha[truth] * (1 - p) ** gamma * np.log(p)

    step, length = 1e-6, np.zeros(6)
    for j in range(5):
        shift = np.zeros(5)
        shift[j] = step
        length += np.abs(loss(logits + shift) - loss(logits - shift)) / (2 * step)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        gradient_share.focal_gradient(probabilities, truth, alpha, gamma), length, rtol=1e-5
    )


def test_shares_at_the_start_are_count_times_alpha_as_printed_but_for_grade_4():
    counts = np.array([3857, 1770, 2578, 1286, 295])
    alpha = np.array(gradient_share.PRINTED["alpha"])
    uniform = np.full((10, 5), 0.2)
    truth = np.arange(10) % 5
    found_ = gradient_share.shares(counts, alpha, 2.0, uniform, truth)
    assert sum(found_["start"]) == pytest.approx(1)
    np.testing.assert_allclose(found_["trained"], found_["start"])
    np.testing.assert_allclose(found_["trained_cross_entropy"], found_["images"])
    np.testing.assert_allclose(found_["images"], gradient_share.PRINTED["images"], atol=5e-4)
    printed = np.array(gradient_share.PRINTED["share"])
    ratio = printed / found_["start"]
    np.testing.assert_allclose(ratio[:4] / ratio[0], 1, atol=0.03)
    assert ratio[4] / ratio[0] == pytest.approx(10, rel=0.05)
    assert printed.sum() == pytest.approx(0.94)
