"""Fill the tables of the results pages that come from studies.

    python docs/make_studies.py runs/studies     # the folder that `kellgren study run --out` was given

Between `STUDY NAME:BEGIN` and `STUDY NAME:END` stand a study's rows with their costs; its paired differences
are marked `DIFFERENCES`, kappas of the atlas features `ATLAS`, what papers printed beside ours `PRINTED`.
NAME is the study's folder, such as `systems-small`. No figure is typed by hand. Studies are not part of the
repository: there is nothing to check the tables against.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from make_results import RESULTS, filled, table

from kellgren.study import figures
from kellgren.study import table as tables
from kellgren.study.markdown import beside, epochs, number, trainings
from kellgren.study.records import Table, TableRow
from kellgren.vocabulary import FEATURES

_COMPARED = ("accuracy", "qwk", "f1_macro", "accuracy_pm1")
MARK = re.compile(r"<!-- (STUDY|DIFFERENCES|ATLAS|PRINTED) ([\w-]+):BEGIN")


def rows_of(document: Table) -> str:
    """Figures of every row beside what it cost."""
    shown = [name for name in document.figures if name.startswith(("KL.", "JSN_M.acc", "JSN_L.acc"))]
    header = ["row", "initial weights", "parameters", "MACs", "epochs (best)", "minutes", "seed"]
    header += [figures.parse(name).title for name in shown]
    return table(header, [_row(row, shown) for row in document.rows])


def _row(row: TableRow, shown: list[str]) -> list[str]:
    cost = row.cost
    if cost is None:
        return [row.title, row.state, *[""] * (5 + len(shown))]
    return [
        row.title,
        cost.init or "random",
        f"{cost.parameters / 1e6:.2f} M" if cost.parameters else "",
        f"{cost.macs / 1e9:.2f} G" if cost.macs else "",
        epochs(cost),
        f"{cost.train_minutes:.0f}" if cost.train_minutes is not None else "",
        trainings(row),
        *(number(row.figures.get(name)) for name in shown),
    ]


def differences(document: Table) -> str:
    """Paired differences of every compared pair, bold where the interval leaves out zero; none per grade."""
    titles = document.titles
    lines = []
    for pair in document.comparisons:
        for entry in pair.differences:
            figure = figures.parse(entry.figure)
            if figure.grade is not None or figure.name not in _COMPARED:
                continue
            if entry.value is None or entry.low is None or entry.high is None:
                continue
            text = f"{entry.value:+.3f}"
            sure = entry.low > 0 or entry.high < 0
            lines.append(
                [
                    f"{titles[pair.second]} less {titles[pair.first]}",
                    figure.title,
                    f"**{text}**" if sure else text,
                    f"{entry.low:+.3f} to {entry.high:+.3f}",
                ]
            )
    return table(["rows", "figure", "difference", "95 %, paired over patients"], lines)


def atlas(document: Table) -> str:
    """Quadratic weighted kappa of the atlas features, as read."""
    features = {task.name for task in FEATURES}
    kappas = [name for name in document.figures if name.endswith(".qwk")]
    names = [name for name in kappas if figures.parse(name).task in features]
    rows = [
        [row.title, *(number(row.figures.get(name)) for name in names)]
        for row in document.rows
        if any(name in row.figures for name in names)
    ]
    return table(["row", *(figures.parse(name).title for name in names)], rows)


MAKERS = {"STUDY": rows_of, "DIFFERENCES": differences, "ATLAS": atlas, "PRINTED": beside}


def main() -> None:
    """Rewrite the tables whose studies are there."""
    folder = Path(sys.argv[1])
    documents = {study.name: tables.build(study) for study in tables.studies(folder)}
    for page in RESULTS:
        text = page.read_text(encoding="utf-8")
        for kind, name in MARK.findall(text):
            if name in documents:
                text = filled(text, f"{kind} {name}", MAKERS[kind](documents[name]))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
