"""Many files: graded in parallel, returned in order; a bad file never stops the rest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kellgren.errors import KellgrenError
from kellgren.grade.assessment import Assessment
from kellgren.grade.grader import Grader
from kellgren.grade.side import Layout
from kellgren.locate import InputKind
from kellgren.parallel import in_order
from kellgren.read import Listing, Metadata, Source, list_images


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        item: The file.
        sha256: Of its bytes; None if they could not be read.
        result: Its assessments, or why there are none.
        seconds: Time from opening the file to the last grade.
    """

    item: Source
    sha256: str | None
    result: list[Assessment] | KellgrenError
    seconds: float


def find(paths: Iterable[Path]) -> Listing:
    """Every file that the arguments name, in folders and archives too, and how many were skipped."""
    return list_images(paths)


def grade_all(
    grader: Grader,
    items: Iterable[Source],
    *,
    workers: int,
    input: InputKind = "auto",  # noqa: A002 - the contract's word
    side: str | None = None,
    metadata: Metadata | None = None,
    layout: Layout = "auto",
    explain: bool = False,
) -> Iterator[Outcome]:
    """Grade files in `workers` threads; outcomes come in the order of the items.

    At most a few files per worker are in memory, however long the list.

    Args:
        grader: With a network that uses one thread where there are several workers.
        items: What to grade.
        workers: Number of threads.
        input: As in `Grader.grade`.
        side: As in `Grader.grade`, for every file.
        metadata: Table of what the user states about the files.
        layout: As in `Grader.grade`.
        explain: As in `Grader.grade`.
    """

    def grade_file(item: Source) -> Outcome:
        started = time.perf_counter()
        sha256 = None
        try:
            data = item.read_bytes(grader.limits)
            sha256 = hashlib.sha256(data).hexdigest()
            result: list[Assessment] | KellgrenError = grader.grade_bytes(
                data, item.path, input=input, side=side, metadata=metadata, layout=layout, explain=explain
            )
        except KellgrenError as error:
            result = error
        return Outcome(item, sha256, result, time.perf_counter() - started)

    return in_order(grade_file, items, workers=workers)
