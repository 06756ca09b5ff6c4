"""The elements of a DICOM data set as they lie in the file, none of them converted (PS3.5 7).

pydicom's reader decodes Specific Character Set on the way, quotes what it cannot use in warnings, makes
objects of what nobody wants, and calls itself for nested sequences. Here an element is a slice of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kellgren.errors import UnreadableImage

UNDEFINED: Final = 0xFFFFFFFF
"""A length that is not stated; the value ends at its delimiter (PS3.5 7.1.1)."""

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD

# Representations whose length takes four bytes after two reserved ones (PS3.5 7.1.2).
_LONG: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)

_MOST_ELEMENTS: Final = 50_000
"""A header of a thousand frames with functional groups of their own has 20,000."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element.

    Attributes:
        representation: Its VR as the file states it, or None where it states none.
        value: Its bytes; of a sequence its items, without the delimiter.
        implicit: Whether the items of a sequence have no VRs.
        little: Whether numbers are little endian.
    """

    representation: str | None
    value: memoryview
    implicit: bool
    little: bool


Elements = dict[int, Element]
"""The elements of a data set by tag, `group << 16 | element`."""


class ElementReader:
    """Goes through one data set, or the items of one sequence, and no further than a film's header goes.

    Args:
        data: The bytes.
        path: The file, for messages.
        implicit: Whether elements have no VRs.
        little: Whether numbers are little endian.
    """

    def __init__(self, data: memoryview, path: Path, *, implicit: bool, little: bool) -> None:
        self._data, self._path = data, path
        self._implicit, self._little = implicit, little
        self._order = "<" if little else ">"
        self._left = _MOST_ELEMENTS

    def read(
        self, place: int, wanted: Callable[[int], bool], stop: Callable[[int], bool]
    ) -> tuple[Elements, int]:
        """Read elements until one where `stop` is true, an item's end, or the end of the data.

        Args:
            place: Where the first element begins.
            wanted: Whether an element of this tag is kept; the first of several is.
            stop: Whether to stop before the element of this tag.

        Returns:
            The elements, and where the element begins that was stopped at.

        Raises:
            UnreadableImage: There are more elements than any film has.
        """
        elements: Elements = {}
        while place + 8 <= len(self._data):
            tag, representation, length, start = self.head(place, self._implicit)
            if tag == _ITEM_END or stop(tag):
                break
            if length == UNDEFINED:
                implicit = self._implicit or representation in (None, b"UN")
                end, after = self._sequence_end(start, implicit)
            else:
                implicit = self._implicit or representation is None
                end = after = start + length
            if wanted(tag) and tag not in elements:
                name = None if representation is None else representation.decode("ascii")
                elements[tag] = Element(name, self._data[start:end], implicit, self._little)
            place = after
        return elements, place

    def items(self, wanted: Callable[[int], bool]) -> list[Elements]:
        """Read the items of a sequence, whose value the data are."""
        items = []
        place = 0
        while place + 8 <= len(self._data):
            tag, _, length, start = self.head(place, implicit=True)
            if tag != _ITEM:
                break
            stated = len(self._data) if length == UNDEFINED else start + length
            item = ElementReader(
                self._data[:stated], self._path, implicit=self._implicit, little=self._little
            )
            item._left = self._left
            elements, end = item.read(start, wanted, lambda _: False)
            self._left = item._left
            items.append(elements)
            place = end + 8 if length == UNDEFINED else stated
        return items

    def head(self, place: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
        """Tag, VR, length and place of the value of the element that begins here.

        An element without a VR where there should be one is read as an implicit one: some programs change
        over within sequences.
        """
        self._left -= 1
        if self._left < 0:
            raise UnreadableImage("the DICOM header has more elements than any film's", path=self._path)
        group, element = struct.unpack_from(f"{self._order}2H", self._data, place)
        tag = group << 16 | element
        representation = bytes(self._data[place + 4 : place + 6])
        if implicit or group == 0xFFFE or not (representation.isalpha() and representation.isupper()):
            (length,) = struct.unpack_from(f"{self._order}I", self._data, place + 4)
            return tag, None, length, place + 8
        if representation not in _LONG:
            (length,) = struct.unpack_from(f"{self._order}H", self._data, place + 6)
            return tag, representation, length, place + 8
        if place + 12 > len(self._data):
            return tag, representation, 0, len(self._data)
        (length,) = struct.unpack_from(f"{self._order}I", self._data, place + 8)
        return tag, representation, length, place + 12

    def _sequence_end(self, place: int, implicit: bool) -> tuple[int, int]:
        """Where the value of undefined length that begins here ends, and where what follows it begins."""
        # What is open, innermost last: whether it is an item, and whether its elements have no VRs.
        open_levels = [(False, implicit)]
        while place + 8 <= len(self._data):
            in_item, implicit = open_levels[-1]
            tag, representation, length, start = self.head(place, implicit or not in_item)
            if tag == (_ITEM_END if in_item else _SEQUENCE_END):
                open_levels.pop()
                if not open_levels:
                    return place, start
                place = start
            elif length != UNDEFINED:
                place = start + length
            else:
                open_levels.append((not in_item, implicit or (in_item and representation in (None, b"UN"))))
                place = start
        raise UnreadableImage("the DICOM header is damaged: a sequence has no end", path=self._path)
