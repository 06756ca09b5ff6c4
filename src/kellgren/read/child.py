"""The child process of `kellgren.read.isolated`: reads one film after the other, answers through a pipe."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final

import cv2

from kellgren.errors import KellgrenError, NotAKnee, WrongUse
from kellgren.read import Radiograph, read_bytes
from kellgren.read.isolated import memory_can_be_limited
from kellgren.read.messages import Failure, Ordered, receive_order, send_answer
from kellgren.read.syntaxes import decodable

_GRACE: Final = 2.0
"""Seconds after which a child ends by itself what its parent should have ended."""


def main() -> None:
    """Read orders from standard input until it is closed."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # decoders may print; the pipe is for answers
    if len(sys.argv) > 2:
        _leave_with(int(sys.argv[2]))
    cv2.setNumThreads(1)
    decodable()  # loads the decoders, so that their own size does not count
    _limit(int(sys.argv[1]))
    while True:
        try:
            ordered = receive_order(sys.stdin.buffer)
        except EOFError:
            return
        _limit_time(ordered.order.seconds)
        answer = _answer(ordered)
        _limit_time(None)
        send_answer(answers, answer)


def _leave_with(life: int) -> None:
    """Have the system end this process when the other end of a pipe is closed, whatever a decoder is doing.

    Where it cannot, `_limit_time` ends it a little later.
    """
    import fcntl

    if hasattr(fcntl, "F_SETOWN") and hasattr(os, "O_ASYNC"):
        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.set_blocking(life, False)
    try:
        gone = not os.read(life, 1)
    except BlockingIOError:
        gone = False
    if gone:
        sys.exit()


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


def _limit_time(seconds: float | None) -> None:
    """Let the system end this process after so much time, by the clock and by the processor; None lifts it.

    Python's own handlers would wait for the decoder to return.
    """
    if not hasattr(signal, "setitimer"):
        return
    import resource

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else seconds + _GRACE)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = hard
    if seconds is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(usage.ru_utime + usage.ru_stime + seconds + _GRACE)
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _answer(ordered: Ordered) -> Radiograph | Failure:
    order = ordered.order
    try:
        return read_bytes(ordered.data, order.path, side=order.side, stated=order.stated, limits=order.limits)
    except NotAKnee as error:
        return Failure("NotAKnee", error.message, error.remedy)
    except WrongUse as error:
        return Failure("WrongUse", error.message, error.remedy)
    except KellgrenError as error:
        return Failure("UnreadableImage", error.message, error.remedy)
    except MemoryError:
        return Failure("UnreadableImage", "there is not enough memory to read the image", None)


if __name__ == "__main__":
    main()
