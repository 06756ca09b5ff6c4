"""The published schemas are sound, take what they should, and refuse what they should."""

import copy
import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from kellgren.evaluate.task_metrics import assemble_metrics
from kellgren.report.schema import NAMES, load_example, load_schema, typed_row
from kellgren.vocabulary import READINGS, TASKS

REGISTRY = Registry().with_resources(
    [(load_schema(n)["$id"], Resource.from_contents(load_schema(n))) for n in NAMES]
)


def validator(name):
    return Draft202012Validator(load_schema(name), registry=REGISTRY)


def accepts(name, document):
    return validator(name).is_valid(document)


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_and_names_itself(name):
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:kellgren:schema:{name}"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", NAMES)
def test_example_is_accepted_and_further_names_may_be_added(name):
    example = load_example(name)
    validator(name).validate(example)
    assert accepts(name, {**example, "added_later": {"x": 1}})


@pytest.mark.parametrize("name", NAMES)
def test_every_required_name_is_missed(name):
    example = load_example(name)
    for required in load_schema(name)["required"]:
        assert not accepts(name, {k: v for k, v in example.items() if k != required}), required


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("grades", ("status",), "unsure"),
        ("grades", ("knee",), 0),
        ("grades", ("KL",), 5),
        ("grades", ("KL",), 1.5),
        ("grades", ("FL",), 4),
        ("grades", ("KL_p0",), 1.1),
        ("grades", ("FL_p3",), -0.1),
        ("grades", ("side_source",), None),
        ("grades", ("side",), "left"),
        ("grades", ("reason",), None),
        ("grades", ("reason",), ""),
        ("grades", ("spacing_source",), "guessed"),
        ("grades", ("model",), "no-version"),
        ("predictions", ("KL_true",), 7),
        ("predictions", ("KL",), 7),
        ("labels", ("KL",), -1),
        ("labels", ("CH_M",), 2),
        ("folds", ("fold",), -1),
        ("metrics", ("data_sha256",), "short"),
        ("metrics", ("KL", "qwk"), 0.5),
        ("metrics", ("KL", "qwk", "value"), 1.5),
        ("metrics", ("OA", "confusion", 0, 0), 0.5),
        ("run", ("exit_code",), 3),
        ("run", ("files", 0, "reason"), None),
        ("run", ("timings", "read"), 1.0),
        ("card", ("decision", "KL"), "mode"),
        ("card", ("tasks", "KNEE"), 3),
        ("card", ("inputs", 0, "channels"), 2),
        ("card", ("sha256",), {}),
        ("card", ("calibration", "temperature", "KL"), 0),
        ("card", ("validation",), {"n": 1}),
        ("audit", ("findings", 0, "kind"), "odd"),
        ("audit", ("findings", 0, "KL1"), "5"),
        ("cost", ("parameters",), 0),
        ("division", ("splits", "val", "KL"), [1, 2]),
        ("join", ("matched",), -1),
        ("log", ("epoch",), 0),
        ("study", ("size",), "large"),
        ("study", ("cells", "slow", 0, "fold"), -2),
        ("table", ("rows", 0, "figures", "KL.accuracy"), 0.7),
        ("table", ("rows", 0, "figures"), {"accuracy": None}),
        ("table", ("comparisons", 0, "differences", 0, "p"), "small"),
        ("verification", ("complete",), "no"),
    ],
)
def test_wrong_value_is_refused(name, path, value):
    document = copy.deepcopy(load_example(name))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not accepts(name, document)


def test_failed_row_has_no_grade():
    row = load_example("grades")
    kept = dict.fromkeys(row)
    failed = {**kept, "file": "a.png", "status": "failed", "reason": "empty file", "kellgren": "1.0"}
    validator("grades").validate(failed)
    for column, value in (("KL", 2), ("KL_p0", 0.5), ("FL", 1), ("JSN_M_p1", 0.2), ("OA_p", 0.5)):
        assert not accepts("grades", {**failed, column: value}), column


def test_graded_row_has_no_reason():
    row = load_example("grades")
    assert not accepts("grades", {**row, "status": "graded"})
    assert accepts("grades", {**row, "status": "graded", "reason": None})


def test_ensemble_card_needs_members_and_vote_instead_of_inputs():
    card = {k: v for k, v in load_example("card").items() if k != "inputs"}
    assert not accepts("card", card)
    members = [{"bundle": "a", "weight": 1.0}]
    assert not accepts("card", {**card, "sha256": {}, "members": members})
    assert accepts("card", {**card, "sha256": {}, "members": members, "vote": "mixed"})


def test_kl_needs_its_threshold_aucs_and_other_tasks_do_not():
    metrics = load_example("metrics")
    assert "auc_ge2" not in metrics["OA"]
    del metrics["KL"]["auc_ge3"]
    assert not accepts("metrics", metrics)


@pytest.mark.parametrize("task", READINGS)
def test_every_reading_of_the_vocabulary_is_described(task):
    classes = TASKS[task].classes
    for name, column in (("labels", task), ("grades", task), ("predictions", f"{task}_true")):
        example = {**load_example(name), "status": "refer"} if name != "labels" else load_example(name)
        assert accepts(name, {**example, column: classes - 1}), (name, column)
        assert not accepts(name, {**example, column: classes}), (name, column)
    assert accepts("card", {**load_example("card"), "tasks": {task: classes}})
    assert not accepts("metrics", {**load_example("metrics"), task: 1.0})


def test_typed_row_undoes_csv():
    row = load_example("predictions")
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row))
    writer.writeheader()
    writer.writerow(row)
    (cells,) = csv.DictReader(io.StringIO(text.getvalue()))
    typed = typed_row("predictions", cells)
    assert typed == row
    assert {k: type(v) for k, v in typed.items()} == {k: type(v) for k, v in row.items()}


def test_typed_row_keeps_text_that_looks_like_something_else():
    assert typed_row("labels", {"name": "9000099R", "patient": "0900", "KL": "3", "note": "true"}) == {
        "name": "9000099R",
        "patient": "0900",
        "KL": 3,
        "note": "true",
    }


def test_typed_row_refuses_a_word_for_a_number():
    with pytest.raises(ValueError, match="three"):
        typed_row("labels", {"name": "a", "KL": "three"})


@pytest.mark.parametrize("load", [load_schema, load_example])
def test_unknown_name(load):
    with pytest.raises(ValueError, match=re.escape("no schema '../card'")):
        load("../card")


def test_assembled_metrics_fit_the_schema_even_with_a_grade_absent():
    rng = np.random.default_rng(1)
    truth = {task: rng.integers(0, TASKS[task].classes, 40) for task in ("KL", "OA", "FL", "JSN_M")}
    truth["KL"][truth["KL"] == 3] = 2
    truth["FL"][::2] = -1
    probabilities = {t: rng.dirichlet(np.ones(TASKS[t].classes), 40) for t in truth}
    result = assemble_metrics(
        probabilities,
        {t: p.argmax(axis=1) for t, p in probabilities.items()},
        truth,
        np.repeat(np.arange(20).astype(str), 2),
        split="val",
        test_looks=0,
        data_sha256="0" * 64,
        model="m@1",
        draws=50,
    )
    # Strict JSON: nan would not be standard.
    validator("metrics").validate(json.loads(json.dumps(result, allow_nan=False)))
    assert result["KL"]["auc"][3] == {"value": None, "low": None, "high": None}
    assert result["FL"]["n"] == 20


@pytest.mark.real
@pytest.mark.skipif("KELLGREN_DATA" not in os.environ, reason="KELLGREN_DATA names no data folder")
@pytest.mark.parametrize("name", ["labels", "folds"])
def test_real_tables_fit_their_schemas(name):
    table = Path(os.environ["KELLGREN_DATA"]) / "kneekl299" / f"{name}.csv"
    check = validator(name)
    with table.open(newline="", encoding="utf-8") as file:
        rows = [typed_row(name, cells) for cells in list(csv.DictReader(file))[::40]]
    assert len(rows) > 100
    for row in rows:
        check.validate(row)
