"""What parent and child of an isolated reading say to each other through their pipes.

A message is the length of a JSON document, the document, and the bytes that it announces. Nothing is pickled,
in either direction: unpickling what a taken-over child sends would run its code.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Final, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from kellgren.read.limits import Limits
from kellgren.read.metadata import Stated
from kellgren.read.radiograph import Format, Laterality, Radiograph, Spacing

_LONGEST: Final = 1 << 20
_STRICT: Final = ConfigDict(extra="forbid")

Side = Annotated[int, Field(gt=0, strict=True)]
"""Height or width, pixels."""


@checked(frozen=True, config=_STRICT)
class Order:
    """A film to read, whose bytes follow.

    Attributes:
        path: What it is called.
        side: As for `kellgren.read.read_bytes`.
        stated: As well.
        limits: As well.
        seconds: How long it may take.
        count: Number of the bytes that follow.
    """

    path: str
    side: str | None
    stated: Stated
    limits: Limits
    seconds: float
    count: int


@checked(frozen=True, config=_STRICT)
class Failure:
    """Why there is no film.

    Attributes:
        error: Name of the class.
        message: Its message.
        remedy: Its remedy.
    """

    error: Literal["UnreadableImage", "NotAKnee", "WrongUse"]
    message: str
    remedy: str | None


@checked(frozen=True, config=_STRICT)
class Film:
    """A radiograph, but for its pixels and, where there is padding, its mask, whose bytes follow.

    Attributes are those of `Radiograph`.
    """

    shape: tuple[Side, Side]
    padding: bool
    bits: int
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] | None
    spacing: Spacing | None
    laterality: Laterality
    format: Format
    notes: tuple[str, ...]
    flags: tuple[str, ...]
    polarity: Literal["normal", "inverted"] | None
    orientation: Annotated[int, Field(ge=1, le=8)]


_ORDERS: Final = TypeAdapter(Order)
_ANSWERS: Final[TypeAdapter[Film | Failure]] = TypeAdapter(Film | Failure)


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order and its film's bytes."""

    order: Order
    data: bytes


def send_order(stream: IO[bytes], order: Order, data: bytes) -> None:
    """Send a film to read.

    Raises:
        OSError: The other end was closed.
    """
    _send(stream, _ORDERS.dump_json(order), data)


def receive_order(stream: IO[bytes]) -> Ordered:
    """Receive a film to read.

    Raises:
        EOFError: The other end was closed.
        ValueError: It is no order.
    """
    order = _ORDERS.validate_json(_receive(stream))
    return Ordered(order, read_exactly(stream, order.count))


def send_answer(stream: IO[bytes], answer: Radiograph | Failure) -> None:
    """Send what became of a film.

    Raises:
        OSError: The other end was closed.
    """
    if isinstance(answer, Failure):
        _send(stream, _ANSWERS.dump_json(answer))
        return
    head = Film(
        shape=(answer.pixels.shape[0], answer.pixels.shape[1]),
        padding=answer.padding is not None,
        bits=answer.bits,
        photometric=answer.photometric,
        spacing=answer.spacing,
        laterality=answer.laterality,
        format=answer.format,
        notes=answer.notes,
        flags=answer.flags,
        polarity=answer.polarity,
        orientation=answer.orientation,
    )
    pixels = np.ascontiguousarray(answer.pixels).data.cast("B")
    padding = b"" if answer.padding is None else np.packbits(answer.padding).tobytes()
    _send(stream, _ANSWERS.dump_json(head), pixels, padding)


def receive_answer(stream: IO[bytes], path: Path, limits: Limits) -> Radiograph | Failure:
    """Receive what became of a film, and believe nothing of it.

    Args:
        stream: The pipe.
        path: What the film is called.
        limits: How large it may be.

    Raises:
        EOFError: The other end was closed.
        ValueError: It is no answer.
    """
    head = _ANSWERS.validate_json(_receive(stream))
    if isinstance(head, Failure):
        return head
    rows, columns = head.shape
    if rows * columns > limits.max_pixels:
        raise ValueError("shape")
    pixels = np.frombuffer(read_exactly(stream, 4 * rows * columns), np.float32).reshape(rows, columns)
    padding = None
    if head.padding:
        bits = np.frombuffer(read_exactly(stream, (rows * columns + 7) // 8), np.uint8)
        padding = np.unpackbits(bits, count=rows * columns).reshape(rows, columns).astype(bool)
    return Radiograph(
        path=path,
        pixels=pixels,
        bits=head.bits,
        photometric=head.photometric,
        spacing=head.spacing,
        laterality=head.laterality,
        padding=padding,
        format=head.format,
        notes=head.notes,
        flags=head.flags,
        polarity=head.polarity,
        orientation=head.orientation,
    )


def _send(stream: IO[bytes], words: bytes, *payload: bytes | memoryview) -> None:
    stream.write(struct.pack("<I", len(words)) + words)
    for part in payload:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    (length,) = struct.unpack("<I", read_exactly(stream, 4))
    if length > _LONGEST:
        raise ValueError("length")
    return read_exactly(stream, length)


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: There are fewer.
    """
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
