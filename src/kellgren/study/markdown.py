"""`table.md`: a study's tables for reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kellgren.study import figures
from kellgren.study.figures import Figure
from kellgren.study.records import AtlasFeature, Interval, RowCost, RowFigure, Table, TableRow
from kellgren.study.rows import DONE


def render(table: Table) -> str:
    """The tables as Markdown."""
    columns = [figures.parse(name) for name in table.figures]
    # true negatives dominate one-vs-rest accuracy: it never stands beside top-1
    apart = [figure for figure in columns if figure.name == "accuracy_ovr"]
    main = [figure for figure in columns if figure not in apart]
    parts = [f"# {table.title}", "", f"{table.source}. {_judged(table)}", ""]
    parts += [table.note, ""] if table.note else []
    if main:
        parts += [_figures(table, main), ""]
    if apart:
        parts += ["## One-vs-rest accuracy", ""]
        parts += ["(TP + TN) / all of each grade. True negatives dominate it: it is no top-1 accuracy.", ""]
        parts += [_figures(table, apart), ""]
    parts += _notes(table)
    for heading, content in (
        ("Differences", _differences(table)),
        ("Beside the paper", beside(table)),
        ("Atlas features", atlas([(table.titles[each.row], each.features) for each in table.oarsi])),
        ("Share of the gradient", _gradients(table)),
        ("Cost", _cost(table)),
    ):
        if content:
            parts += [f"## {heading}", "", content, ""]
    return "\n".join(parts).rstrip() + "\n"


def _judged(table: Table) -> str:
    where = (
        f"held-out fold {table.held_out_fold} of {table.data}, for choosing"
        if table.held_out_fold is not None
        else f"split {table.split} of {table.judged_on}"
    )
    if table.judged_on != table.data:
        where += f", trained on {table.data}"
    n = "" if table.n is None else f": {table.n} knees, {table.n_patients} patients"
    if table.by_network:
        n += ", by the networks themselves: neither calibrated nor with test-time looks"
    return (
        f"Size `{table.size}`, judged on {where}{n}. In brackets 95 % intervals over patients of the "
        "mean over trainings; with several seeds or folds their range follows."
    )


def _lines(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    every = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in every)


def number(figure: Interval | None) -> str:
    """A figure as tables show it: value, interval, and where trainings differ their range."""
    if figure is None or figure.value is None:
        return ""
    text = f"{figure.value:.3f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{figure.low:.3f}, {figure.high:.3f}]"
    if isinstance(figure, RowFigure) and figure.seed_low is not None and figure.seed_low != figure.seed_high:
        text += f" ({figure.seed_low:.3f} to {figure.seed_high:.3f})"
    return text


def _figures(table: Table, columns: Sequence[Figure]) -> str:
    lines = []
    for row in table.rows:
        title = f"**{row.title}**" if row.best_of_group else row.title
        values = [number(row.figures.get(str(figure))) for figure in columns]
        lines.append([title, *values, trainings(row), "" if row.state == DONE else row.state])
    return _lines(["row", *(figure.title for figure in columns), "seeds", "state"], lines)


def _notes(table: Table) -> list[str]:
    lines = [f"- {row.title}: {row.note}" for row in table.rows if row.note]
    for row in table.rows:
        if (vote := row.chosen) is not None:
            lines.append(
                f"- {row.title}: {vote.rule} vote of {', '.join(vote.members)}, best of {vote.tried} votes "
                f"on {vote.n} held-out knees (accuracy {vote.held_out_accuracy:.3f}, "
                f"QWK {vote.held_out_qwk:.3f} there)."
            )
    if any(row.best_of_group for row in table.rows):
        lines.append("- Bold: best of its group by the first figure.")
    return [*lines, ""] if lines else []


def _differences(table: Table) -> str:
    titles = table.titles
    lines = [
        [
            f"{titles[pair.second]} less {titles[pair.first]}",
            figures.parse(each.figure).title,
            "" if each.value is None else f"{each.value:+.3f}",
            "" if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}",
            _p(each.p),
            _p(each.mcnemar_p),
        ]
        for pair in table.comparisons
        for each in pair.differences
    ]
    header = ["rows", "figure", "difference", "95 %, paired over patients", "p", "McNemar p"]
    return _lines(header, lines) if lines else ""


def beside(table: Table) -> str:
    """What papers printed beside our figures, and what differs; empty where they printed nothing."""
    lines = [
        [
            table.titles[each.row],
            figures.parse(each.figure).title,
            f"{each.printed:.4g}",
            each.where,
            number(each.ours) or "not run",
            "; ".join(text for text in each.differs if text not in table.differs),
        ]
        for each in table.printed
    ]
    if not lines:
        return ""
    everywhere = "".join(f"- {text}\n" for text in table.differs)
    header = ["row", "figure", "printed", "where", "ours", "what differs besides"]
    return f"What differs everywhere:\n\n{everywhere}\n" + _lines(header, lines)


def _p(value: float | None) -> str:
    """A p-value; what is smaller than three decimals can show says so."""
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def atlas(entries: Sequence[tuple[str, Sequence[AtlasFeature]]]) -> str:
    """Titles with the atlas features' figures, as `kellgren.study.rows.oarsi` gives them, as a table."""
    shown = ("qwk", "balanced_accuracy", "accuracy", "majority_accuracy")
    lines = [
        [title, feature.task, f"{feature.n_read} of {feature.n}", words]
        + [number(mix[name]) for name in shown]
        for title, features in entries
        for feature in features
        for mix, words in ((feature.read, "as read"), (feature.reweighted, "as if all had been read"))
    ]
    header = ["row", "feature", "knees read", "KL mix", "QWK", "balanced", "accuracy", "majority"]
    return _lines(header, lines) if lines else ""


def _gradients(table: Table) -> str:
    lines = []
    for each in table.gradient_share:
        shares = {
            "training knees": each.shares["images"],
            "count times alpha": each.shares["start"],
            "trained": each.shares["trained"],
            "trained, were it cross-entropy": each.shares["trained_cross_entropy"],
            "printed (Table 2)": each.printed["share"],
        }
        for name, values in shares.items():
            percent = ["" if value is None else f"{100 * value:.1f} %" for value in values]
            lines.append([table.titles[each.row], name, *percent])
    return _lines(["row", "share", *(f"KL {k}" for k in range(5))], lines) if lines else ""


def _cost(table: Table) -> str:
    lines = [
        [
            row.title,
            f"{cost.parameters / 1e6:.2f} M" if cost.parameters else "",
            f"{cost.macs / 1e9:.3f} G" if cost.macs else "",
            cost.init or "random",
            epochs(cost),
            f"{cost.train_minutes:.1f}" if cost.train_minutes is not None else "",
            f"{cost.peak_bytes / 2**30:.1f} GiB" if cost.peak_bytes else "",
            ", ".join(cost.machine),
        ]
        for row in table.rows
        if (cost := row.cost) is not None
    ]
    header = ["row", "parameters", "MACs per knee", "initial weights", "epochs (best)", "train minutes"]
    return _lines([*header, "memory", "machine"], lines) if lines else ""


def trainings(row: TableRow) -> str:
    """Seeds of a row, and folds where it left out several."""
    seeds = ", ".join(map(str, row.seeds))
    return f"{seeds} (folds {', '.join(map(str, row.folds))})" if len(row.folds) > 1 else seeds


def epochs(cost: RowCost) -> str:
    """Epochs and best epoch of each training; one that the clock ended says so."""
    each = zip(cost.epochs, cost.best_epoch, cost.stopped, strict=True)
    return ", ".join(
        f"{epochs}{'' if best is None else f' ({best})'}{', out of time' if stopped == 'out of time' else ''}"
        for epochs, best, stopped in each
    )
