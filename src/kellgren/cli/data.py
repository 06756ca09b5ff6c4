"""`kellgren data import`, `data verify`, `data audit`, `data join-oarsi` and `data split`."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kellgren.data.audit import Audit

app = typer.Typer(help="Check data sets, and bring readings and images together.", add_completion=False)

_SHOWN = 12  # findings in the terminal; all are in the table and the JSON document


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a download.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Files at once; 0: one a processor.")] = 0,
) -> None:
    """Compare a download with the published single-knee data set, file by file.

    Exit code 0: every published image is there, unchanged; 1: something is missing, changed or extra.
    """
    from kellgren.cli import progress
    from kellgren.data import verify as verification
    from kellgren.parallel import processors

    result = verification.verify(
        folder,
        workers=workers or processors(),
        progress=lambda images, total: progress.track(images, total, "hashing"),
    )
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        for sentence in verification.sentences(result):
            typer.echo(sentence, err=True)
        odd = [image for image in result.images if image.state in ("wrong place", "renamed", "extra")]
        for image in odd[:_SHOWN]:
            typer.echo(f"  {image.state}: {image.file} {image.detail}".rstrip(), err=True)
        if len(odd) > _SHOWN:
            typer.echo(f"  and {len(odd) - _SHOWN} more (--json lists them)", err=True)
    raise typer.Exit(int(not result.complete))


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data set folder, in whatever layout.")],
    out: Annotated[Path | None, typer.Option(help="Table of findings (CSV).", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Images at once; 0: one a processor.")] = 0,
) -> None:
    """Find shared patients, copies in whatever disguise, and labels that contradict each other.

    Exit code 0: nothing was found; 1: something was.
    """
    from kellgren.cli import progress
    from kellgren.data import audit as auditing
    from kellgren.data import inventory
    from kellgren.parallel import processors
    from kellgren.report.table import TableWriter

    result = auditing.audit(
        inventory.take(folder),
        workers=workers or processors(),
        progress=lambda images, total: progress.track(images, total, "reading"),
    )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TableWriter(out, auditing.COLUMNS) as table:
            for finding in result.findings:
                table.write(finding.row())
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        _show(result, auditing.sentences(result))
    raise typer.Exit(int(not result.passed))


def _show(result: Audit, told: list[str]) -> None:
    """A table of the first findings and plain sentences, on stderr like all that is not the result itself."""
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True, width=max(Console(stderr=True).width, 150))
    alarming = [finding for finding in result.findings if finding.alarming]
    if alarming:
        table = Table(title=f"{len(alarming)} findings among {len(result.inventory.entries)} images")
        for name in ("kind", "across", "first", "second", "likeness", "detail"):
            table.add_column(name, overflow="fold")
        for finding in alarming[:_SHOWN]:
            row = finding.row()
            table.add_row(*(row[k] for k in ("kind", "across", "file1", "file2", "likeness", "detail")))
        console.print(table)
        if len(alarming) > _SHOWN:
            console.print(f"and {len(alarming) - _SHOWN} more (--out and --json list them)")
    for sentence in told:
        console.print(sentence)


@app.command("join-oarsi")
def join_oarsi(
    images: Annotated[Path, typer.Option(help="Folder of single-knee images named by id and side.")],
    out: Annotated[Path, typer.Option(help="The labels.csv to write.", dir_okay=False)],
    readings: Annotated[Path | None, typer.Option(help="OAI: kxr_sq_buNN.txt of one visit.")] = None,
    most: Annotated[Path | None, typer.Option(help="MOST: MOSTV01235XRAY.txt.")] = None,
    visit: Annotated[int, typer.Option(help="Visit of the MOST table: 0, 1, 2, 3 or 5.")] = 0,
    split: Annotated[str, typer.Option(help="Split of images whose folders name none.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Bring the official OAI and MOST readings to image names, and say what matched.

    Exit code 0: every image has its readings; 1: some have none, or readings contradict each other.
    """
    from kellgren.data import inventory, oarsi
    from kellgren.report.table import TableWriter

    if readings is None and most is None:
        raise typer.BadParameter("give a table of readings", param_hint="--readings or --most")
    tables = [oarsi.read_oai(readings)] if readings else []
    tables += [oarsi.read_most(most, visit)] if most else []
    joined = oarsi.join(inventory.take(images), tables, split=split)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TableWriter(out, oarsi.COLUMNS) as table:
        for row in joined.rows:
            table.write(row)
    if as_json:
        typer.echo(json.dumps(joined.to_dict()))
    else:
        for sentence in oarsi.sentences(joined):
            typer.echo(sentence, err=True)
        for note in joined.notes[:_SHOWN]:
            typer.echo(f"  {note.patient}{note.side} {note.task}: {note.words}", err=True)
        typer.echo(f"-> {out}", err=True)
    raise typer.Exit(int(not joined.whole))


@app.command()
def split(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Data set folder with labels.csv.", exists=True, file_okay=False),
    ],
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PARTS", help="Parts of a split. Repeatable; train=5 val=1 test=3 without."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=0, help="Folds of the train split; 0 for none.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another division.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Divide anew what is divided already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Divide a data set by patient, every split with the whole's mix of KL grades.

    Writes the column split of DIR/labels.csv, and DIR/folds.csv.
    """
    from kellgren.data import splitting

    given = [_share(text) for text in share or ()]
    if len(dict(given)) < len(given):
        raise typer.BadParameter("one split is given twice", param_hint="--share")
    shares = dict(given) or splitting.SHARES
    divided = splitting.split_folder(folder, shares=shares, folds=folds, seed=seed, again=again)
    document = divided.to_dict()
    if as_json:
        typer.echo(json.dumps(document))
        return
    for name, one in document["splits"].items():
        mix = ", ".join(f"KL {k}: {n}" for k, n in enumerate(one["KL"][:-1]))
        unread = f", not read: {one['KL'][-1]}" if one["KL"][-1] else ""
        typer.echo(f"{name}: {one['knees']} knees of {one['patients']} patients ({mix}{unread})", err=True)
    if document["folds"]:
        typer.echo(f"folds of train: {', '.join(map(str, document['folds']))} knees", err=True)


def _share(text: str) -> tuple[str, int]:
    """`train=5` as a pair."""
    from kellgren.data.folder import check_split
    from kellgren.errors import BadDataset

    name, _, parts = text.partition("=")
    if not parts.isdecimal() or not int(parts):
        raise typer.BadParameter(f"{text!r} is not NAME=PARTS", param_hint="--share")
    try:
        check_split(name, Path(), 1)
    except BadDataset as error:
        raise typer.BadParameter(f"split {name!r}: {error.remedy}", param_hint="--share") from error
    return name, int(parts)


class Source(enum.StrEnum):
    """What is imported."""

    mendeley = "mendeley"
    kaggle = "kaggle"
    oai = "oai"


@app.command("import")
def import_(
    kind: Annotated[Source, typer.Argument(metavar="KIND", help="mendeley, kaggle or oai.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The download: a folder, or a zip of crops.")],
    out: Annotated[Path, typer.Option(help="Folder to fill.", file_okay=False)],
    size: Annotated[int | None, typer.Option(help="224 or 299, where the archive holds both.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Bring a download into a folder that kellgren works on: no re-encoding, never auto_test.

    Doing it again adds what is missing.
    """
    from dataclasses import asdict

    from kellgren.data import imports

    if kind is Source.oai:
        done = imports.import_oai_films(source, out, link=link)
    else:
        done = imports.import_crops(source, out, size=size, link=link)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    typer.echo(f"{done.added} files added, {done.there} were there -> {out}", err=True)
    for reason, number in done.left_out.items():
        typer.echo(f"{number} left out: {reason}", err=True)
