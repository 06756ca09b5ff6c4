"""The command line in this process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from kellgren import cli


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capfd):
    """`kellgren ARGUMENTS...` as the console script runs it."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kellgren", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Answer(ended.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def start():
    """`kellgren ARGUMENTS...` in a process of its own, which a terminal's signals reach."""
    # A background job inherits an ignored SIGINT (POSIX 2.11); the test wants what a terminal gives.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from kellgren.cli import main; main()"
    )
    processes = []

    def run(*arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", program, *map(os.fsdecode, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
            **options,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
