"""Hostile recipe files: each is refused by name, none takes long and none ends in another exception."""

import math
import time

import pytest

from kellgren.errors import BadRecipe

pytestmark = pytest.mark.train
yaml = pytest.importorskip("yaml")

from kellgren.study import plan  # noqa: E402 - after the check that yaml is there
from kellgren.train import documents, kinds  # noqa: E402

SECONDS = 10.0

BASE = documents.document("joint", size="small")


def with_value(value, *place):
    """The text of the default recipe with one value replaced."""
    changed = documents.plain(yaml.safe_dump({**BASE, "sizes": {"full": {}}}))
    del changed["size"]
    target = changed
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return yaml.safe_dump(changed)


PHASE = ("optimise", "phases", 0)

VALUES = {
    "epochs 1e9": (10**9, *PHASE, "epochs"),
    "epochs of 300 digits": (10**300, *PHASE, "epochs"),
    "epochs below 0": (-1, *PHASE, "epochs"),
    "lr nan": (math.nan, *PHASE, "lr"),
    "lr inf": (math.inf, *PHASE, "lr"),
    "lr huge": (1e300, *PHASE, "lr"),
    "warmup below 0": (-1.0, *PHASE, "warmup"),
    "batch 1e12": (10**12, "optimise", "batch"),
    "phases a mapping": ({"epochs": 1}, "optimise", "phases"),
    "10,000 phases": ([{"epochs": 1, "lr": 1e-3}] * 1500, "optimise", "phases"),
    "optimise a list": ([1], "optimise"),
    "tasks a list": (["KL"], "tasks"),
    "views null": (None, "views"),
    "views a list": ([], "views"),
    "weight -1": (-1.0, "tasks", "KL"),
    "weight true": (True, "tasks", "KL"),
    "step a word": (["resize"], "views", "joint", "prepare"),
    "step unnamed": ([{"height": 3}], "views", "joint", "prepare"),
    "step a list": ([{"step": ["resize"]}], "views", "joint", "prepare"),
    "step a mapping": ([{"step": {"resize": 1}}], "views", "joint", "prepare"),
    "options of another network": ({"fusion": "gate"}, "network", "options"),
    "options a list": ([1, 2], "network", "options"),
    "dropout 2": (2.0, "network", "dropout"),
    "kind a list": (["wang"], "network", "kind"),
    "recipe kind a mapping": ({"a": 1}, "kind"),
    "gamma 0": (0.0, "augment", "gamma"),
    "rotate 1e6": (1e6, "augment", "rotate"),
    "name a date": ({"a": None}, "name"),
    "name of a number": (3, "name"),
    "size given": ("full", "size_"),
    "tta of numbers": ([1], "tta"),
    "matrix of words": ({"KL": {"matrix": [["a"]]}}, "loss"),
    "alpha nan": ({"KL": {"kind": "focal", "alpha": [math.nan]}}, "loss"),
    "class of no grade": ({"x": {"of": "KL", "classes": {9: 1}, "weight": 1.0}}, "auxiliary"),
}

ALIASES = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))])
MERGES = "\n".join(
    ["m0: &m0 {x: 1}"] + [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 8)}]}}" for i in range(1, 30)]
)

TEXTS = {
    "empty": "",
    "a word": "joint",
    "a list": "- 1\n- 2\n",
    "aliases that double": ALIASES,
    "merges that multiply": MERGES,
    "wide merge": "a: &a {x: 1}\nb: {<<: [" + "*a, " * 10_000 + "]}",
    "an alias of itself": "a: &a [*a]",
    "a mapping in itself": "a: &a {b: *a}",
    "deep lists": "a: " + "[" * 20_000,
    "deep mappings": "a: " + "{a: " * 20_000,
    "deep block": "\n".join(" " * i + "a:" for i in range(300)),
    "tabs": "name: x\n\toptimise: 3\n",
    "an open bracket": "a: [",
    "an open quote": 'a: "',
    "an unknown alias": "a: *nowhere",
    "a Python object": "!!python/object:os.system {}",
    "a date": "a: !!timestamp 2020-01-01",
    "no date": "a: !!timestamp 2020-99-99",
    "bytes": "a: !!binary aGVsbG8=",
    "a set": "a: !!set {x, y}",
    "pairs": "a: !!omap [x: 1]",
    "a float of words": "a: !!float abc",
    "an integer of words": "a: !!int abc",
    "a number of 6,000 digits": "a: " + "9" * 6000,
    "keys of lists": "? [a]\n: 1\n",
    "keys of numbers": "1.5: 2\n",
    "a key twice": "name: a\nname: b\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "a null byte": "a: \x00",
    "a lone surrogate": 'name: "\\ud800"\nsizes: {full: {}}\n',
    "sizes a list": "name: a\nsizes: [full]\n",
    "size a list": "name: a\nsizes: {full: [1]}\n",
    "no sizes": "name: a\n",
    "half a megabyte": "a: " + "x" * 500_000,
    "30,000 keys": "{" + ",".join(f"a{i}" for i in range(10_000)) + "}",
}


def refused(path):
    started = time.monotonic()
    with pytest.raises(BadRecipe) as caught:
        kinds.from_dict(documents.document(str(path)))
    assert time.monotonic() - started < SECONDS
    assert len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_an_impossible_value(tmp_path, value):
    path = tmp_path / "hostile.yaml"
    path.write_text(with_value(*value), encoding="utf-8")
    refused(path)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_hostile_text(tmp_path, text):
    path = tmp_path / "hostile.yaml"
    path.write_text(text, encoding="utf-8")
    refused(path)
    with pytest.raises(BadRecipe):
        plan.load(str(path))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "hostile.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    assert "not UTF-8" in refused(path)
    path.unlink()
    path.mkdir()
    assert "not a file" in refused(path)


@pytest.mark.parametrize("text", ["9" * 6000, "[" * 9000, "&a [*a]", ".nan", "!!binary aGVsbG8=", "\t"])
def test_a_hostile_assignment(text):
    with pytest.raises(BadRecipe, match=r"optimise\.batch"):
        kinds.from_dict(documents.override(BASE, [f"optimise.batch={text}"]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1e3),
        ("-2.5e+1", -25.0),
        (".5", 0.5),
        ("12", 12),
        ("on", "on"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("~", None),
        ('"1e-4"', "1e-4"),
        ("{1: [1e-1]}", {"1": [0.1]}),
    ],
)
def test_what_yaml_means(text, value):
    """Numbers as people write them, words as they stand."""
    read = documents.plain(text)
    assert read == value
    assert type(read) is type(value)


def test_a_foreach_that_multiplies(tmp_path):
    row = "{name: '{a}{b}{c}{d}', recipe: joint, foreach: {a: L, b: L, c: L, d: L}}"
    path = tmp_path / "plan.yaml"
    numbers = "[" + ", ".join(map(str, range(99))) + "]"
    path.write_text(f"title: x\nsource: x\nrows: [{row.replace('L', numbers)}]\n")
    with pytest.raises(BadRecipe, match="too many"):
        plan.load(str(path))
