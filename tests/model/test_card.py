"""Cards: unknown keys are kept, later major versions refused, and what is written is what was read."""

import json

import pytest
from pydantic import ValidationError

import stub_bundle
from kellgren.errors import BadBundle
from kellgren.model import bundle, card
from kellgren.model.card import Calibration, Card, Training
from kellgren.report.card import describe


def parsed(**changes):
    return card.parse(json.dumps(stub_bundle.card(**changes)).encode(), where="here")


def test_unknown_keys_are_kept_listed_and_written_back(tmp_path):
    document = stub_bundle.card(
        kellgren_version="0.99.1", future={"a": [1, 2]}, training={"data": "d", "moon": "full"}
    )
    document["inputs"][0]["colour"] = "grey"
    opened = bundle.load(stub_bundle.write_bundle(tmp_path, document))
    assert set(opened.card.unknown_keys) == {"future", "training.moon", "inputs.0.colour"}
    card.write(opened.card, tmp_path / "again.json")
    stored = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == stored
    assert "keys that this version does not know: " in describe(opened)
    assert "training.moon" in describe(opened)


def test_a_card_of_today_has_no_unknown_keys():
    for name in bundle.packaged():
        opened = bundle.load(name)
        assert opened.card.unknown_keys == ()
        assert "does not know" not in describe(opened)


@pytest.mark.parametrize(
    ("version", "fits"), [("0.0.1", True), ("0.99.9rc1", True), ("1.0.0", False), ("12.3", False)]
)
def test_a_later_major_version_is_refused(version, fits):
    if fits:
        assert parsed(kellgren_version=version).kellgren_version == version
    else:
        with pytest.raises(BadBundle, match=r"kellgren_version.*install the version that made the bundle"):
            parsed(kellgren_version=version)


def test_no_calibration_is_null_and_stays_so():
    plain = parsed()
    assert plain.calibration == Calibration()
    assert plain.to_json()["calibration"] is None
    warm = plain.changed(calibration=Calibration(temperature={"KL": 2.0}))
    assert warm.to_json()["calibration"] == {"temperature": {"KL": 2.0}}
    assert warm.calibration.calibrators["KL"].value == 2.0
    assert plain.calibration == Calibration()


def test_a_change_is_checked():
    with pytest.raises(ValidationError, match="KL has 5 classes"):
        parsed().changed(tasks={"KL": 3})
    with pytest.raises(ValidationError):
        parsed().changed(training=Training(data="d").changed(minutes=float("nan")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": [{"bundle": "a", "weight": 1e300}], "inputs": None}, r"members\.0\.weight"),
        ({"kind": "localiser"}, "localiser settings"),
        ({"tasks": {"SIDE": 2}}, "tasks are missing"),
        ({"description": "a\x1b[2Jb"}, "control characters"),
        ({"decision": {"TL": "argmax"}}, "TL is not among the card's tasks"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, words):
    with pytest.raises(BadBundle, match=words):
        parsed(**changes)


def test_numbers_that_are_none_are_refused():
    text = json.dumps(stub_bundle.card(training={"minutes": 1.5})).replace("1.5", "1e999")
    with pytest.raises(BadBundle, match="too large a number"):
        card.parse(text.encode(), where="here")
    assert isinstance(card.parse(text.replace("1e999", "1e3").encode(), where="here"), Card)
