"""Reading in processes of their own: what a file does to its decoder is done to nobody else.

Decoders are C and C++ that read whatever the world sends. `Limits` bounds what they are asked for,
`IsolatedReader` what they can do: each film is read in a child process with a limit on its memory and its
time. A child that crashes, hangs or runs out of memory costs one film, and the next film gets a new child.

Bytes go in and a radiograph comes out, through pipes (`kellgren.read.messages`). The child's side is
`kellgren.read.child`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kellgren.errors import NotAKnee, UnreadableImage, WrongUse, printable
from kellgren.read.frames import EXPENDABLE
from kellgren.read.laterality import stated_side
from kellgren.read.limits import DEFAULT_LIMITS, Limits
from kellgren.read.messages import Failure, Order, receive_answer, send_order
from kellgren.read.metadata import NOTHING_STATED, Stated
from kellgren.read.radiograph import Radiograph

MEMORY: Final = 1 << 30
"""Bytes that a child may take beyond those of the program itself: twice what the largest film needs."""

SECONDS: Final = 30.0
"""Time for one film by the clock; the largest takes a few seconds on an idle processor."""

_POSIX: Final = os.name == "posix"
_PATIENCE: Final = 1.0


def memory_can_be_limited() -> bool:
    """Whether this platform lets a process limit its own memory: Linux does; macOS and Windows do not."""
    return sys.platform == "linux"


class IsolatedReader:
    """Reads films in child processes; safe to use from several threads, which get a child each.

    Children are started when they are wanted and used again. Use it as a context manager, or `close` it.

    Args:
        memory: Bytes a child may take beyond the program's own, where the platform can limit it.
        seconds: Time for one film.
    """

    def __init__(self, *, memory: int = MEMORY, seconds: float = SECONDS) -> None:
        self._memory, self._seconds = memory, seconds
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the children that are idle."""
        while True:
            try:
                self._idle.get_nowait().end(patience=0)
            except queue.Empty:
                return

    def read_bytes(
        self,
        data: bytes,
        path: Path | str,
        *,
        side: str | None = None,
        stated: Stated = NOTHING_STATED,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Radiograph:
        """Read one film; arguments and result are those of `kellgren.read.read_bytes`.

        Raises:
            UnreadableImage: As there, and where the child crashed, took too long, or too much memory.
            NotAKnee: As there.
            WrongUse: As there.
        """
        path = Path(path)
        limits.check_bytes(len(data), path)
        stated = replace(stated, side=stated_side(stated.side))
        order = Order(printable(str(path)), side, stated, limits, self._seconds, len(data))
        child = self._child()
        talk = _Talk(child, order, data, path)
        talk.start()
        try:
            answer = talk.answers.get(timeout=self._seconds)
        except queue.Empty:
            child.end(patience=0, talk=talk)
            raise UnreadableImage(
                f"reading it took more than {self._seconds:g} s and was stopped", path=path
            ) from None
        except BaseException:  # an interrupt leaves a child in the midst of an answer
            child.end(patience=0, talk=talk)
            raise
        if isinstance(answer, Exception):
            child.end(patience=_PATIENCE, talk=talk)
            raise self._what_happened(child, path) from answer
        self._idle.put(child)
        if isinstance(answer, Radiograph):
            return answer
        kinds = {kind.__name__: kind for kind in (UnreadableImage, NotAKnee, WrongUse)}
        raise kinds[answer.error](answer.message, path=path, remedy=answer.remedy)

    def _child(self) -> _Child:
        while True:
            try:
                child = self._idle.get_nowait()
            except queue.Empty:
                return _Child.start(self._memory)
            if child.process.poll() is None:
                return child
            child.end(patience=0)

    def _what_happened(self, child: _Child, path: Path) -> UnreadableImage:
        code = child.process.returncode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = next((word.name for word in signal.Signals if word == -code), f"signal {-code}")
        if how in ("SIGXCPU", "SIGALRM"):
            return UnreadableImage(
                f"reading it took more than {self._seconds:g} s and was stopped", path=path
            )
        return UnreadableImage(
            f"reading it crashed the decoder ({how})",
            path=path,
            remedy=f"it is damaged, or needs more than {self._memory >> 20} MiB of memory",
        )


@dataclass(frozen=True, slots=True)
class _Child:
    """A child process, and this end of a pipe whose closing tells it that its parent has gone."""

    process: subprocess.Popen[bytes]
    life: int | None

    @classmethod
    def start(cls, memory: int) -> Self:
        # -P: a folder of films may hold a file called numpy.py.
        command = [sys.executable, "-P", "-m", "kellgren.read.child", str(memory)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        theirs, ours = os.pipe() if _POSIX else (None, None)
        process = subprocess.Popen(  # noqa: S603 - this program itself
            command if theirs is None else [*command, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | threads | {EXPENDABLE: "1"},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            pass_fds=() if theirs is None else (theirs,),
        )
        if theirs is not None:
            os.close(theirs)
        return cls(process, ours)

    def end(self, *, patience: float, talk: _Talk | None = None) -> None:
        """End the process and those that it has started.

        Args:
            patience: Seconds that it is given to end by itself, so that it can tell how.
            talk: What may still be reading its pipes: these are closed only when that is over. A process
                that a taken-over decoder has started elsewhere may hold them open for ever.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=patience)
        with contextlib.suppress(OSError):
            if _POSIX:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        if self.life is not None:
            os.close(self.life)
        if talk is not None:
            talk.join(_PATIENCE)
            if talk.is_alive():
                return
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not yet written finds nobody
                if pipe is not None:
                    pipe.close()


class _Talk(threading.Thread):
    """One order and its answer, in a thread that can be left alone: pipes cannot be waited for with a limit.

    Attributes:
        answers: Gets the answer, or the exception in its place.
    """

    def __init__(self, child: _Child, order: Order, data: bytes, path: Path) -> None:
        super().__init__(name="kellgren-isolated", daemon=True)
        self._child, self._order, self._data, self._path = child, order, data, path
        self.answers: queue.SimpleQueue[Radiograph | Failure | Exception] = queue.SimpleQueue()

    def run(self) -> None:
        process = self._child.process
        try:
            if process.stdin is None or process.stdout is None:
                raise EOFError
            send_order(process.stdin, self._order, self._data)
            self.answers.put(receive_answer(process.stdout, self._path, self._order.limits))
        except (OSError, EOFError, ValueError, MemoryError) as error:
            self.answers.put(error)


def read_apart(data: bytes, path: Path, side: str | None, frame: int | None, limits: Limits) -> Radiograph:
    """Read a DICOM file whose decoder may end the process, in a child that this process keeps for such files.

    Args:
        data: The file.
        path: Its name.
        side: What the user states on the side.
        frame: Which frame, from 1, if the user says it.
        limits: Sizes.

    Raises:
        UnreadableImage: As `IsolatedReader.read_bytes`.
        NotAKnee: As well.
    """
    stated = replace(NOTHING_STATED, frame=frame)
    return _kept(os.getpid()).read_bytes(data, path, side=side, stated=stated, limits=limits)


@cache
def _kept(process: int) -> IsolatedReader:
    """The reader of a process; a fork of it must not talk to the same children."""
    del process
    reader = IsolatedReader()
    atexit.register(reader.close)
    return reader
