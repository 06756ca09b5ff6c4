"""The command line: parse, call one function, show. Heavy imports wait until a command needs them."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from kellgren._version import __version__
from kellgren.cli import data, doctor, evaluate, grade, models, simulate, study, terminal, train

app = typer.Typer(
    name="kellgren",
    help="Grade knee osteoarthritis from radiographs: Kellgren-Lawrence grade and OARSI features, with "
    "calibrated probabilities, and a reason wherever a person must read the image.",
    epilog="Research software: a person decides.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
terminal.command(app, "grade")(grade.grade)
terminal.command(app, "evaluate")(evaluate.evaluate)
terminal.command(app, "train")(train.train)
app.add_typer(study.app, name="study")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
terminal.command(app, "simulate")(simulate.simulate)
terminal.command(app, "doctor")(doctor.doctor)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"kellgren {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, terminal.VERBOSE] = False,
    quiet: Annotated[bool, terminal.QUIET] = False,
) -> None:
    """Options before the command."""
    del version
    terminal.prepare()
    terminal.verbosity(verbose, quiet)


def main() -> NoReturn:
    """Entry point of the `kellgren` command; exit codes as in docs/reference/command-line.md."""
    signal.signal(signal.SIGTERM, _terminate)
    code = terminal.OK
    try:
        with terminal.explained():
            app(obj=tuple(sys.argv[1:]))
    except typer.Exit as end:
        code = end.exit_code
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a run as Ctrl-C does: whole rows are kept."""
    del number, frame
    raise KeyboardInterrupt
