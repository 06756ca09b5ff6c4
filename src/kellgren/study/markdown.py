"""`table.md`: a study's tables for reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kellgren.study import figures
from kellgren.study.figures import Figure
from kellgren.study.rows import DONE


def render(document: dict[str, Any]) -> str:
    """The tables as Markdown, from what `table.json` holds."""
    named = [(name, figures.parse(name)) for name in document["figures"]]
    # true negatives dominate one-vs-rest accuracy: it never stands beside top-1
    apart = [pair for pair in named if pair[1].name == "accuracy_ovr"]
    main = [pair for pair in named if pair not in apart]
    parts = [f"# {document['title']}", "", f"{document['source']}. {_judged(document)}", ""]
    parts += [document["note"], ""] if document["note"] else []
    if main:
        parts += [_figures(document, main), ""]
    if apart:
        parts += ["## One-vs-rest accuracy", ""]
        parts += ["(TP + TN) / all of each grade. True negatives dominate it: it is no top-1 accuracy.", ""]
        parts += [_figures(document, apart), ""]
    parts += _notes(document)
    for heading, content in (
        ("Differences", _differences(document)),
        ("Beside the paper", beside(document)),
        ("Atlas features", _oarsi(document)),
        ("Share of the gradient", _gradient_table(document)),
        ("Cost", _cost(document)),
    ):
        if content:
            parts += [f"## {heading}", "", content, ""]
    return "\n".join(parts).rstrip() + "\n"


def _judged(document: dict[str, Any]) -> str:
    where = (
        f"held-out fold {document['held_out_fold']} of {document['data']}, for choosing"
        if document["held_out_fold"] is not None
        else f"split {document['split']} of {document['judged_on']}"
    )
    if document["judged_on"] != document["data"]:
        where += f", trained on {document['data']}"
    n = "" if document["n"] is None else f": {document['n']} knees, {document['n_patients']} patients"
    if document["by_network"]:
        n += ", by the networks themselves: neither calibrated nor with test-time looks"
    return (
        f"Size `{document['size']}`, judged on {where}{n}. In brackets 95 % intervals over patients of the "
        "mean over trainings; with several seeds or folds their range follows."
    )


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    every = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in every)


def number(figure: dict[str, Any] | None) -> str:
    """A figure as tables show it."""
    if figure is None or figure["value"] is None:
        return ""
    text = f"{figure['value']:.3f}"
    if figure.get("low") is not None:
        text += f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    if figure.get("seed_low") is not None and figure["seed_low"] != figure["seed_high"]:
        text += f" ({figure['seed_low']:.3f} to {figure['seed_high']:.3f})"
    return text


def _figures(document: dict[str, Any], named: Sequence[tuple[str, Figure]]) -> str:
    lines = []
    for row in document["rows"]:
        title = f"**{row['title']}**" if row["best_of_group"] else row["title"]
        values = [number(row["figures"].get(name)) for name, _ in named]
        lines.append([title, *values, trainings(row), "" if row["state"] == DONE else row["state"]])
    return _table(["row", *(figure.title for _, figure in named), "seeds", "state"], lines)


def _notes(document: dict[str, Any]) -> list[str]:
    lines = [f"- {row['title']}: {row['note']}" for row in document["rows"] if row["note"]]
    for row in document["rows"]:
        if row["chosen"]:
            chosen = row["chosen"]
            lines.append(
                f"- {row['title']}: {chosen['rule']} vote of {', '.join(chosen['members'])}, best of "
                f"{chosen['tried']} votes on {chosen['n']} held-out knees "
                f"(accuracy {chosen['held_out_accuracy']:.3f}, QWK {chosen['held_out_qwk']:.3f} there)."
            )
    if any(row["best_of_group"] for row in document["rows"]):
        lines.append("- Bold: best of its group by the first figure.")
    return [*lines, ""] if lines else []


def _differences(document: dict[str, Any]) -> str:
    titles = {row["name"]: row["title"] for row in document["rows"]}
    lines = []
    for pair in document["comparisons"]:
        for entry in pair["differences"]:
            lines.append(
                [
                    f"{titles[pair['second']]} less {titles[pair['first']]}",
                    figures.parse(entry["figure"]).title,
                    "" if entry["value"] is None else f"{entry['value']:+.3f}",
                    "" if entry["low"] is None else f"{entry['low']:+.3f} to {entry['high']:+.3f}",
                    _p(entry["p"]),
                    _p(entry.get("mcnemar_p")),
                ]
            )
    if not lines:
        return ""
    return _table(["rows", "figure", "difference", "95 %, paired over patients", "p", "McNemar p"], lines)


def beside(document: dict[str, Any]) -> str:
    """What papers printed beside our figures, and what differs; empty where they printed nothing."""
    titles = {row["name"]: row["title"] for row in document["rows"]}
    lines = [
        [
            titles[entry["row"]],
            figures.parse(entry["figure"]).title,
            f"{entry['printed']:.4g}",
            entry["where"],
            number(entry["ours"]) or "not run",
            "; ".join(said for said in entry["differs"] if said not in document["differs"]),
        ]
        for entry in document["printed"]
    ]
    if not lines:
        return ""
    everywhere = "".join(f"- {said}\n" for said in document["differs"])
    return f"What differs everywhere:\n\n{everywhere}\n" + _table(
        ["row", "figure", "printed", "where", "ours", "what differs besides"], lines
    )


def _p(value: float | None) -> str:
    """A p-value; what is smaller than three decimals can show says so."""
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _oarsi(document: dict[str, Any]) -> str:
    titles = {row["name"]: row["title"] for row in document["rows"]}
    return atlas([(titles[entry["row"]], entry["features"]) for entry in document.get("oarsi", [])])


def atlas(entries: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """Titles with the atlas features' figures, as `kellgren.study.rows.oarsi` gives them, as a table."""
    shown = ("qwk", "balanced_accuracy", "accuracy", "majority_accuracy")
    lines = [
        [title, feature["task"], f"{feature['n_read']} of {feature['n']}", words]
        + [number(feature[mix][name]) for name in shown]
        for title, features in entries
        for feature in features
        for mix, words in (("read", "as read"), ("reweighted", "as if all had been read"))
    ]
    header = ["row", "feature", "knees read", "KL mix", "QWK", "balanced", "accuracy", "majority"]
    return _table(header, lines) if lines else ""


def _gradient_table(document: dict[str, Any]) -> str:
    titles = {row["name"]: row["title"] for row in document["rows"]}
    lines = []
    for entry in document.get("gradient_share", []):
        shares = {
            "training knees": entry["shares"]["images"],
            "count times alpha": entry["shares"]["start"],
            "trained": entry["shares"]["trained"],
            "trained, were it cross-entropy": entry["shares"]["trained_cross_entropy"],
            "printed (Table 2)": entry["printed"]["share"],
        }
        for name, values in shares.items():
            percent = ["" if value is None or np.isnan(value) else f"{100 * value:.1f} %" for value in values]
            lines.append([titles[entry["row"]], name, *percent])
    return _table(["row", "share", *(f"KL {k}" for k in range(5))], lines) if lines else ""


def _cost(document: dict[str, Any]) -> str:
    lines = []
    for row in document["rows"]:
        cost = row["cost"]
        if not cost:
            continue
        lines.append(
            [
                row["title"],
                f"{cost['parameters'] / 1e6:.2f} M" if cost["parameters"] else "",
                f"{cost['macs'] / 1e9:.3f} G" if cost["macs"] else "",
                cost["init"] or "random",
                epochs(cost),
                f"{cost['train_minutes']:.1f}" if cost["train_minutes"] is not None else "",
                f"{cost['peak_bytes'] / 2**30:.1f} GiB" if cost["peak_bytes"] else "",
                ", ".join(cost["machine"]),
            ]
        )
    header = [
        "row",
        "parameters",
        "MACs a knee",
        "initial weights",
        "epochs (best)",
        "train minutes",
        "memory",
        "machine",
    ]
    return _table(header, lines) if lines else ""


def trainings(row: dict[str, Any]) -> str:
    """Seeds of a row, and folds where it left out several."""
    seeds = ", ".join(map(str, row["seeds"]))
    return f"{seeds} (folds {', '.join(map(str, row['folds']))})" if len(row["folds"]) > 1 else seeds


def epochs(cost: dict[str, Any]) -> str:
    """Epochs and best epoch of each seed; a run that the clock ended says so."""
    each = zip(cost["epochs"], cost["best_epoch"], cost["stopped"], strict=True)
    return ", ".join(
        f"{epochs}{'' if best is None else f' ({best})'}{', out of time' if stopped == 'out of time' else ''}"
        for epochs, best, stopped in each
    )
