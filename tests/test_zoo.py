"""What lies in zoo/: every bundle works, says what it is, and stands on the page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contract import validate
from kellgren.grade import golden
from kellgren.model import bundle

ZOO = Path(__file__).parents[1] / "zoo"
BUNDLES = sorted(path.parent for path in ZOO.glob("*/card.json"))
MOST_MB = 120


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_of_the_zoo(folder):
    document = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    validate("card", document)
    training = document["training"]
    assert document["name"] == folder.name
    assert training["size"] == "full" or folder.name.endswith(f"-{training['size']}")
    assert f"initial weights {training['initial_weights'] or 'random'}" in document["description"]
    kl = document["validation"]["KL"]
    assert kl["accuracy"]["value"] > kl["majority_accuracy"]["value"]
    assert golden.check(bundle.load(folder)).passed


def test_the_zoo_is_not_too_large():
    assert BUNDLES
    assert sum(path.stat().st_size for path in ZOO.rglob("*")) < MOST_MB * 1e6


def test_the_page_is_made_from_the_cards():
    pytest.importorskip("torch")
    script = ZOO.parent / "docs" / "make_zoo.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)  # noqa: S603 - ourselves
