"""What a file may cost before it is believed: sizes that are checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kellgren.errors import UnreadableImage

_MOST_PIXELS_A_BYTE: Final = 400
"""A whole film in a JPEG of the poorest quality has about 100."""

_DOUBTED_FROM: Final = 1 << 22
"""Pixels from which the claim matters."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on an untrusted file.

    Attributes:
        max_bytes: Largest file that is opened, bytes.
        max_pixels: Largest image that is decoded, rows x columns x colours. A stitched film of a whole
            leg has about 30 million. Reading takes up to 15 bytes of memory a pixel.
        min_side: Smallest height and width, pixels. Below this no grade can be read by anyone.
    """

    max_bytes: int = 256 * 1024 * 1024
    max_pixels: int = 32_000_000
    min_side: int = 64

    def check_bytes(self, count: int, path: Path) -> None:
        """Refuse an empty file and one larger than `max_bytes`.

        Raises:
            UnreadableImage: With the size and the limit.
        """
        if count == 0:
            raise UnreadableImage("the file is empty", path=path)
        if count > self.max_bytes:
            raise UnreadableImage(
                f"the file has {count} bytes, more than the {self.max_bytes} that are read", path=path
            )

    def check_size(self, rows: int, columns: int, path: Path, *, colours: int = 1) -> None:
        """Refuse an image size that is impossible, too small to grade or too large to decode.

        Args:
            rows: Height, pixels.
            columns: Width, pixels.
            path: The file, for the message.
            colours: Samples of a pixel.

        Raises:
            UnreadableImage: With the size and the limit.
        """
        size = f"the image is said to be {columns} x {rows} pixels"
        if rows <= 0 or columns <= 0:
            raise UnreadableImage(f"{size}, which is not an image", path=path)
        if min(rows, columns) < self.min_side:
            raise UnreadableImage(f"{size}; each side needs at least {self.min_side}", path=path)
        if rows * columns * colours > self.max_pixels:
            times = f" of {colours} colours" if colours > 1 else ""
            raise UnreadableImage(
                f"{size}{times}, more than the {self.max_pixels} that are decoded",
                path=path,
                remedy="save it smaller",
            )


def check_packing(rows: int, columns: int, count: int, path: Path) -> None:
    """Refuse a compressed image that states far more pixels than its bytes can have been made from.

    It asks for memory, not for a grade. Small images may say what they like.

    Args:
        rows: Height, pixels.
        columns: Width, pixels.
        count: Its compressed size, bytes.
        path: The file, for the message.

    Raises:
        UnreadableImage: Always with the same words.
    """
    if rows * columns > max(_DOUBTED_FROM, _MOST_PIXELS_A_BYTE * count):
        raise UnreadableImage("the compressed image is too short for the size that it states", path=path)


DEFAULT_LIMITS: Final = Limits()
