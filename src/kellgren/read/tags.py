"""Typed access to single DICOM elements, which in real files may be absent, empty or of the wrong type."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from kellgren.errors import UnreadableImage
from kellgren.read.elements import Element, ElementReader, Elements

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


class Header:
    """The elements of one DICOM data set, converted when asked for.

    Args:
        layers: Data sets to look in, the first that has an element wins: for a frame of an enhanced object
            its own functional groups, then the shared ones, then the top level.
        path: The file, for messages.
        notes: Gets what was assumed of values that are not as the standard wants them.
    """

    def __init__(self, layers: tuple[Elements, ...], path: Path, notes: list[str] | None = None) -> None:
        self._layers = layers
        self.path = path
        self.notes: list[str] = [] if notes is None else notes

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
        layers = (layer for macro in macros for layer in macro._layers)
        return Header((*layers, *self._layers), self.path, self.notes)

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
            ValueError: A value is not a number.
        """
        element = self._find(keyword)
        raw = self.raw(keyword)
        if element is None or not raw:
            return ()
        code = _BINARY.get(self._stated(element, keyword))
        if code is not None:
            size = struct.calcsize(f"={code}")
            if len(raw) % size:
                raise ValueError(keyword)
            order = "<" if element.little else ">"
            return tuple(float(v) for v in struct.unpack(f"{order}{len(raw) // size}{code}", raw))
        values = raw.decode("latin-1").strip("\0 ")
        if "," in values and "." not in values:
            values = values.replace(",", ".")
            note = f"{keyword} has a decimal comma"
            if note not in self.notes:
                self.notes.append(note)
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
        return None if element is None else bytes(element.value)

    def little_endian(self, keyword: str) -> bool:
        """Whether the bytes of an element that is there are little endian."""
        element = self._find(keyword)
        return element is None or element.little

    def items(self, keyword: str) -> list[Header]:
        """Return the items of a sequence; none where it is absent, empty or no sequence."""
        element = self._find(keyword)
        if element is None or element.representation not in ("SQ", "UN", None):
            return []
        implicit = element.implicit or element.representation == "UN"  # PS3.5 6.2.2
        reader = ElementReader(element.value, self.path, implicit=implicit, little=element.little)
        return [Header((item,), self.path, self.notes) for item in reader.items(lambda _: True)]

    def _find(self, keyword: str) -> Element | None:
        tag = tag_for_keyword(keyword)
        return next((layer[tag] for layer in self._layers if tag is not None and tag in layer), None)

    @staticmethod
    def _stated(element: Element, keyword: str) -> str:
        """Return the VR that the file states, or else the dictionary's."""
        if element.representation not in (None, "UN"):
            return str(element.representation)
        stated = dictionary_VR(keyword)
        return "US" if stated == _OPEN else stated
