"""What `kellgren grade` does with the files: keep what is graded already, grade the rest, write, show."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from kellgren.cli import terminal
from kellgren.cli.screen import Answer, count
from kellgren.errors import CannotWrite, KellgrenError, WrongUse
from kellgren.grade.batch import Outcome
from kellgren.parallel import in_order
from kellgren.read import Metadata, Source
from kellgren.read.isolated import IsolatedReader, memory_can_be_limited
from kellgren.report.folder import TABLE, RunFolder
from kellgren.report.picture import draw
from kellgren.report.record import RUN, Key, Ledger, RunRecord
from kellgren.report.table import Row, failed_row, graded_row, path_text
from kellgren.writing import make_folder, whole


class Run:
    """One run over the listed files: what is kept of an earlier part, what is graded now, and what is shown.

    Args:
        sources: The files.
        record: The run's record as it begins.
        folder: Where results go, if anywhere.
        keep_rows: Whether all rows are shown, as JSON.
    """

    def __init__(
        self, sources: dict[Key, Source], record: RunRecord, folder: RunFolder | None, *, keep_rows: bool
    ) -> None:
        self.sources = sources
        self.folder = folder
        self.ledger = Ledger(record) if folder is None else folder.ledger
        self.answer = Answer(keep_rows=keep_rows)
        self.kept: list[Key] = []

    def repeated(self, workers: int, *, explain: bool) -> int | None:
        """Take over what an earlier part of the run did; its exit code if nothing is left to do."""
        if self.folder is None:
            return None
        earlier = self.folder.rows
        candidates = [key for key in self.sources if key in earlier]
        same = in_order(lambda key: self._is_same(key, explain=explain), candidates, workers=workers)
        self.kept = [key for key, kept in zip(candidates, same, strict=True) if kept]
        for key in self.kept:
            self.answer.add(key, earlier[key])
        if len(self.kept) == len(self.sources) and self.folder.is_complete(list(self.sources)):
            for key in self.kept:
                self.ledger.note(key, earlier[key], None)
            terminal.say(f"nothing to do: {self.folder.path} already holds the results of this run")
            return self.folder.earlier_exit_code
        self.folder.begin(self.kept)
        changed, gone = len(candidates) - len(self.kept), len(earlier.keys() - self.sources.keys())
        if earlier:
            terminal.say(
                f"continuing: {len(self.kept)} of {count(len(self.sources), 'file')} already graded"
                + (f"; {changed} changed since, graded again" if changed else "")
                + (f"; {gone} no longer there, rows removed" if gone else "")
            )
        return None

    def _is_same(self, key: Key, *, explain: bool) -> bool:
        """Whether a file's content is the one that was graded, and its pictures are there."""
        folder = self.folder
        if folder is None:
            return False
        rows = folder.rows[key]
        if explain and not all(folder.picture(key, row).is_file() for row in rows if "knee" in row):
            return False
        try:
            digest = hashlib.sha256(self.sources[key].read_bytes()).hexdigest()
        except KellgrenError:
            digest = None
        return rows[0].get("image_sha256") == digest

    def open_sources(self) -> list[Source]:
        """The files that are graded now."""
        done = set(self.kept)
        return [source for key, source in self.sources.items() if key not in done]

    def grade(self, outcomes: Iterable[Outcome], title: str, *, explain: bool) -> int:
        """Take the outcomes as they come; the exit code, also of an interrupted run."""
        done = set(self.kept)
        keys = [key for key in self.sources if key not in done]
        code = terminal.INTERNAL
        try:
            for key, outcome in zip(keys, terminal.track(outcomes, len(keys), "grading"), strict=True):
                rows = _rows(outcome, key, title)
                if self.folder is None:
                    self.ledger.note(key, rows, outcome.seconds)
                else:
                    if explain:
                        _draw(outcome, key, rows, self.folder)
                    self.folder.add(key, rows, outcome.seconds)
                self.answer.add(key, rows)
            code = int(self.answer.statuses["failed"] > 0)
        except KeyboardInterrupt:
            code = terminal.INTERRUPTED
        except CannotWrite:
            code = terminal.WRONG_USE
            raise
        finally:
            if self.folder is not None:
                # where nothing can be written any more, the error in flight says so
                with (
                    contextlib.suppress(CannotWrite)
                    if code == terminal.WRONG_USE
                    else contextlib.nullcontext()
                ):
                    self.folder.finish(code, list(self.sources))
        return code

    def show(self, code: int, *, as_json: bool) -> None:
        """Print the answer, and say where the files are and what an interrupted run keeps."""
        if code == terminal.INTERRUPTED:
            self._tell_interrupted()
        if as_json:
            order = list(self.sources)
            run = self.ledger.end(order, code).model_dump(mode="json")
            terminal.document({"run": run, "rows": self.answer.rows_in(order)})
        elif code != terminal.INTERRUPTED:
            self.answer.show()
        if self.folder is not None and code != terminal.INTERRUPTED:
            terminal.say(f"-> {self.folder.path / TABLE}, {self.folder.path / RUN}")

    def _tell_interrupted(self) -> None:
        done = f"{self.answer.files} of {count(len(self.sources), 'file')} graded"
        if self.folder is None:
            terminal.error(f"kellgren: interrupted, {done}; nothing was written: there is no --out")
        else:
            kept = f"their rows are in {self.folder.path / TABLE}"
            terminal.error(f"kellgren: interrupted, {done}; {kept}. Run the same command again to continue.")


def refuse_missing(paths: Iterable[Path]) -> None:
    """A path that does not exist is wrong use, not a failed file."""
    for path in paths:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise WrongUse("there is no such file or folder", path=path) from None
        except OSError as error:
            raise WrongUse(f"it cannot be opened ({error.strerror})", path=path) from error


def by_key(sources: Iterable[Source]) -> dict[Key, Source]:
    """The files by root and file, as tables show them."""
    return {(path_text(source.root), path_text(source.file)): source for source in sources}


def isolated_reader() -> IsolatedReader:
    """A reader in processes of its own; says so where this platform cannot limit their memory."""
    if not memory_can_be_limited():
        terminal.say("--isolate: this platform cannot limit a process's memory; only its time is limited")
    return IsolatedReader()


def _rows(outcome: Outcome, key: Key, title: str) -> list[Row]:
    """The table rows of one file."""
    root, file = key
    if isinstance(outcome.result, KellgrenError):
        return [failed_row(outcome.result, file, title, root=root, sha256=outcome.sha256)]
    return [graded_row(knee, file, root=root, sha256=outcome.sha256) for knee in outcome.result]


def _draw(outcome: Outcome, key: Key, rows: list[Row], folder: RunFolder) -> None:
    """Draw the pictures of one file's knees, each whole or not at all."""
    if isinstance(outcome.result, KellgrenError):
        return
    for knee, row in zip(outcome.result, rows, strict=True):
        picture = folder.picture(key, row)
        make_folder(picture.parent)
        with whole(picture) as file:
            draw(knee).save(file, format="PNG")


def tell_matches(stated: Metadata, films: list[Path]) -> None:
    """How well the metadata table fits the films: a key that never matches would otherwise go unnoticed."""
    keys = [stated.key_of(film) for film in films]
    unused = len(stated.rows.keys() - set(keys))
    terminal.say(
        f"{stated.path}: {len(films) - keys.count(None)} of {len(films)} files have a row; "
        f"{unused} rows match no file; columns used: {', '.join(stated.columns)}"
    )
