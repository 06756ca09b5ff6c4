"""`grades.csv`: one row per knee, or per file that could not be graded; columns as in the contract."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from kellgren._version import __version__
from kellgren.errors import KellgrenError, printable
from kellgren.grade.assessment import Assessment, Cell
from kellgren.vocabulary import FEATURES, FURTHER_FEATURES
from kellgren.writing import write_text

Row = dict[str, Cell]

_FILE = ("file", "root", "image_sha256")
_KNEE = ("knee", "status", "reason", "notes", "side", "side_source", "x0", "y0", "x1", "y1")
_KL = ("KL", "KL_argmax", *(f"KL_p{k}" for k in range(5)), "KL_expected", "KL_low", "KL_high", "OA_p")
_JSW = ("JSW_L_min", "JSW_L_mean", "JSW_M_min", "JSW_M_mean", "JSW_unit", "spacing_source")
_END = ("model", "kellgren")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def columns(tasks: Iterable[str]) -> tuple[str, ...]:
    """Columns of `grades.csv` for a bundle with these tasks, in order."""
    features = [task for task in (*FEATURES, *FURTHER_FEATURES) if task.name in set(tasks)]
    probabilities = [f"{task.name}_p{k}" for task in features for k in range(task.classes)]
    return (*_FILE, *_KNEE, *_KL, *(task.name for task in features), *probabilities, *_JSW, *_END)


def graded_row(assessment: Assessment, file: str, *, root: str = "", sha256: str | None = None) -> Row:
    """The row of a graded knee. Unknown cells are absent.

    Args:
        assessment: The knee.
        file: The path as the table shows it.
        root: The argument that the file came from, if there were several.
        sha256: Of the file's bytes.
    """
    x0, y0, x1, y1 = assessment.box
    row: Row = {
        "file": file,
        "root": root or None,
        "image_sha256": sha256,
        "knee": assessment.knee,
        "status": assessment.status,
        "reason": assessment.reason or None,
        "notes": "; ".join(assessment.notes) or None,
        "side": assessment.side,
        "side_source": assessment.side_source,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "model": assessment.model,
        "kellgren": __version__,
    }
    if assessment.joint_space is not None:
        space = assessment.joint_space
        row |= {
            "JSW_L_min": space.lateral.minimum,
            "JSW_L_mean": space.lateral.mean,
            "JSW_M_min": space.medial.minimum,
            "JSW_M_mean": space.medial.mean,
            "JSW_unit": space.unit,
            "spacing_source": space.spacing_source,
        }
    for task, grading in assessment.gradings.items():
        if task == "OA":
            row["OA_p"] = grading.probabilities[1]
            continue
        row[task] = grading.grade
        row |= {f"{task}_p{k}": p for k, p in enumerate(grading.probabilities)}
        if task == "KL":
            row["KL_argmax"] = grading.most_probable
            row["KL_expected"] = grading.expected
            if grading.interval is not None:
                row["KL_low"], row["KL_high"] = grading.interval
    return row


def failed_row(
    error: KellgrenError, file: str, model: str, *, root: str = "", sha256: str | None = None
) -> Row:
    """The row of a file that could not be graded; arguments as in `graded_row`."""
    return {
        "file": file,
        "root": root or None,
        "image_sha256": sha256,
        "status": "failed",
        "reason": error.reason,
        "model": model,
        "kellgren": __version__,
    }


def path_text(name: str) -> str:
    """A path as tables show it: one that a spreadsheet would run as a formula begins with `./`."""
    shown = printable(name)
    return f"./{shown}" if shown.startswith(_FORMULA) else shown


def cell_text(value: Cell) -> str:
    """How a cell is written: empty for unknown, `true`/`false`, six decimals for fractions.

    In text, what cannot be printed is written out, so that a row is a line; a text that a spreadsheet would
    run as a formula has an apostrophe before it.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, str):
        shown = printable(value)
        return f"'{shown}" if shown.startswith(_FORMULA) else shown
    return str(value)


def csv_line(cells: Iterable[str]) -> str:
    """One line of a CSV file, with its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def write_table(path: Path, names: tuple[str, ...], rows: Iterable[Mapping[str, Cell]]) -> None:
    """Write a CSV table whole or not at all.

    Raises:
        KeyError: If a row has a cell that the table has no column for.
        CannotWrite: If the system does not let it be written.
    """
    lines = [csv_line(names)]
    for row in rows:
        unknown = row.keys() - set(names)
        if unknown:
            raise KeyError(f"no column for {sorted(unknown)}")
        lines.append(csv_line(cell_text(row.get(name)) for name in names))
    write_text(path, "".join(lines))
