"""Lookup tables: modality, VOI and palette tables are written the same way (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kellgren.errors import UnreadableImage
from kellgren.read.tags import Header


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table.

    Attributes:
        values: (N,) outputs, 0 .. 65535.
        first: The input that the first output stands for.
    """

    values: npt.NDArray[np.uint16]
    first: int

    def index(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Place of each input in the table; inputs beyond its ends take the end entries."""
        places = np.rint(inputs).astype(np.int32) if inputs.dtype.kind == "f" else inputs.astype(np.int32)
        places -= self.first
        return np.clip(places, 0, len(self.values) - 1, out=places)


def read_lut(header: Header, descriptor: str, data: str, *, signed: bool, name: str) -> Lut:
    """Read a table.

    Args:
        header: The data set, or sequence item, that holds it.
        descriptor: Keyword of the three numbers: entries, first input, bits of an entry.
        data: Keyword of the entries.
        signed: Whether inputs may be negative. The first input has the inputs' sign, which an explicit VR
            may have lost.
        name: What the table is called in messages.

    Raises:
        UnreadableImage: The table is incomplete.
    """
    described = header.numbers(descriptor)
    raw = header.raw(data)
    if len(described) != 3 or not raw:
        raise UnreadableImage(f"the DICOM header has an incomplete {name}", path=header.path)
    entries = int(described[0]) % (1 << 16) or 1 << 16  # 0 stands for 65536 (PS3.3 C.11.1.1.1)
    first = int(described[1])
    if signed and first >= 1 << 15:
        first -= 1 << 16
    elif not signed and first < 0:
        first += 1 << 16
    order = "<" if header.little_endian(data) else ">"
    # Entries of 8 bits are bytes if they are packed, and words as any other if they are not.
    narrow = described[2] <= 8 and len(raw) < 2 * entries
    usable = raw if narrow else raw[: len(raw) // 2 * 2]
    values = np.frombuffer(usable, np.uint8 if narrow else np.dtype(f"{order}u2"))
    if values.size < entries:
        raise UnreadableImage(f"the DICOM header has an incomplete {name}", path=header.path)
    return Lut(values[:entries].astype(np.uint16), first)
