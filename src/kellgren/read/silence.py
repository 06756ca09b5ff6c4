"""Libraries that print what files hold: names and birth dates in warnings, tracebacks and lines on stderr.

What they have to say of a damaged file is in that file's reason.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import PIL._imaging
import pydicom  # noqa: F401 - sets the level of its logger on import: it must be silenced afterwards

_LOCK = threading.Lock()


def libraries() -> None:
    """Let loggers and warnings of pydicom, its plug-ins and Pillow reach nobody, and OpenCV print nothing."""
    for name in ("pydicom", "pylibjpeg", "openjpeg", "PIL"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|PIL)\b")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for path in _libtiffs():
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))  # the one that is loaded already
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)


def _libtiffs() -> set[Path]:
    """Where Pillow's libtiff is loaded from; it prints a line for each error and each warning.

    None on Windows, where it is part of Pillow itself.
    """
    maps = Path("/proc/self/maps")
    if maps.exists():
        lines = maps.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return {Path(line[line.index("/") :]) for line in lines if "/libtiff" in line}
    return set(Path(PIL._imaging.__file__).parent.glob(".dylibs/libtiff*"))


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep Pillow from warning while a file is opened; its warnings repeat what `Limits` decides.

    The filters of `warnings` belong to the whole process, hence the lock: two threads that restore them in
    the wrong order would leave them off.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
