"""The answer of `kellgren grade` on the screen: a row per knee, or counts where there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from kellgren.cli import terminal
from kellgren.report.record import Key
from kellgren.report.table import Row
from kellgren.vocabulary import FEATURES, FURTHER_FEATURES

_SHOWN: Final = 30  # knees that are listed; of more, counts
_REASONS: Final = 8  # reasons that are listed
_COLUMNS: Final = ("file", "knee", "side", "KL", "OA", "features", "joint space", "flag")


class Answer:
    """Collects rows while a run goes on, in bounded memory unless all rows are to be kept.

    Args:
        keep_rows: Whether `rows_in` will be asked for.
    """

    def __init__(self, *, keep_rows: bool) -> None:
        self._keep = keep_rows
        self._rows: dict[Key, Sequence[Row]] = {}
        self._grades: Counter[int] = Counter()
        self._reasons: dict[str, Counter[str]] = {"refer": Counter(), "failed": Counter()}
        self.statuses: Counter[str] = Counter()
        self.files = 0

    @property
    def knees(self) -> int:
        """Knees with a grade."""
        return self.statuses["graded"] + self.statuses["refer"]

    def add(self, key: Key, rows: Sequence[Row]) -> None:
        """Take the rows of one file."""
        self.files += 1
        if self._keep or self.knees <= _SHOWN:
            self._rows[key] = rows
        for row in rows:
            status = str(row["status"])
            self.statuses[status] += 1
            if isinstance(row.get("KL"), int):
                self._grades[int(str(row["KL"]))] += 1
            if status in self._reasons:
                self._reasons[status].update(_kinds(str(row["reason"]), status))

    def rows_in(self, order: Iterable[Key]) -> list[Row]:
        """All rows in the order of the files, unknown cells left out."""
        rows = [row for key in order for row in self._rows.get(key, ())]
        return [{name: value for name, value in row.items() if value is not None} for row in rows]

    def show(self) -> None:
        """Print the knees, or their counts, and a sentence about all."""
        if self.knees + self.statuses["failed"] <= _SHOWN:
            several = len({key[0] for key in self._rows}) > 1
            rows = [_cells(key, row, several=several) for key in self._rows for row in self._rows[key]]
            terminal.table("", _COLUMNS, rows, right="knee OA")
        else:
            knees = [(f"KL {grade}", str(self._grades[grade])) for grade in range(5)]
            terminal.table("", ("grade", "knees"), knees, right="knees")
        if self.files > 1:
            for status, title in (("refer", "For a reader"), ("failed", "Not graded")):
                self._show_reasons(status, title)
        counts = f"{self.statuses['refer']} for a reader, {self.statuses['failed']} not graded"
        terminal.answer(f"{count(self.files, 'film')}, {count(self.knees, 'knee')}: {counts}")

    def _show_reasons(self, status: str, title: str) -> None:
        reasons = self._reasons[status].most_common()
        if reasons:
            terminal.answer(f"{title}:")
        for reason, number in reasons[:_REASONS]:
            terminal.answer(f"  {number:4d}  {reason}")
        if len(reasons) > _REASONS:
            terminal.answer(f"        and {count(len(reasons) - _REASONS, 'other reason')}")


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 knee, 2 knees."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _kinds(reason: str, status: str) -> list[str]:
    """The reasons of one row, without particulars (after a colon) and remedies (of failures)."""
    parts = reason.split("; ")
    return [part.partition(":")[0].strip() for part in (parts if status == "refer" else parts[:1])]


def _cells(key: Key, row: Row, *, several: bool) -> list[str]:
    status = str(row["status"])
    flag = "" if status == "graded" else f"{'reader' if status == 'refer' else 'not graded'}: {row['reason']}"
    file = f"{key[0]}: {key[1]}" if several else key[1]
    return [
        file,
        _text(row, "knee"),
        _text(row, "side"),
        _grade(row),
        _oa(row),
        _features(row),
        _space(row),
        flag,
    ]


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _grade(row: Row) -> str:
    if row.get("KL") is None:
        return ""
    low, high = row.get("KL_low"), row.get("KL_high")
    return f"{row['KL']}" if low is None or low == high else f"{row['KL']} ({low} to {high})"


def _oa(row: Row) -> str:
    value = row.get("OA_p")
    return "" if value is None else f"{100 * float(value):.0f} %"


def _features(row: Row) -> str:
    """Features that are present, with their grades."""
    names = [task.name for task in (*FEATURES, *FURTHER_FEATURES) if row.get(task.name) is not None]
    present = [f"{name} {row[name]}" for name in names if row[name]]
    return " ".join(present) or ("none" if names else "")


def _space(row: Row) -> str:
    """Smallest width on both sides."""
    unit = row.get("JSW_unit")
    if unit is None:
        return ""
    sides = ((name, row.get(f"JSW_{name}_min")) for name in ("L", "M"))
    if unit == "mm":
        return " ".join(f"{name} {float(value):.1f} mm" for name, value in sides if value is not None)
    return " ".join(f"{name} {100 * float(value):.1f} %" for name, value in sides if value is not None)
