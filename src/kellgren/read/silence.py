"""Libraries that print what files hold: names and birth dates in warnings, tracebacks and lines on stderr.

What they have to say of a damaged file is in that file's reason.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
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


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep Pillow from warning while a file is opened; its warnings repeat what `Limits` decides.

    The filters of `warnings` belong to the whole process, hence the lock: two threads that restore them in
    the wrong order would leave them off.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
