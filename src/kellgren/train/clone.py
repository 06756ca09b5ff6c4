"""A run's own copy of the program: work on a source tree never reaches a training that is under way.

Modules are imported, and processes that read images are started, long after a training has begun. A run that
is started from a git checkout therefore goes on in `code/` in its run folder, and resumes there as well. To
resume with newer code, remove that folder.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import kellgren
from kellgren.errors import BadRecipe
from kellgren.train.run import COMMIT, commit
from kellgren.writing import make_folder, whole_folder, write_text

log = logging.getLogger(__name__)

CODE: Final = "code"
"""The copy's folder in the run folder."""

_WAIT: Final = 120.0
"""Seconds that other processes of a training wait for the first one's copy."""


def go_on(out: Path, command: Sequence[str], *, rank: int = 0) -> None:
    """Go on in the run's own copy of the program; returns only where there is nothing to do.

    Args:
        out: Run folder.
        command: Arguments of this process behind the program's name.
        rank: Which process of the training this is; the first makes the copy.

    Raises:
        BadRecipe: If the first process makes no copy.
        CannotWrite: If the copy cannot be made.
    """
    package, code = Path(kellgren.__file__).resolve().parent, (out / CODE).resolve()
    if package.parent == code or not (package.parents[1] / ".git").exists():
        return
    if rank:
        _wait_for(code)
    elif not code.is_dir():
        make_folder(out)
        with whole_folder(code) as partial:
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(package, partial / package.name, ignore=skipped)
            write_text(partial / COMMIT, f"{commit() or ''}\n")
    log.info("going on in the run's own copy of the program, %s", code)
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    arguments = [sys.executable, "-P", "-m", package.name, *command]
    if sys.platform == "win32":  # its exec returns to the shell at once
        sys.exit(subprocess.run(arguments, env=environment, check=False).returncode)  # noqa: S603
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - this program, from another folder


def _wait_for(code: Path) -> None:
    until = time.monotonic() + _WAIT
    while not code.is_dir():
        if time.monotonic() > until:
            raise BadRecipe("the first process has made no copy of the program", path=code)
        time.sleep(0.1)
