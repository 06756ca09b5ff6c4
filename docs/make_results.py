"""Fill the tables of the results pages and of README.md from the cards of the packaged bundles.

    python docs/make_results.py           # rewrite what stands between the BEGIN and END comments
    python docs/make_results.py --check   # exit 1 if anything would change

No figure in these tables is typed by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from kellgren.model import bundle

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
RESULTS = [REFERENCE / "results.md", *sorted((REFERENCE / "results").glob("*.md"))]
README = ROOT / "README.md"


def cards() -> list[dict[str, Any]]:
    """Cards of all packaged bundles."""
    return [bundle.load(name).card.to_json() for name in bundle.packaged()]


def estimate(figure: dict[str, float | None]) -> str:
    """A value with its interval."""
    value, low, high = figure["value"], figure.get("low"), figure.get("high")
    if value is None:
        return ""
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f}-{high:.3f})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def made() -> str:
    """How each bundle was made."""
    header = ["bundle", "recipe", "size", "backbone", "parameters", "initial weights", "epochs (best)"]
    header += ["train time", "machine", "seed", "held-out fold", "commit", "data sha256"]
    rows = []
    for card in cards():
        training = card["training"]
        rows.append(
            [
                f"{card['name']}@{card['version']}",
                training["recipe"],
                training["size"],
                training.get("backbone", "own"),
                f"{card['parity']['parameters'] / 1e6:.2f} M",
                training["initial_weights"] or "random",
                epochs(training),
                f"{training['minutes']:.0f} min",
                training["hardware"],
                ", ".join(map(str, training["seeds"])),
                str(training["held_out_fold"]),
                (training["commit"] or "")[:7],
                training["data_sha256"][:8],
            ]
        )
    return table(header, rows)


def epochs(training: dict[str, Any]) -> str:
    """Epochs, and the best one where one was chosen; of each level where there are several."""
    if isinstance(training["epochs"], list):
        return ", ".join(map(str, training["epochs"]))
    best = training.get("best_epoch")
    return str(training["epochs"]) if best is None else f"{training['epochs']} ({best})"


def validated() -> str:
    """Every task of every bundle on the validation split."""
    shown = {
        "accuracy": "accuracy",
        "majority_accuracy": "majority accuracy",
        "balanced_accuracy": "balanced accuracy",
        "accuracy_pm1": "within one grade",
        "majority_pm1": "majority within one",
        "qwk": "QWK",
        "auc_macro": "macro AUC",
        "ece": "ECE",
    }
    rows = []
    for card in cards():
        for task, figures in (card["validation"] or {}).items():
            if isinstance(figures, dict):
                title = f"{card['name']}@{card['version']}"
                cells = [estimate(figures[name]) for name in shown]
                rows.append([title, task, str(figures["n"]), *cells, f"{figures['ece_null95']:.3f}"])
    return table(["bundle", "task", "n", *shown.values(), "ECE null 95 %"], rows)


def headline() -> str:
    """The six figures of the first screen that cards hold."""
    figures = next(card for card in cards() if card["name"] == bundle.DEFAULT)["validation"]
    shown = {
        "KL accuracy (the most frequent grade alone: {majority})": ("KL", "accuracy"),
        "KL within one grade": ("KL", "accuracy_pm1"),
        "KL quadratic weighted kappa": ("KL", "qwk"),
        "AUC of radiographic OA (KL 2 or more)": ("OA", "auc_macro"),
        "quadratic weighted kappa of medial joint space narrowing": ("JSN_M", "qwk"),
        "KL calibration error (a perfectly calibrated model: up to {null:.3f})": ("KL", "ece"),
    }
    kl = figures["KL"]
    words = {"majority": estimate(kl["majority_accuracy"]).split()[0], "null": kl["ece_null95"]}
    rows = [
        [
            f"[{title.format(**words)}](results/packaged-model.md#validation-split)",
            estimate(figures[task][name]),
        ]
        for title, (task, name) in shown.items()
    ]
    return table(["figure", "value"], rows)


def summary() -> str:
    """The few figures of the README."""
    shown = ("accuracy", "majority_accuracy", "accuracy_pm1", "qwk", "auc_macro")
    rows = []
    for task, figures in next(c for c in cards() if c["name"] == bundle.DEFAULT)["validation"].items():
        if isinstance(figures, dict):
            rows.append([task, str(figures["n"]), *(estimate(figures[name]) for name in shown)])
    return table(["task", "n", "accuracy", "majority", "within one grade", "QWK", "macro AUC"], rows)


def filled(text: str, mark: str, content: str) -> str:
    """The text with new content between every `mark:BEGIN` and `mark:END`."""
    pattern = re.compile(rf"(<!-- {mark}:BEGIN[^>]*-->\n).*?(<!-- {mark}:END[^>]*-->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main() -> None:
    """Rewrite or check."""
    tables = {"BUNDLES": made(), "RESULTS": validated(), "HEADLINE": headline(), "SUMMARY": summary()}
    texts = {page: page.read_text(encoding="utf-8") for page in (README, *RESULTS)}
    for mark, content in tables.items():
        pages = [page for page, text in texts.items() if f"<!-- {mark}:BEGIN" in text]
        if not pages:
            raise SystemExit(f"no page has {mark}:BEGIN ... {mark}:END")
        texts.update({page: filled(texts[page], mark, content) for page in pages})
    changed = [page for page, text in texts.items() if text != page.read_text(encoding="utf-8")]
    if "--check" in sys.argv:
        sys.exit(int(bool(changed)))
    for page in changed:
        page.write_text(texts[page], encoding="utf-8")


if __name__ == "__main__":
    main()
