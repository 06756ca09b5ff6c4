"""What all commands share: -v and -q, where things are said, and how errors end a command.

Answers go to stdout; progress, remarks, warnings and errors to stderr. Text is escaped on its way out: no
file name moves the cursor.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar, cast

import typer
from typer.core import TyperArgument, TyperCommand

from kellgren._version import __version__
from kellgren.errors import CannotWrite, KellgrenError, printable

Item = TypeVar("Item")

OK: Final = 0
NOT_ALL: Final = 1
WRONG_USE: Final = 2
INTERNAL: Final = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED: Final = 130

_PACKAGE: Final = Path(__file__).parents[1]
_PLAIN_WIDTH: Final = 160  # columns of a table where stdout is a file or a pipe


class _Voice:
    """How much the command says on stderr."""

    quiet = False


def verbosity(verbose: bool, quiet: bool) -> None:
    """Apply -v and -q, given before or after the command."""
    if verbose:
        logging.getLogger("kellgren").setLevel(logging.INFO)
    if quiet:
        _Voice.quiet = True
        logging.getLogger("kellgren").setLevel(logging.ERROR)


VERBOSE: Final = typer.Option("--verbose", "-v", help="Log more to stderr.")
QUIET: Final = typer.Option("--quiet", "-q", help="Only errors on stderr: no progress, no remarks.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def at_least(smallest: int) -> Callable[[int | None], int | None]:
    """A check of an option's number, whose help shows no formula."""

    def check(value: int | None) -> int | None:
        if value is not None and value < smallest:
            raise typer.BadParameter(f"{value} is less than {smallest}.")
        return value

    return check


Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N", callback=at_least(1), help="How many to work on at once; one per processor by default."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Name of a packaged bundle, or path of a bundle's folder or zip."),
]


class _Log(logging.Handler):
    """The package's log, on whatever stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        error(f"{prefix}{record.getMessage()}")


def prepare() -> None:
    """Begin a command: the package's own log on stderr, and no library's, which may quote a header."""
    _Voice.quiet = False
    log = logging.getLogger("kellgren")
    log.handlers[:] = [_Log()]
    log.setLevel(logging.WARNING)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("pydicom").propagate = False
    warnings.simplefilter("ignore")


class _Argument(TyperArgument):
    """An argument whose help shows its name, not the type in the program."""

    def display_type_rich(self, ctx: object) -> None:
        """Nothing: the name and the help say it."""
        del ctx

    def get_usage_pieces(self, ctx: object) -> list[str]:
        """The name as it is typed."""
        del ctx
        name = self.metavar or str(self.name).upper()
        return [name if self.required else f"[{name}]"]


class _Command(TyperCommand):
    def get_params(self, ctx: object) -> list[Any]:
        """The parameters, arguments among them in plain form."""
        parameters: list[Any] = super().get_params(cast("typer.Context", ctx))
        for parameter in parameters:
            if isinstance(parameter, TyperArgument):
                parameter.__class__ = _Argument
        return parameters


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command that takes -v and -q, its errors turned into words and a code."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        shared = {
            "verbose": inspect.Parameter(
                "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, VERBOSE]
            ),
            "quiet": inspect.Parameter(
                "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, QUIET]
            ),
        }

        def run(*, verbose: bool, quiet: bool, **arguments: object) -> None:
            verbosity(verbose, quiet)
            with explained():
                function(**arguments)

        parameters = {**signature.parameters, **shared}
        run.__dict__["__signature__"] = signature.replace(parameters=list(parameters.values()))
        run.__annotations__ = {key: value.annotation for key, value in parameters.items()}
        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        app.command(name, cls=_Command)(run)
        return function

    return register


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn whatever a command raises into one line on stderr and an exit code; no traceback leaves it."""
    try:
        yield
        sys.stdout.flush()
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KellgrenError as cause:
        _stop(str(cause), WRONG_USE)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except BrokenPipeError:  # nobody reads the answer any more, which is no failure
        _discard_stdout()
    except MemoryError:
        _stop("out of memory; fewer --workers need less", WRONG_USE)
    except Exception as cause:  # noqa: BLE001 - the last net: its message may hold what a header says
        _stop(_internal(cause), INTERNAL)


def _internal(cause: Exception) -> str:
    """An unforeseen error without its message: what and where, not whose."""
    place = next(
        (
            f"{Path(frame.filename).relative_to(_PACKAGE.parent).as_posix()}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(cause.__traceback__))
            if Path(frame.filename).is_relative_to(_PACKAGE)
        ),
        "an unknown place",
    )
    return (
        f"internal error: {type(cause).__name__} at {place}, kellgren {__version__}. "
        "This is a bug; please report this line and the command."
    )


def _stop(words: str, code: int) -> NoReturn:
    error(f"kellgren: {words}")
    raise typer.Exit(code) from None


def _discard_stdout() -> None:
    """Nobody reads stdout any more: what is left in its buffer must not fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def error(text: str) -> None:
    """Say on stderr what is wrong."""
    typer.echo(_shown(text), err=True)


def say(text: str) -> None:
    """A remark on stderr, which -q leaves out."""
    if not _Voice.quiet:
        error(text)


def answer(text: str) -> None:
    """A line of the answer on stdout; none if nobody reads it any more.

    Raises:
        CannotWrite: If stdout is a file on a full disk.
    """
    _print(_shown(text))


def _print(text: str) -> None:
    try:
        typer.echo(text)
    except BrokenPipeError:
        _discard_stdout()
    except OSError as cause:
        _discard_stdout()
        raise CannotWrite.because(cause, "standard output") from cause


def document(value: object) -> None:
    """The answer as one JSON document on stdout."""
    answer(json.dumps(value, ensure_ascii=False))


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], *, right: str = "") -> None:
    """A table on stdout, as wide as the terminal, or 160 characters where there is none.

    Args:
        title: Its heading.
        columns: Headings of the columns.
        rows: Their text.
        right: Names of the columns that hold figures, separated by spaces.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    shown = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, justify="right" if name in right.split() else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_shown(cell)) for cell in row))
    with console.capture() as text:
        console.print(shown)
    _print("\n".join(line.rstrip() for line in text.get().splitlines()).strip("\n"))


def track(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """The same items, with a bar, a count and the time left on stderr if it is a terminal."""
    if _Voice.quiet or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    )
    with bar:
        yield from bar.track(items, total=total, description=description)


def _stderr_is_the_process_own() -> bool:
    """Whether Python's stderr is descriptor 2: under a test runner it may be none."""
    try:
        return sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def libraries_silenced() -> Iterator[None]:
    """Keep native libraries (libtiff, OpenJPEG, OpenCV) off stderr: a file's reason says what is wrong."""
    if not _stderr_is_the_process_own():
        yield
        return
    before, own = sys.stderr, os.dup(2)
    before.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        with os.fdopen(
            os.dup(own), "w", buffering=1, encoding=before.encoding, errors="backslashreplace"
        ) as kept:
            sys.stderr = kept
            yield
    finally:
        sys.stderr = before
        os.dup2(own, 2)
        os.close(own)
