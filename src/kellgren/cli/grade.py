"""`kellgren grade`."""

from __future__ import annotations

import contextlib
import enum
import hashlib
from pathlib import Path
from typing import Annotated

import typer

from kellgren.cli import terminal


class InputKind(enum.StrEnum):
    """What the images show."""

    auto = "auto"
    film = "film"
    crop = "crop"


class Layout(enum.StrEnum):
    """How two knees lie on a film."""

    auto = "auto"
    standard = "standard"
    mirrored = "mirrored"


class SideOption(enum.StrEnum):
    """The side that the user states."""

    R = "R"
    L = "L"


def grade(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Image files, zip archives, or folders of them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Also write grades.csv and run.json to this folder.",
            file_okay=False,
        ),
    ] = None,
    model: terminal.Model = None,
    input: Annotated[  # noqa: A002 - the contract's word
        InputKind, typer.Option(help="Crops of one joint, whole films, or decide for each image.")
    ] = InputKind.auto,
    side: Annotated[SideOption | None, typer.Option(help="Every image shows this knee.")] = None,
    layout: Annotated[
        Layout,
        typer.Option(help="Two knees on a film: right knee on the image's left (standard), or mirrored."),
    ] = Layout.auto,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="What you know about the films: side, spacing, frame, view.", dir_okay=False
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also draw the evidence for each grade (needs --out).")
    ] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Decode each file in a process with limited memory and time.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of another run in the output folder.")
    ] = False,
    workers: terminal.Workers = None,
    as_json: terminal.Json = False,
) -> None:
    """Grade knee radiographs.

    Prints one row per knee, or the counts where there are many. With --out, the same command continues where
    it stopped. Exit code 0: all graded; 1: some not graded.
    """
    from kellgren.cli import grade_run
    from kellgren.errors import printable
    from kellgren.grade import batch
    from kellgren.grade.grader import Grader
    from kellgren.model import bundle
    from kellgren.parallel import processors
    from kellgren.read import read_bytes, read_metadata
    from kellgren.report.folder import RunFolder
    from kellgren.report.record import Options, RunRecord
    from kellgren.report.table import columns, path_text
    from kellgren.writing import locked

    if explain and out is None:
        raise typer.BadParameter("pictures are files: give --out as well", param_hint="--explain")
    grade_run.refuse_missing(paths)
    stated = read_metadata(metadata) if metadata else None
    if side and stated and "side" in stated.columns:
        raise typer.BadParameter(f"{metadata} has a column side as well", param_hint="--side")
    count = workers or processors()
    listing = batch.find(paths)
    if not listing.sources:
        skipped = f" ({listing.sentence()})" if listing.skipped else ""
        raise typer.BadParameter(f"no image files found{skipped}", param_hint="PATH")
    if listing.skipped:
        terminal.say(listing.sentence())
    if stated:
        stated.check_sources(listing.sources)
        grade_run.tell_matches(stated, [source.path for source in listing.sources])
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminal.libraries_silenced())
        reader = stack.enter_context(contextlib.closing(grade_run.isolated_reader())) if isolate else None
        grader = Grader(
            bundle.load(model or bundle.DEFAULT),
            threads=max(1, processors() // count),
            reader=reader.read_bytes if reader else read_bytes,
        )
        if explain and not grader.model.explains:
            raise typer.BadParameter(f"{grader.title} has no activation maps", param_hint="--explain")
        options = Options(
            paths=tuple(path_text(str(path)) for path in paths),
            model=printable(model or bundle.DEFAULT),
            input=input.value,
            side=side.value if side else None,
            layout=layout.value,
            metadata=printable(str(metadata)) if metadata else None,
            metadata_sha256=hashlib.sha256(metadata.read_bytes()).hexdigest() if metadata else None,
            explain=explain,
            isolate=isolate,
            workers=count,
        )
        record = RunRecord.begin(grader.versions(), options, listing.skipped)
        folder = None
        if out is not None:
            stack.enter_context(locked(out))
            folder = RunFolder(out, record, columns(grader.model.card.tasks), overwrite=overwrite)
        run = grade_run.Run(grade_run.by_key(listing.sources), record, folder, keep_rows=as_json)
        code = run.repeated(count, explain=explain)
        if code is None:
            outcomes = batch.grade_all(
                grader,
                run.open_sources(),
                workers=count,
                input=input.value,
                side=side.value if side else None,
                layout=layout.value,
                metadata=stated,
                explain=explain,
            )
            code = run.grade(outcomes, grader.title, explain=explain)
        run.show(code, as_json=as_json)
    raise typer.Exit(code)
