"""The command line: parse, call one function, show. Heavy imports wait until a command needs them."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from kellgren._version import __version__
from kellgren.cli import bundle, data, doctor, evaluate, grade, models, simulate, study, train
from kellgren.errors import KellgrenError

OK, SOME_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="kellgren",
    help="Grade knee osteoarthritis from radiographs: KL, OARSI features, calibrated, with reasons to refer.",
    epilog="Research software: a person decides. Docs: tutorial, how-to, explanation and reference in docs/.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("grade")(grade.grade)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.command("simulate")(simulate.simulate)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(bundle.app, name="bundle")
app.add_typer(study.app, name="study")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"kellgren {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_show_version, is_eager=True
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log more to stderr."),
) -> None:
    """Options before the command."""
    del version
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    # What a decoder says about a damaged file is in that file's reason; pydicom logs it with a traceback.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def main() -> NoReturn:
    """Entry point of the `kellgren` command; exit codes as in the contract."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(standalone_mode=True)
    except KellgrenError as error:
        typer.echo(f"kellgren: {error}", err=True)
        sys.exit(WRONG_USE)
    except KeyboardInterrupt:
        typer.echo("kellgren: interrupted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(OK)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a run as Ctrl-C does: whole rows are kept."""
    del number, frame
    raise KeyboardInterrupt
