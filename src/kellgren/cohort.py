"""Many files: graded side by side, handed back in order, one bad file never stopping the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kellgren.errors import KellgrenError
from kellgren.grade import Assessment, Grader, InputKind
from kellgren.parallel import in_order
from kellgren.read import find_images
from kellgren.vocabulary import Side


@dataclass(frozen=True, slots=True)
class Item:
    """One file to grade.

    Attributes:
        path: Where it is.
        file: How tables call it: relative to the argument it came from.
    """

    path: Path
    file: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        item: The file.
        result: Its assessments, or why there are none.
        seconds: Time from opening the file to the last grade.
    """

    item: Item
    result: list[Assessment] | KellgrenError
    seconds: float


def find(paths: Iterable[Path]) -> Iterator[Item]:
    """Every file that the arguments name: files as they are, folders walked in sorted order."""
    for path in paths:
        for image in find_images(path):
            shown = image.relative_to(path).as_posix() if path.is_dir() else path.name
            yield Item(image, shown)


def grade_all(
    grader: Grader,
    items: Iterable[Item],
    *,
    workers: int,
    input: InputKind = "auto",  # noqa: A002 - the contract's word
    side: Side | None = None,
    explain: bool = False,
) -> Iterator[Outcome]:
    """Grade files in `workers` threads; outcomes come in the order of the items.

    At most a few files a worker are in memory, however long the list.

    Args:
        grader: With a network that uses one thread where there are several workers.
        items: What to grade.
        workers: How many files at once.
        input: As in `Grader.grade`.
        side: As in `Grader.grade`, for every file.
        explain: As in `Grader.grade`.
    """

    def one(item: Item) -> Outcome:
        started = time.perf_counter()
        try:
            result: list[Assessment] | KellgrenError = grader.grade(
                item.path, input=input, side=side, explain=explain
            )
        except KellgrenError as error:
            result = error
        return Outcome(item, result, time.perf_counter() - started)

    return in_order(one, items, workers=workers)
