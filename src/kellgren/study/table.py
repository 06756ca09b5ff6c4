"""The tables of a study: `table.json` holds all, `table.csv` a figure a line, `table.md` is for reading."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from kellgren.errors import BadDataset
from kellgren.evaluate.intervals import DRAWS
from kellgren.study import cells, figures, gradient_share, markdown, rows
from kellgren.study.figures import Figure
from kellgren.study.laboratory import STUDY
from kellgren.study.plan import Plan, Printed
from kellgren.study.rows import Found
from kellgren.vocabulary import FEATURES
from kellgren.writing import write_json, write_text

_CSV: Final = (
    *(
        "plan",
        "size",
        "row",
        "state",
        "figure",
        "value",
        "low",
        "high",
        "seed_low",
        "seed_high",
        "seeds",
        "n",
    ),
    *("parameters", "macs", "train_minutes", "init"),
)


def studies(folder: Path) -> list[Path]:
    """Folders with a `study.json`: the given one, or those in it.

    Raises:
        BadDataset: If there is none.
    """
    found = (
        [folder] if (folder / STUDY).is_file() else sorted(path.parent for path in folder.glob(f"*/{STUDY}"))
    )
    if not found:
        raise BadDataset("no study there", path=folder, remedy="run one: kellgren study run PLAN")
    return found


def build(folder: Path, *, draws: int = DRAWS) -> dict[str, Any]:
    """Make a study's tables from what its cells hold by now, and write them.

    Args:
        folder: With `study.json`; `cells/` is beside it.
        draws: Bootstrap draws over patients.

    Returns:
        What `table.json` holds.
    """
    study: dict[str, Any] = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    found = rows.find(folder.parent, study, draws=draws)
    document = _document(study, found, draws=draws)
    write_json(folder / "table.json", document)
    write_text(folder / "table.csv", _csv(document))
    write_text(folder / "table.md", markdown.render(document))
    return document


def _document(study: dict[str, Any], found: Sequence[Found], *, draws: int) -> dict[str, Any]:
    chosen = rows.plan_of(study)
    wanted = [figures.parse(name) for name in chosen.figures]
    by_name = {one.row.name: one for one in found}
    answers = [answer for one in found for answer in one.answers]
    first = answers[0] if answers else None
    best = _best(found, wanted[0])
    document = {
        "plan": chosen.name,
        "title": chosen.title,
        "source": chosen.source,
        "note": chosen.note,
        "size": study["size"],
        "data": study["data"],
        "data_sha256": study["data_sha256"],
        "judged_on": study["test_data"] or study["data"],
        "split": study["split"],
        "by_network": study["evaluation"].endswith(cells.BY_NETWORK),
        "held_out_fold": study["fold"] if chosen.split == "held_out" else None,
        "n": None if first is None else len(first.names),
        "n_patients": None if first is None else len(set(first.patients.tolist())),
        "draws": draws,
        "figures": list(chosen.figures),
        "differs": list(chosen.differs),
        "rows": [_row(one, wanted, one.row.name in best) for one in found],
        "comparisons": [
            {"first": pair[0], "second": pair[1], "differences": rows.differences(*both, wanted, draws=draws)}
            for pair in chosen.pairs()
            if (both := (by_name[pair[0]], by_name[pair[1]])) and all(one.answers for one in both)
        ],
        "printed": [_printed(printed, by_name[printed.row], chosen, study) for printed in chosen.printed],
    }
    if any(figure.task in {task.name for task in FEATURES} for figure in wanted):
        document["oarsi"] = [
            {"row": one.row.name, "features": rows.oarsi(one.answers[0], draws=draws)}
            for one in found
            if one.answers
        ]
    if "gradient_share" in chosen.tables:
        document["gradient_share"] = [
            {"row": one.row.name, **_gradients(one, study)} for one in found if one.answers and one.row.recipe
        ]
    return document


def _best(found: Sequence[Found], figure: Figure) -> set[str]:
    """Of each group whose rows are all there, the row best by a figure; of equal ones the first."""
    groups: dict[str, list[Found]] = {}
    for one in found:
        if one.row.group:
            groups.setdefault(one.row.group, []).append(one)
    whole = [group for group in groups.values() if all(figure in one.values for one in group)]
    less = figure.name in ("mae", "mse", "ece", "brier", "nll")
    sign = -1.0 if less else 1.0
    return {max(group, key=lambda one: sign * float(np.mean(one.values[figure]))).row.name for group in whole}


def _row(one: Found, wanted: Sequence[Figure], best: bool) -> dict[str, Any]:
    return {
        "name": one.row.name,
        "title": one.row.title or one.row.name,
        "recipe": one.row.recipe or None,
        "bundle": one.row.bundle or None,
        "set": list(one.row.set),
        "without": list(one.row.without),
        "group": one.row.group or None,
        "best_of_group": best,
        "note": one.row.note,
        "state": one.state,
        "seeds": list(dict.fromkeys(one.seeds)),
        "folds": list(one.folds),
        "n": len(one.answers[0].names) if one.answers else None,
        "figures": {name: _figure(one, figure) for name, figure in _named(wanted) if figure in one.values},
        "cost": one.cost,
        "chosen": one.chosen,
        "vote": asdict(one.row.vote) if one.row.vote.of else None,
    }


def _named(wanted: Sequence[Figure]) -> list[tuple[str, Figure]]:
    return [
        (f"{figure.task}.{figure.name}" + ("" if figure.grade is None else f".{figure.grade}"), figure)
        for figure in wanted
    ]


def _figure(one: Found, figure: Figure) -> dict[str, Any]:
    """Mean over trainings, its interval over patients, and the range over trainings."""
    low, high = rows.interval(one.drawn[figure])
    values = one.values[figure]
    return figures.to_json(
        {
            "value": float(np.mean(values)),
            "low": low,
            "high": high,
            "seed_low": min(values),
            "seed_high": max(values),
        }
    )


def _printed(printed: Printed, one: Found, chosen: Plan, study: dict[str, Any]) -> dict[str, Any]:
    figure = figures.parse(printed.figure)
    ours = _figure(one, figure) if figure in one.values else None
    return {
        "row": printed.row,
        "figure": printed.figure,
        "printed": printed.value,
        "where": printed.where,
        "ours": ours,
        "differs": [*chosen.differs, *printed.differs, *_always_differs(one, study)],
    }


def _always_differs(one: Found, study: dict[str, Any]) -> list[str]:
    """What differs by how it was trained here."""
    said = []
    if study["size"] != "full":
        said.append(f"size {study['size']}, not the paper's")
    if one.cost:
        said.append(f"initial weights {one.cost['init'] or 'random'}")
    planned = {cell["epochs"] for cell in study["cells"].get(one.row.name, [])}
    said += [f"{', '.join(map(str, sorted(planned)))} epochs"] if planned else []
    return said


def _gradients(one: Found, study: dict[str, Any]) -> dict[str, Any]:
    loss = study["cells"][one.row.name][0]["recipe"]["loss"]
    answer = one.answers[0]
    return gradient_share.table(
        loss.get("KL", loss.get("default", {})),
        np.array(study["train_kl"]),
        answer.probabilities["KL"],
        answer.truth["KL"],
    )


def _csv(document: dict[str, Any]) -> str:
    """A line a row and figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV)
    for row in document["rows"]:
        cost = row["cost"]
        about = [cost.get(name) for name in ("parameters", "macs", "train_minutes")]
        init = (cost.get("init") or "random") if cost else None
        for name in document["figures"]:
            figure = row["figures"].get(name, {})
            writer.writerow(
                [document["plan"], document["size"], row["name"], row["state"], name]
                + [figure.get(key) for key in ("value", "low", "high", "seed_low", "seed_high")]
                + [" ".join(map(str, row["seeds"])), row["n"], *about, init]
            )
    return stream.getvalue()
