"""Reading in processes of their own: what a file does to its decoder is done to nobody else.

Decoders are C and C++ that read whatever the world sends. `Limits` bounds what they are asked for,
`IsolatedReader` what they can do: each film is read in a child process with a limit on its memory and its
time. A child that crashes, hangs or runs out of memory costs one film, and the next film gets a new child.

Bytes go in and a radiograph comes out, through pipes. Nothing is pickled, in either direction: unpickling
what a taken-over child sends would run its code. The child's side is `kellgren.read.child`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, get_args

import numpy as np

from kellgren.errors import KellgrenError, NotAKnee, UnreadableImage
from kellgren.read.frames import EXPENDABLE
from kellgren.read.limits import DEFAULT_LIMITS, Limits
from kellgren.read.metadata import NOTHING_STATED, Stated
from kellgren.read.radiograph import Laterality, Radiograph, Spacing
from kellgren.read.signatures import Kind
from kellgren.vocabulary import Side, SideSource

MEMORY: Final = 1 << 30
"""Bytes that a child may take beyond those of the program itself: twice what the largest film needs."""

SECONDS: Final = 30.0
"""Time for one film by the clock; the largest takes a few seconds on an idle processor."""

_LONGEST_ANSWER: Final = 1 << 20  # the part of it that is not pixels
_NO_ANSWER: Final = (OSError, EOFError)
_STRANGE_ANSWER: Final = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
_ERRORS: Final[Mapping[str, type[KellgrenError]]] = {"NotAKnee": NotAKnee}


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
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

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
                _end(self._idle.get_nowait(), patience=0)
            except queue.Empty:
                return

    def read_bytes(
        self,
        data: bytes,
        path: Path | str,
        *,
        side: Side | None = None,
        stated: Stated = NOTHING_STATED,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Radiograph:
        """Read one film; arguments and result are those of `kellgren.read.read_bytes`.

        Raises:
            UnreadableImage: As there, and where the child crashed, took too long, or too much memory.
            NotAKnee: As there.
        """
        path = Path(path)
        limits.check_bytes(len(data), path)
        order = {"path": str(path), "side": side, "stated": asdict(stated), "limits": asdict(limits)}
        child = self._child()
        late = threading.Event()
        timer = threading.Timer(self._seconds, _stop, (child, late))
        timer.start()
        try:
            answer = _ask(child, order, data, limits)
        except (*_NO_ANSWER, *_STRANGE_ANSWER) as error:
            _end(child)
            raise self._what_happened(child, path, late=late.is_set()) from error
        except BaseException:  # an interrupt leaves a child in the midst of an answer
            _end(child)
            raise
        finally:
            timer.cancel()
            timer.join()  # it may be stopping the child right now
        if late.is_set():
            _end(child)
        else:
            self._idle.put(child)
        if isinstance(answer, tuple):
            kind, message, remedy = answer
            raise _ERRORS.get(kind, UnreadableImage)(message, path=path, remedy=remedy)
        return answer

    def _child(self) -> subprocess.Popen[bytes]:
        try:
            while True:
                child = self._idle.get_nowait()
                if child.poll() is None:
                    return child
                _end(child)
        except queue.Empty:
            pass
        # -P: a folder of films may hold a file called numpy.py.
        command = [sys.executable, "-P", "-m", "kellgren.read.child", str(self._memory)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return subprocess.Popen(  # noqa: S603 - this program itself
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | threads | {EXPENDABLE: "1"},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children
        )

    def _what_happened(self, child: subprocess.Popen[bytes], path: Path, *, late: bool) -> UnreadableImage:
        if late:
            return UnreadableImage(
                f"reading it took more than {self._seconds:g} s and was stopped", path=path
            )
        code = child.returncode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = next((word.name for word in signal.Signals if word == -code), f"signal {-code}")
        return UnreadableImage(
            f"reading it crashed the decoder ({how})",
            path=path,
            remedy=f"it is damaged, or needs more than {self._memory >> 20} MiB of memory",
        )


def read_apart(data: bytes, path: Path, side: Side | None, frame: int | None, limits: Limits) -> Radiograph:
    """Read a DICOM file whose decoder may end the process, in a child that this process keeps for such files.

    Args:
        data: The file.
        path: Its name.
        side: The user's word on the side.
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


def _stop(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    child.kill()


def _end(child: subprocess.Popen[bytes], patience: float = 1.0) -> None:
    """Wait for a child that has ended by itself, so that it can tell how, or else stop it."""
    try:
        child.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # what was not yet written finds nobody
            if pipe is not None:
                pipe.close()


def _ask(
    child: subprocess.Popen[bytes], order: Mapping[str, object], data: bytes, limits: Limits
) -> Radiograph | tuple[str, str, str | None]:
    """The film, or class, message and remedy of the error.

    Raises:
        OSError: The child has gone; so does EOFError say.
        ValueError: Its answer is not to be understood; so do the others of `_STRANGE_ANSWER` say.
    """
    if child.stdin is None or child.stdout is None:
        raise EOFError
    send(child.stdin, order, data)
    answer = receive(child.stdout, _LONGEST_ANSWER)
    if "error" in answer:
        remedy = answer["remedy"]
        return str(answer["error"]), str(answer["message"]), None if remedy is None else str(remedy)
    return _film(answer, child.stdout, Path(str(order["path"])), limits)


def _film(answer: Mapping[str, Any], stream: IO[bytes], path: Path, limits: Limits) -> Radiograph:
    """Take a film out of an answer that is not believed."""
    rows, columns = answer["shape"]
    if not (isinstance(rows, int) and isinstance(columns, int) and rows > 0 and columns > 0):
        raise ValueError("shape")
    if rows * columns > limits.max_pixels:
        raise ValueError("shape")
    pixels = np.frombuffer(read_exactly(stream, 4 * rows * columns), np.float32).reshape(rows, columns)
    padding = None
    if answer["padding"]:
        bits = np.frombuffer(read_exactly(stream, (rows * columns + 7) // 8), np.uint8)
        padding = np.unpackbits(bits, count=rows * columns).reshape(rows, columns).astype(bool)
    spacing, said = answer["spacing"], answer["laterality"]
    if (
        answer["photometric"] not in ("MONOCHROME1", "MONOCHROME2", None)
        or answer["format"] not in get_args(Kind)
        or said["side"] not in (*get_args(Side), None)
        or said["source"] not in (*get_args(SideSource), None)
        or answer["polarity"] not in ("normal", "inverted", None)
        or (spacing is not None and spacing["source"] not in ("calibrated", "detector", "user"))
    ):
        raise ValueError("words")
    return Radiograph(
        path=path,
        pixels=pixels,
        bits=int(answer["bits"]),
        photometric=answer["photometric"],
        spacing=None
        if spacing is None
        else Spacing(float(spacing["row"]), float(spacing["column"]), spacing["source"]),
        laterality=Laterality(
            said["side"],
            said["source"],
            None if said["conflict"] is None else str(said["conflict"]),
            bool(said["both"]),
        ),
        padding=padding,
        format=answer["format"],
        notes=tuple(str(note) for note in answer["notes"]),
        flags=tuple(str(flag) for flag in answer["flags"]),
        polarity=answer["polarity"],
    )


# The pipes: the length of a JSON object, the object, and the bytes that it announces.


def send(stream: IO[bytes], words: Mapping[str, object], *payload: bytes | memoryview) -> None:
    """Write one message.

    Args:
        stream: The pipe.
        words: What is sent as JSON; gets `bytes`, the size of the payload.
        payload: What is sent as it is.
    """
    head = json.dumps({**words, "bytes": sum(len(part) for part in payload)}).encode("ascii")
    stream.write(struct.pack("<I", len(head)) + head)
    for part in payload:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes], longest: int) -> dict[str, Any]:
    """Read the JSON of one message; its payload follows in the stream.

    Args:
        stream: The pipe.
        longest: Length that is believed.

    Raises:
        EOFError: The other end was closed.
        ValueError: It is too long, or no JSON object.
    """
    (length,) = struct.unpack("<I", read_exactly(stream, 4))
    if length > longest:
        raise ValueError("length")
    words = json.loads(read_exactly(stream, length))
    if not isinstance(words, dict):
        raise ValueError("no object")
    return words


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: There are fewer.
    """
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
