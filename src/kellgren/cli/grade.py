"""`kellgren grade`."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from kellgren.grade.batch import Outcome
    from kellgren.grade.grader import Grader
    from kellgren.read import Metadata
    from kellgren.read.isolated import IsolatedReader
    from kellgren.report.record import RunRecord
    from kellgren.report.table import Row


_LONGEST_PART: Final = 200


class InputKind(enum.StrEnum):
    """What the images are."""

    auto = "auto"
    film = "film"
    crop = "crop"


class SideOption(enum.StrEnum):
    """The user's word on the side."""

    R = "R"
    L = "L"


def grade(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for grades.csv and run.json.", file_okay=False)],
    model: Annotated[str, typer.Option(help="Packaged bundle, or a bundle's folder or zip.")] = "joint",
    input: Annotated[  # noqa: A002 - the contract's word
        InputKind, typer.Option(help="One joint a picture, whole films, or tell by itself.")
    ] = InputKind.auto,
    side: Annotated[SideOption | None, typer.Option(help="All images show this knee.")] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="CSV of what you know of the films: side, spacing, frame, view.", dir_okay=False),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also draw what the grade rests on.")] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Read each file in a process with bounded memory and time.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Files at once; 0: one a processor.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Grade knee radiographs: one row a knee in OUT/grades.csv, and OUT/run.json.

    A file that cannot be graded is a row with a reason. Exit code 0: all graded; 1: some not.
    """
    from kellgren.cli import progress
    from kellgren.errors import printable
    from kellgren.grade import batch
    from kellgren.grade.grader import Grader
    from kellgren.model import bundle
    from kellgren.parallel import processors
    from kellgren.read import read_bytes, read_metadata
    from kellgren.report.record import RunRecord
    from kellgren.report.table import TableWriter, columns
    from kellgren.writing import write_json

    stated = read_metadata(metadata) if metadata else None
    if side and stated and "side" in stated.columns:
        raise typer.BadParameter(f"{metadata} has a column side", param_hint="--side")
    count = workers or processors()
    opened = bundle.load(model)
    reader = _isolated() if isolate else None
    read = reader.read_bytes if reader else read_bytes
    grader = Grader(opened, threads=max(1, processors() // count), reader=read)
    if explain and not grader.model.explains:
        raise typer.BadParameter(f"{grader.title} has no maps to draw", param_hint="--explain")
    listing = batch.find(paths)
    items = listing.sources
    if not items:
        skipped = f"; {listing.sentence()}" if listing.skipped else ""
        raise typer.BadParameter(f"no files found{skipped}", param_hint="PATH")
    if stated:
        stated.check_sources(items)
    out.mkdir(parents=True, exist_ok=True)
    options = {
        "paths": [printable(str(p)) for p in paths],
        "model": model,
        "input": input.value,
        "side": side.value if side else None,
        "metadata": str(metadata) if metadata else None,
        "explain": explain,
        "isolate": isolate,
        "workers": count,
    }
    record, rows, exit_code = RunRecord(grader.versions(), options), [], 1
    try:
        with TableWriter(out / "grades.csv", columns(opened.card.tasks)) as table:
            outcomes = batch.grade_all(
                grader,
                items,
                workers=count,
                input=input.value,
                side=side.value if side else None,
                metadata=stated,
                explain=explain,
            )
            for outcome in progress.track(outcomes, len(items), "grading"):
                for row in _rows(outcome, grader, record):
                    table.write(row)
                    rows.append(row if as_json else {"status": row["status"]})
                if explain:
                    _draw(outcome, out / "explain")
        exit_code = int(record.counts()["failed"] > 0)
    except KeyboardInterrupt:
        exit_code = 130
        raise
    finally:
        write_json(out / "run.json", record.to_dict(exit_code))
        if reader:
            reader.close()
    if stated:
        _tell_matches(stated, [item.path for item in items])
    _summarise(record, out, rows if as_json else None, exit_code)
    raise typer.Exit(exit_code)


def _isolated() -> IsolatedReader:
    """A reader in processes of its own; says so where this platform cannot bound their memory."""
    from kellgren.read.isolated import IsolatedReader, memory_can_be_limited

    if not memory_can_be_limited():
        typer.echo("--isolate: this platform cannot limit the memory of a process; time is limited", err=True)
    return IsolatedReader()


def _rows(outcome: Outcome, grader: Grader, record: RunRecord) -> list[Row]:
    """The table rows of one file, noted in the run record."""
    from kellgren.errors import KellgrenError
    from kellgren.report.table import failed_row, graded_row

    item = outcome.item
    if isinstance(outcome.result, KellgrenError):
        record.add(outcome.item.file, ["failed"], outcome.result.reason, outcome.seconds)
        return [failed_row(outcome.result, item.file, grader.title, root=item.root, sha256=outcome.sha256)]
    reasons = "; ".join(knee.reason for knee in outcome.result if knee.refer)
    statuses = [knee.status for knee in outcome.result]
    notes = "; ".join(dict.fromkeys(note for knee in outcome.result for note in knee.notes))
    record.add(item.file, statuses, reasons or None, outcome.seconds, notes=notes or None)
    return [graded_row(knee, item.file, root=item.root, sha256=outcome.sha256) for knee in outcome.result]


def _draw(outcome: Outcome, folder: Path) -> None:
    from kellgren.errors import KellgrenError
    from kellgren.report.picture import draw

    if isinstance(outcome.result, KellgrenError):
        return
    for knee in outcome.result:
        parts = [
            part[:_LONGEST_PART] for part in outcome.item.file.split("/")
        ]  # names in archives may be longer
        picture = folder.joinpath(*parts[:-1], f"{parts[-1]}.knee{knee.knee}.png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(knee).save(picture)


def _tell_matches(stated: Metadata, films: list[Path]) -> None:
    """How far the metadata table and the films go together: a key that never fits is silent otherwise."""
    found = [stated.key_of(film) for film in films]
    unused = len(stated.rows.keys() - set(found))
    typer.echo(
        f"{stated.path}: {len(films) - found.count(None)} of {len(films)} files have a row; "
        f"{unused} rows are about no file; used columns: {', '.join(stated.columns)}",
        err=True,
    )


def _summarise(record: RunRecord, out: Path, rows: list[Row] | None, exit_code: int) -> None:
    if rows is not None:
        document: dict[str, Any] = {"run": record.to_dict(exit_code), "rows": rows}
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    counts = record.counts()
    total = sum(counts.values())
    typer.echo(
        f"{total} knees: {counts['graded']} graded, {counts['refer']} for a person to read, "
        f"{counts['failed']} not graded -> {out / 'grades.csv'}",
        err=True,
    )
    for entry in record.files:
        if entry["status"] == "failed":
            typer.echo(f"  not graded: {entry['file']}: {entry['reason']}", err=True)
