"""Typed access to single DICOM elements, which in real files may be absent, empty or of the wrong type.

pydicom converts an element when it is first looked at, and warns about a value that it cannot use by quoting
it: a name, a birth date. Warnings belong to the whole process, so that silencing them would take a lock
around every file. Here the bytes of the few elements that grading needs are converted without pydicom's
help, and nothing else is converted at all.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from pydicom.sequence import Sequence

from kellgren.errors import UnreadableImage

# How the binary value representations are laid out (PS3.5 table 6.2-1).
_BINARY: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}

# Where the dictionary leaves the sign open, it follows the pixels': whoever needs it corrects for it.
_OPEN: Final = "US or SS"

# The functional groups whose elements an ordinary radiograph has at its top level (PS3.3 C.7.6.16.2, C.8.19).
_MACROS: Final = (
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FramePixelDataPropertiesSequence",
    "FrameVOILUTSequence",
    "FrameAnatomySequence",
)


_MOST_READS: Final = 100_000
"""Every element takes two or three; a header of a thousand frames with groups of their own has 50,000."""


class MeteredStream(BytesIO):
    """A header's bytes, which can be asked for so many times and no more.

    pydicom makes an object of some hundred bytes of each element of eight bytes, within sequences that
    nobody wants to see too, so that a file of some megabytes would take gigabytes and minutes.

    Args:
        data: The bytes.
        path: The file, for the message.

    Raises:
        UnreadableImage: While it is read.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(data)
        self._path = path
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any stream, until there were too many."""
        self._left -= 1
        if self._left < 0:
            raise UnreadableImage("the DICOM header has more elements than any film's", path=self._path)
        return super().read(size)


class Header:
    """The elements of one DICOM data set, converted when asked for.

    Args:
        layers: Data sets to look in, the first that has an element wins: for a frame of an enhanced object
            its own functional groups, then the shared ones, then the top level.
        path: The file, for messages.
    """

    def __init__(self, layers: tuple[Dataset, ...], path: Path) -> None:
        self._layers = layers
        self.path = path

    def __contains__(self, keyword: str) -> bool:
        return self._find(keyword) is not None

    def of_frame(self, index: int) -> Header:
        """The header as it holds for one frame of an enhanced multi-frame object (PS3.3 C.7.6.16).

        Args:
            index: Frame, counted from 0.
        """
        own = self.items("PerFrameFunctionalGroupsSequence")
        shared = self.items("SharedFunctionalGroupsSequence")
        groups = [*own[index : index + 1], *shared[:1]]
        macros = [item for group in groups for name in _MACROS for item in group.items(name)[:1]]
        return Header((*(layer for macro in macros for layer in macro._layers), *self._layers), self.path)

    def integer(self, keyword: str) -> int:
        """Return a required whole number.

        Raises:
            UnreadableImage: The element is absent, empty, or no single whole number.
        """
        try:
            values = self.numbers(keyword)
        except ValueError:
            values = (0.5,)
        if len(values) == 1 and values[0] == int(values[0]):
            return int(values[0])
        state = "has an unusable" if values else "has no"
        raise UnreadableImage(f"the DICOM header {state} {keyword}", path=self.path)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values of a numeric element; empty where it is absent or empty.

        Raises:
            ValueError: A value is no number.
        """
        element = self._find(keyword)
        raw = self.raw(keyword)
        if element is None or not raw:
            return ()
        code = _BINARY.get(self._representation(element))
        if code is not None:
            size = struct.calcsize(f"={code}")
            if len(raw) % size:
                raise ValueError(keyword)
            order = "<" if element.is_little_endian else ">"
            return tuple(float(v) for v in struct.unpack(f"{order}{len(raw) // size}{code}", raw))
        values = raw.decode("latin-1").strip("\0 ")
        return tuple(float(v) for v in values.split("\\")) if values else ()

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values of a code string in upper case; empty where it is absent or empty."""
        values = (self.raw(keyword) or b"").decode("latin-1").strip("\0 ").upper()
        return tuple(v.strip("\0 ") for v in values.split("\\")) if values else ()

    def text(self, keyword: str) -> str | None:
        """Return a code string in upper case, the first one where there are several, or None."""
        values = self.texts(keyword)
        return values[0] or None if values else None

    def raw(self, keyword: str) -> bytes | None:
        """Return the bytes of an element as they lie in the file, or None without it."""
        element = self._find(keyword)
        value = None if element is None else element.value
        return value if isinstance(value, bytes) else None

    def little_endian(self, keyword: str) -> bool:
        """Whether the bytes of an element that is there are little endian."""
        element = self._find(keyword)
        return element is None or element.is_little_endian

    def items(self, keyword: str) -> list[Header]:
        """Return the items of a sequence; none where it is absent, empty or no sequence."""
        for layer in self._layers:
            tag = tag_for_keyword(keyword)
            if tag is None or tag not in layer:
                continue
            stored: object = layer.get_item(tag)  # typed as converted, which it rarely is
            if isinstance(stored, RawDataElement) and stored.VR not in ("SQ", "UN", None):
                return []
            if isinstance(stored, RawDataElement) and stored.value:
                stream = MeteredStream(stored.value, self.path)
                implicit, little, size = stored.is_implicit_VR, stored.is_little_endian, len(stored.value)
                layer.add_new(tag, "SQ", read_sequence(stream, implicit, little, size, "latin-1"))
            value = layer[tag].value
            if isinstance(value, Sequence):
                return [Header((item,), self.path) for item in value]
            return []
        return []

    def _find(self, keyword: str) -> RawDataElement | None:
        tag = tag_for_keyword(keyword)
        for layer in self._layers:
            if tag is None or tag not in layer:
                continue
            stored: object = layer.get_item(tag)  # typed as converted, which it rarely is
            if isinstance(stored, RawDataElement):
                return stored
        return None

    @staticmethod
    def _representation(element: RawDataElement) -> str:
        """Return the VR that the file states, or else the dictionary's."""
        if element.VR not in (None, "UN"):
            return str(element.VR)
        stated = dictionary_VR(element.tag)
        return "US" if stated == _OPEN else stated
