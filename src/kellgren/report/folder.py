"""The output folder of `kellgren grade`: a table, its record and its pictures, all of one run.

An interrupted run is continued: rows of files whose content is the same are kept. `run.json` says from the
first moment which run the folder belongs to, so that after a kill no old record stands beside a new table.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kellgren.errors import WrongUse
from kellgren.report.record import RUN, Key, Ledger, RunRecord, read_record
from kellgren.report.schema import typed_row
from kellgren.report.table import Row, cell_text, csv_line
from kellgren.writing import Lines, make_folder, write_text

TABLE: Final = "grades.csv"
PICTURES: Final = "explain"

_LONGEST_NAME: Final = 200  # bytes of a path's part, and
_LONGEST_PATH: Final = 1000  # of a whole path below the output folder


class RunFolder:
    """Takes the rows of a run, file by file; the caller holds the folder's lock.

    Args:
        folder: The output folder.
        record: The run that begins.
        names: Columns of the table.
        overwrite: Whether results of another run are removed instead of refused.

    Raises:
        WrongUse: If the folder holds the results of another run.
        CannotWrite: If the system does not let something be written; here and in every method that writes.
    """

    def __init__(self, folder: Path, record: RunRecord, names: tuple[str, ...], *, overwrite: bool) -> None:
        self.path = folder
        self._names = names
        self._record = record
        self._lines: Lines | None = None
        self._written: dict[Key, str] = {}
        self._pictures: set[Path] = set()
        self.ledger = Ledger(record)
        if overwrite:
            self._remove()
        self.earlier = self._recognise()
        self.rows = self._read_table(self.earlier) if self.earlier else {}
        """Rows of an earlier, interrupted or finished part of this run, by file."""

    def _remove(self) -> None:
        for name in (RUN, TABLE):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / PICTURES, ignore_errors=True)

    def _recognise(self) -> RunRecord | None:
        """The record of an earlier part of the same run, None in a folder without results."""
        earlier = read_record(self.path)
        remedy = "choose another --out, or replace its results with --overwrite"
        if earlier is None:
            if any((self.path / name).exists() for name in (TABLE, PICTURES)):
                raise WrongUse("the folder holds results of another run", path=self.path, remedy=remedy)
            return None
        difference = earlier.difference(self._record)
        if difference is not None:
            words = f"the folder holds the results of another run ({difference})"
            raise WrongUse(words, path=self.path, remedy=remedy)
        return earlier

    def _read_table(self, earlier: RunRecord) -> dict[Key, list[Row]]:
        """Whole rows of the table so far, without the last file of a killed run, which may lack a knee."""
        try:
            text = (self.path / TABLE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        lines = text[: text.rfind("\n") + 1].split("\n")[:-1]
        if not lines:
            return {}
        table = csv.DictReader(lines)
        if tuple(table.fieldnames or ()) != self._names:
            raise WrongUse(
                "this is not a table of this run", path=self.path / TABLE, remedy="use --overwrite"
            )
        rows: dict[Key, list[Row]] = {}
        for entry in table:
            typed = {name: value for name, value in typed_row("grades", entry).items() if value is not None}
            rows.setdefault((entry["root"], entry["file"]), []).append(typed)
        if rows and earlier.finished is None:
            rows.popitem()
        return rows

    def is_complete(self, keys: list[Key]) -> bool:
        """Whether an earlier run has graded exactly these files, to the end."""
        return self.earlier_exit_code in (0, 1) and list(self.rows) == keys

    @property
    def earlier_exit_code(self) -> int | None:
        """How an earlier part of this run ended, None if it did not."""
        return self.earlier.exit_code if self.earlier else None

    def begin(self, kept: Iterable[Key]) -> None:
        """Write down which run this is, and the rows that are kept, in this order."""
        make_folder(self.path)
        for leftover in self.path.glob(".*.partial"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        self._record.save(self.path)
        seconds = (
            {(entry.root, entry.file): entry.seconds for entry in self.earlier.files} if self.earlier else {}
        )
        for key in kept:
            self._note(key, self.rows[key], seconds.get(key))
        self._write_whole(self._written)
        self._lines = Lines(self.path / TABLE, append=True)

    def add(self, key: Key, rows: list[Row], seconds: float) -> None:
        """Add the rows of one file, all or none of them."""
        if self._lines is None:
            raise RuntimeError("rows are added after begin()")
        text = "".join(map(self._line, rows))
        self._lines.append(text)
        self._note(key, rows, seconds)

    def _note(self, key: Key, rows: list[Row], seconds: float | None) -> None:
        self.ledger.note(key, rows, seconds)
        self._written[key] = "".join(map(self._line, rows))
        self._pictures |= {self.picture(key, row) for row in rows if row.get("knee")}

    def finish(self, exit_code: int, order: list[Key]) -> RunRecord:
        """Put the rows into the order of the files, remove pictures of others, and write the record.

        Args:
            exit_code: How the run ends.
            order: All files of the run.
        """
        if self._lines is not None:
            self._lines.close()
        done = [key for key in order if key in self._written]
        if done != list(self._written):
            self._write_whole({key: self._written[key] for key in done})
        if exit_code in (0, 1):
            for picture in (self.path / PICTURES).rglob("*.png"):
                if picture not in self._pictures:
                    picture.unlink()
        record = self.ledger.end(done, exit_code)
        record.save(self.path)
        return record

    def picture(self, key: Key, row: Row) -> Path:
        """Where the picture of a knee lies: named like the file, or by a hash where that cannot be."""
        root, file = key
        knee = f"knee{row['knee']}.png"
        parts = file.removeprefix("./").split("/")
        plain = not any(part in ("", ".", "..") or set(part) & set('\\:*?"<>|') for part in parts)
        if root:
            number = self._record.options.paths.index(root) + 1
            parts.insert(0, f"{number}-{re.sub(r'[^A-Za-z0-9_-]', '_', Path(root).name)[:40]}")
        parts[-1] = f"{parts[-1]}.{knee}"
        path = Path(self.path, PICTURES, *parts)
        sizes = [len(os.fsencode(part)) for part in parts]
        if plain and max(sizes) <= _LONGEST_NAME and sum(sizes) <= _LONGEST_PATH:
            taken = path.is_dir() or any(folder.is_file() for folder in path.parents)
            if not taken:
                return path
        digest = hashlib.sha256("\0".join(key).encode()).hexdigest()
        return self.path / PICTURES / f"{digest[:32]}.{knee}"

    def _line(self, row: Row) -> str:
        return csv_line(cell_text(row.get(name)) for name in self._names)

    def _write_whole(self, lines: Mapping[Key, str]) -> None:
        write_text(self.path / TABLE, csv_line(self._names) + "".join(lines.values()))
