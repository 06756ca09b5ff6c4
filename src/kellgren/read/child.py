"""The child process of `kellgren.read.isolated`: reads one film after the other, answers through a pipe."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import cv2
import numpy as np

from kellgren.errors import KellgrenError
from kellgren.read import Limits, Radiograph, Spacing, Stated, read_bytes
from kellgren.read.isolated import memory_can_be_limited, read_exactly, receive, send
from kellgren.read.syntaxes import decodable

_LONGEST_ORDER: Final = 1 << 20


def main() -> None:
    """Read orders from standard input until it is closed."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # decoders may print; the pipe is for answers
    cv2.setNumThreads(1)
    decodable()  # loads the decoders, so that their own size does not count
    _limit(int(sys.argv[1]))
    orders = sys.stdin.buffer
    while True:
        try:
            order = receive(orders, _LONGEST_ORDER)
        except EOFError:
            return
        _answer(order, read_exactly(orders, order["bytes"]), answers)


def _limit(memory: int) -> None:
    """Take no more memory than this beyond what is taken, write no file, and leave no core."""
    if not memory_can_be_limited():
        return
    import resource

    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, taken + memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _answer(order: dict[str, Any], data: bytes, answers: IO[bytes]) -> None:
    said = order["stated"]
    spacing = said.pop("spacing")
    stated = Stated(**said, spacing=None if spacing is None else Spacing(**spacing))
    limits = Limits(**order["limits"])
    try:
        film = read_bytes(data, order["path"], side=order["side"], stated=stated, limits=limits)
    except KellgrenError as error:
        send(answers, {"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
        return
    except MemoryError:
        words = "there is not enough memory to read the image"
        send(answers, {"error": "UnreadableImage", "message": words, "remedy": None})
        return
    _send_film(film, answers)


def _send_film(film: Radiograph, answers: IO[bytes]) -> None:
    words = {
        "shape": film.pixels.shape,
        "bits": film.bits,
        "photometric": film.photometric,
        "spacing": None if film.spacing is None else asdict(film.spacing),
        "laterality": asdict(film.laterality),
        "padding": film.padding is not None,
        "format": film.format,
        "notes": film.notes,
        "flags": film.flags,
        "polarity": film.polarity,
    }
    pixels = np.ascontiguousarray(film.pixels).data.cast("B")
    padding = b"" if film.padding is None else np.packbits(film.padding).tobytes()
    send(answers, words, pixels, padding)


if __name__ == "__main__":
    main()
