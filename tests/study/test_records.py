"""Typed records against the published schemas: the same keys and examples, plain words for damage."""

import dataclasses
import json

import pytest

pytestmark = pytest.mark.train
pytest.importorskip("yaml")

from kellgren.errors import BadDataset  # noqa: E402 - after the check that yaml is there
from kellgren.report.schema import load_example, load_schema  # noqa: E402
from kellgren.study import records  # noqa: E402
from kellgren.train import folder  # noqa: E402

DOCUMENTS = {"study": records.Study, "table": records.Table, "cost": records.Cost}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_has_the_keys_of_its_type(name):
    schema = load_schema(name)
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(DOCUMENTS[name])}
    for key, part in (("rows", records.TableRow), ("comparisons", records.Comparison)):
        if name == "table":
            listed = schema["properties"][key]["items"]["properties"]
            assert set(listed) == {field.name for field in dataclasses.fields(part)}
    if name == "study":
        cell = schema["properties"]["cells"]["additionalProperties"]["items"]["properties"]
        assert set(cell) == {field.name for field in dataclasses.fields(records.Training)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_example_is_read_and_written_again(name, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(load_example(name)))
    record = records.read(DOCUMENTS[name], path)
    records.write(path, record)
    assert records.read(DOCUMENTS[name], path) == record


def test_a_line_of_the_log_is_an_epoch():
    example = load_example("log")
    entry = folder.Entry.model_validate_json(json.dumps(example))
    assert (entry.epoch, entry.seconds) == (example["epoch"], example["seconds"])
    assert entry.held_out["KL_accuracy"] == example["held_out_KL_accuracy"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ('{"reason": 3}', "reason: "),
        ('{"reason": "x", "cause": 1}', "cause: "),
        ("[" * 100_000, "JSON"),
    ],
)
def test_a_damaged_record_names_file_and_key(text, words, tmp_path):
    path = tmp_path / "failed.json"
    path.write_text(text)
    with pytest.raises(BadDataset, match=words) as caught:
        records.read(records.Failure, path)
    assert caught.value.path == path


def test_what_is_not_defined_is_null():
    interval = records.Interval(*map(records.number, (0.5, float("nan"), float("inf"))))
    assert json.loads(records.dump(interval)) == {"value": 0.5, "low": None, "high": None}
