"""`kellgren data import`, `data verify`, `data audit`, `data join-oarsi` and `data split`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kellgren.cli import terminal

if TYPE_CHECKING:
    from kellgren.data.audit import Audit

app = typer.Typer(
    help="Import, check and split data sets, and join readings to images.",
    add_completion=False,
    no_args_is_help=True,
)

_SHOWN = 12  # findings in the terminal; all are in the table and the JSON document


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the download.")],
    as_json: terminal.Json = False,
    workers: terminal.Workers = None,
) -> None:
    """Compare a download with the published single-knee data set, file by file.

    Exit code 1: something is missing, changed or extra.
    """
    from kellgren.data import verify as verification
    from kellgren.parallel import processors

    result = verification.verify(
        folder,
        workers=workers or processors(),
        progress=lambda images, total: terminal.track(images, total, "hashing"),
    )
    if as_json:
        terminal.document(result.to_dict())
    else:
        for sentence in verification.sentences(result):
            terminal.say(sentence)
        odd = [image for image in result.images if image.state in ("wrong place", "renamed", "extra")]
        for image in odd[:_SHOWN]:
            terminal.say(f"  {image.state}: {image.file} {image.detail}".rstrip())
        if len(odd) > _SHOWN:
            terminal.say(f"  and {len(odd) - _SHOWN} more (--json lists them)")
    raise typer.Exit(int(not result.complete))


def audit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data set folder in any layout.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Table of the findings.", dir_okay=False)
    ] = None,
    as_json: terminal.Json = False,
    workers: terminal.Workers = None,
) -> None:
    """Find patients in several splits, copies in any disguise, and labels that contradict each other.

    Exit code 1: something was found.
    """
    from kellgren.data import audit as auditing
    from kellgren.data import inventory
    from kellgren.parallel import processors
    from kellgren.report.table import write_table
    from kellgren.writing import make_folder

    result = auditing.audit(
        inventory.take(folder),
        workers=workers or processors(),
        progress=lambda images, total: terminal.track(images, total, "reading"),
    )
    if out is not None:
        make_folder(out.parent)
        write_table(out, auditing.COLUMNS, (finding.row() for finding in result.findings))
    if as_json:
        terminal.document(result.to_dict())
    else:
        _show(result, auditing.sentences(result))
    raise typer.Exit(int(not result.passed))


def _show(result: Audit, told: list[str]) -> None:
    """Print the first findings, and plain sentences about all."""
    alarming = [finding.row() for finding in result.findings if finding.alarming]
    if alarming:
        columns = ("kind", "across", "file1", "file2", "likeness", "detail")
        title = f"{len(alarming)} findings among {len(result.inventory.entries)} images"
        rows = [[str(row[name]) for name in columns] for row in alarming[:_SHOWN]]
        terminal.table(title, columns, rows, right="likeness")
        if len(alarming) > _SHOWN:
            terminal.answer(f"and {len(alarming) - _SHOWN} more (--out and --json list them)")
    for sentence in told:
        terminal.answer(sentence)


def join_oarsi(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of single-knee images named by patient ID and side.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="CSV", help="The labels.csv to write.", dir_okay=False)
    ],
    readings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="OAI readings: kxr_sq_buNN.txt of one visit.")
    ] = None,
    most: Annotated[
        Path | None, typer.Option(metavar="FILE", help="MOST readings: MOSTV01235XRAY.txt.")
    ] = None,
    visit: Annotated[int, typer.Option(metavar="N", help="Visit in the MOST table: 0, 1, 2, 3 or 5.")] = 0,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Split of images whose folders name none.")
    ] = "all",
    as_json: terminal.Json = False,
) -> None:
    """Join the official OAI and MOST readings to images by name, and say what matched.

    Exit code 1: some images have no readings, or readings contradict each other.
    """
    from kellgren.data import inventory, oarsi
    from kellgren.report.table import write_table
    from kellgren.writing import make_folder

    if readings is None and most is None:
        raise typer.BadParameter("give a table of readings", param_hint="--readings or --most")
    tables = [oarsi.read_oai(readings)] if readings else []
    tables += [oarsi.read_most(most, visit)] if most else []
    joined = oarsi.join(inventory.take(images), tables, split=split)
    make_folder(out.parent)
    write_table(out, oarsi.COLUMNS, joined.rows)
    if as_json:
        terminal.document(joined.to_dict())
    else:
        for sentence in oarsi.sentences(joined):
            terminal.say(sentence)
        for note in joined.notes[:_SHOWN]:
            terminal.say(f"  {note.patient}{note.side} {note.task}: {note.words}")
        terminal.say(f"-> {out}")
    raise typer.Exit(int(not joined.whole))


def split(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Data set folder with labels.csv.", exists=True, file_okay=False),
    ],
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PARTS", help="Share of a split; repeatable. Default: train=5 val=1 test=3."
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            metavar="N", callback=terminal.at_least(0), help="Folds of the train split; 0 for none."
        ),
    ] = 5,
    seed: Annotated[
        int,
        typer.Option(metavar="N", callback=terminal.at_least(0), help="Another seed divides differently."),
    ] = 0,
    again: Annotated[bool, typer.Option("--again", help="Divide again what is divided already.")] = False,
    as_json: terminal.Json = False,
) -> None:
    """Divide a data set by patient, each split with the mix of KL grades of the whole.

    Writes the column split of DIR/labels.csv, and DIR/folds.csv.
    """
    from kellgren.data import splitting

    given = [_share(text) for text in share or ()]
    if len(dict(given)) < len(given):
        raise typer.BadParameter("a split is given twice", param_hint="--share")
    shares = dict(given) or splitting.SHARES
    divided = splitting.split_folder(folder, shares=shares, folds=folds, seed=seed, again=again)
    document = divided.to_dict()
    if as_json:
        terminal.document(document)
        return
    for name, one in document["splits"].items():
        mix = ", ".join(f"KL {k}: {n}" for k, n in enumerate(one["KL"][:-1]))
        unread = f", not read: {one['KL'][-1]}" if one["KL"][-1] else ""
        terminal.say(f"{name}: {one['knees']} knees of {one['patients']} patients ({mix}{unread})")
    if document["folds"]:
        terminal.say(f"folds of train: {', '.join(map(str, document['folds']))} knees")


def _share(text: str) -> tuple[str, int]:
    """`train=5` as a pair."""
    from kellgren.data.folder import check_split
    from kellgren.errors import BadDataset

    name, _, parts = text.partition("=")
    if not parts.isdecimal() or not int(parts):
        raise typer.BadParameter(f"{text!r} is not NAME=PARTS", param_hint="--share")
    try:
        check_split(name)
    except BadDataset as error:
        raise typer.BadParameter(f"split {name!r}: {error.remedy}", param_hint="--share") from error
    return name, int(parts)


class Source(enum.StrEnum):
    """What is imported."""

    mendeley = "mendeley"
    kaggle = "kaggle"
    oai = "oai"


def import_(
    kind: Annotated[Source, typer.Argument(help="Which data set it is.")],
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="The download: a folder, or a zip archive of crops.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to fill.", file_okay=False)],
    size: Annotated[
        int | None, typer.Option(metavar="224|299", help="Image size, where the archive holds both.")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Make hard links instead of copies.")] = False,
    as_json: terminal.Json = False,
) -> None:
    """Import a download into a data set folder, byte for byte and without auto_test.

    Running it again adds what is missing.
    """
    from dataclasses import asdict

    from kellgren.data import imports

    if kind is Source.oai:
        done = imports.import_oai_films(source, out, link=link)
    else:
        done = imports.import_crops(source, out, size=size, link=link)
    if as_json:
        terminal.document(asdict(done))
        return
    terminal.say(f"{done.added} files added, {done.there} were there already -> {out}")
    for reason, number in done.left_out.items():
        terminal.say(f"{number} left out: {reason}")


terminal.command(app, "import")(import_)
terminal.command(app)(verify)
terminal.command(app)(audit)
terminal.command(app, "join-oarsi")(join_oarsi)
terminal.command(app)(split)
