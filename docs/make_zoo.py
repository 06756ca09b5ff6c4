"""Bring trained networks of a study into zoo/, and write zoo/README.md from the cards that lie there.

    python docs/make_zoo.py runs/studies/systems-small wang oa-men   # these rows' first seeds
    python docs/make_zoo.py                                         # the page alone
    python docs/make_zoo.py --check                                 # exit 1 if the page would change

A bundle of the size `small` is called so: `wang-small` is not Wang's network as published.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from make_results import epochs, estimate, table

from kellgren.model import bundle
from kellgren.study import records
from kellgren.study.cells import RUN
from kellgren.study.records import STUDY, Study

ZOO = Path(__file__).parents[1] / "zoo"
PAGE = ZOO / "README.md"

HEAD = """# Zoo

Bundles of the published systems' recipes, as far as they have been trained here. **None of them is the
published network.** Size `small` has all parts of the system with a lighter backbone and a smaller
image; where there were no initial weights for its backbone it started from random ones. They are here so
that every system can be loaded, taken apart and compared, not to grade patients: for that there is the
packaged bundle, which is better than all of them. Figures are of kneekl299's validation split, with 95 %
intervals over patients.

    kellgren grade film.png --out out --model zoo/antony-small
    kellgren models inspect zoo/antony-small
    kellgren models check zoo/*-small

How they were trained: [results](../docs/reference/results/published-systems.md#at-size-small).
Made by `docs/make_zoo.py`.
"""


def bring(study: Path, row: str) -> None:
    """Copy a row's bundle and call it by its size."""
    record = records.read(Study, study / STUDY)
    source = study.parent / "cells" / record.cells[row][0].key / RUN / "bundle"
    size = record.size
    name = row if size == "full" else f"{row}-{size}"
    target = ZOO / name
    version = _next_version(target)
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)
    path = target / bundle.CARD
    card = json.loads(path.read_text(encoding="utf-8"))
    training = card["training"]
    start = training["initial_weights"] or "random"
    card["name"], card["version"] = name, version
    card["description"] += f" (size {size}, initial weights {start}, {training['epochs']} epochs)"
    card["validation"]["model"] = f"{name}@{card['version']}"
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _next_version(target: Path) -> str:
    """The first version, or the one after that of the bundle that is replaced."""
    if not target.exists():
        return "0.1.0"
    major, minor, patch = bundle.load(target).card.version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def page() -> str:
    """The page, from the cards."""
    header = ["bundle", "what", "backbone", "parameters", "initial weights", "epochs (best)", "train time"]
    header += ["MB", "n", "KL accuracy", "majority", "within one grade", "QWK"]
    folders = sorted(path.parent for path in ZOO.glob(f"*/{bundle.CARD}"))
    return f"{HEAD}\n{table(header, [_line(folder) for folder in folders])}\n"


def _line(folder: Path) -> list[str]:
    card: dict[str, Any] = bundle.load(folder).card.to_json()
    training, kl = card["training"], card["validation"]["KL"]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return [
        f"`{card['name']}@{card['version']}`",
        str(training["settings"]["title"]),
        training.get("backbone") or "own",
        f"{card['parity']['parameters'] / 1e6:.2f} M",
        training["initial_weights"] or "random",
        epochs(training),
        f"{training['minutes']:.0f} min",
        f"{size / 1e6:.1f}",
        str(kl["n"]),
        *(estimate(kl[name]) for name in ("accuracy", "majority_accuracy", "accuracy_pm1", "qwk")),
    ]


def main() -> None:
    """Bring, then write or check the page."""
    given = [word for word in sys.argv[1:] if not word.startswith("--")]
    for row in given[1:]:
        bring(Path(given[0]), row)
    text = page()
    if "--check" in sys.argv:
        sys.exit(int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
