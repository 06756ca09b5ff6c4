"""The tables of a study: `table.json` holds all, `table.csv` one figure per line, `table.md` is to read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from kellgren.errors import BadDataset
from kellgren.evaluate.statistics import DRAWS
from kellgren.study import cells, figures, gradient_share, markdown, records, rows
from kellgren.study.figures import Figure
from kellgren.study.plan import Printed
from kellgren.study.records import (
    STUDY,
    TABLE,
    AtlasRow,
    Beside,
    Comparison,
    GradientShare,
    Study,
    Table,
    TableRow,
)
from kellgren.study.rows import Found
from kellgren.train.graders import recipe as recipes
from kellgren.vocabulary import FEATURES
from kellgren.writing import write_text

_NUMBERS: Final = ("value", "low", "high", "seed_low", "seed_high")
_CSV: Final = (
    *("plan", "size", "row", "state", "figure", *_NUMBERS, "seeds", "n"),
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


def build(folder: Path, *, draws: int = DRAWS) -> Table:
    """Make a study's tables from what its cells hold by now, and write them.

    Args:
        folder: With `study.json`; `cells/` is beside it.
        draws: Bootstrap draws over patients.

    Raises:
        BadDataset: If a file of the study is damaged.
    """
    study = records.read(Study, folder / STUDY)
    table = _table(study, rows.find(folder.parent, study, draws=draws), draws=draws)
    records.write(folder / TABLE, table)
    write_text(folder / "table.csv", _csv(table))
    write_text(folder / "table.md", markdown.render(table))
    return table


def _table(study: Study, found: Sequence[Found], *, draws: int) -> Table:
    plan = study.plan
    wanted = [figures.parse(name) for name in plan.figures]
    by_name = {each.row.name: each for each in found}
    first = next((answer for each in found for answer in each.answers), None)
    best = _best(found, wanted[0])
    answered = [each for each in found if each.answers]
    atlas = answered if {figure.task for figure in wanted} & {task.name for task in FEATURES} else []
    gradients = [each for each in answered if each.row.recipe] if "gradient_share" in plan.tables else []
    return Table(
        plan=plan.name,
        title=plan.title,
        source=plan.source,
        note=plan.note,
        size=study.size,
        data=study.data,
        data_sha256=study.data_sha256,
        judged_on=study.judged_on,
        split=study.split,
        by_network=study.evaluation.endswith(cells.BY_NETWORK),
        held_out_fold=study.fold if plan.split == "held_out" else None,
        n=None if first is None else len(first.names),
        n_patients=None if first is None else len(set(first.patients.tolist())),
        draws=draws,
        figures=plan.figures,
        differs=plan.differs,
        rows=tuple(_row(each, wanted, each.row.name in best) for each in found),
        comparisons=tuple(
            Comparison(one, two, rows.differences(by_name[one], by_name[two], wanted, draws=draws))
            for one, two in plan.pairs()
            if by_name[one].answers and by_name[two].answers
        ),
        printed=tuple(_beside(printed, by_name[printed.row], study) for printed in plan.printed),
        oarsi=tuple(AtlasRow(each.row.name, rows.oarsi(each.answers[0], draws=draws)) for each in atlas),
        gradient_share=tuple(_gradients(each, study) for each in gradients),
    )


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


def _row(found: Found, wanted: Sequence[Figure], best: bool) -> TableRow:
    row = found.row
    return TableRow(
        name=row.name,
        title=row.title or row.name,
        recipe=row.recipe or None,
        bundle=row.bundle or None,
        set=row.set,
        without=row.without,
        group=row.group or None,
        best_of_group=best,
        note=row.note,
        state=found.state,
        seeds=tuple(dict.fromkeys(found.seeds)),
        folds=found.folds,
        n=len(found.answers[0].names) if found.answers else None,
        figures={str(figure): rows.figure_of(found, figure) for figure in wanted if figure in found.values},
        cost=found.cost,
        chosen=found.chosen,
        vote=row.vote if row.vote.of else None,
    )


def _beside(printed: Printed, found: Found, study: Study) -> Beside:
    figure = figures.parse(printed.figure)
    return Beside(
        row=printed.row,
        figure=printed.figure,
        printed=printed.value,
        where=printed.where,
        ours=rows.figure_of(found, figure) if figure in found.values else None,
        differs=(*study.plan.differs, *printed.differs, *_always_differs(found, study)),
    )


def _always_differs(found: Found, study: Study) -> list[str]:
    """What differs by how it was trained here."""
    differs = [] if study.size == "full" else [f"size {study.size}, not the paper's"]
    if found.cost is not None:
        differs.append(f"initial weights {found.cost.init or 'random'}")
    planned = {training.epochs for training in study.cells.get(found.row.name, ())}
    return differs + ([f"{', '.join(map(str, sorted(planned)))} epochs"] if planned else [])


def _gradients(found: Found, study: Study) -> GradientShare:
    recipe = recipes.from_dict(study.cells[found.row.name][0].recipe or {})
    probabilities, truth = found.answers[0].probabilities["KL"], found.answers[0].truth["KL"]
    counts = np.array(study.train_kl)
    return gradient_share.table(found.row.name, recipe.loss_of("KL"), counts, probabilities, truth)


def _csv(table: Table) -> str:
    """One line per row and figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV)
    for row in table.rows:
        seeds = " ".join(map(str, row.seeds))
        about: list[float | str | None] = [None] * 4
        if (cost := row.cost) is not None:
            about = [cost.parameters, cost.macs, cost.train_minutes, cost.init or "random"]
        for name in table.figures:
            figure = row.figures.get(name)
            numbers = [getattr(figure, column, None) for column in _NUMBERS]
            line = [table.plan, table.size, row.name, row.state, name, *numbers, seeds, row.n, *about]
            writer.writerow(line)
    return stream.getvalue()
