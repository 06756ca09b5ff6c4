"""From colour to grey: copies of radiographs come as RGB, YBR or through a palette (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import UnreadableImage
from kellgren.read.lut import read_lut
from kellgren.read.pixel_layout import PixelLayout
from kellgren.read.tags import Header

# Luminance of ITU-R BT.601, which the standard's own YBR_FULL is made with.
_LUMINANCE: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)

_TOLERANCE: Final = 12 / 255
"""Channels that differ by no more are grey: JPEG, and the tint of a scanner, colour them that much."""

_MARKS: Final = 0.01
"""Share of coloured pixels up to which the colour is a mark on the film, not the film."""


def to_grey(
    stored: npt.NDArray[Any], layout: PixelLayout, notes: list[str], flags: list[str]
) -> npt.NDArray[np.float32]:
    """Reduce colour samples to grey.

    Channels that agree are the grey value, exactly. Else the luminance is taken: coloured marks on a grey
    film are then harmless outside the joint and get a note, an image that is in colour gets a flag.

    Args:
        stored: (H, W, 3) samples, RGB or YBR as `layout` says.
        layout: The layout.
        notes: Gets what was done.
        flags: Gets why a person must look, if so.

    Returns:
        (H, W) float32, 0 .. 2**stored - 1.
    """
    top = (1 << layout.stored) - 1
    if layout.photometric.startswith("YBR"):
        # Y is the luminance; what is grey has its chroma in the middle.
        chroma = stored[..., 1:].astype(np.int16)
        spread = np.abs(chroma - ((top + 1) // 2)).max(axis=-1)
        grey = stored[..., 0].astype(np.float32)
    else:
        spread = stored.max(axis=-1) - stored.min(axis=-1)
        grey = stored[..., 0].astype(np.float32) if not spread.any() else stored @ _LUMINANCE
    _judge(float(np.mean(spread > _TOLERANCE * top)), notes, flags)
    return np.asarray(grey, dtype=np.float32)


def apply_palette(
    stored: npt.NDArray[Any], header: Header, notes: list[str], flags: list[str]
) -> tuple[npt.NDArray[np.float32], int]:
    """Map a PALETTE COLOR image to grey through its tables (PS3.3 C.7.9.2).

    Args:
        stored: (H, W) indices.
        header: The header.
        notes: As for `to_grey`.
        flags: As for `to_grey`.

    Returns:
        (H, W) float32 grey values, and their bits.

    Raises:
        UnreadableImage: The tables are incomplete or segmented.
    """
    if "SegmentedRedPaletteColorLookupTableData" in header:
        raise UnreadableImage(
            "the DICOM image has a segmented palette, which is not read",
            path=header.path,
            remedy="export the image in grey",
        )
    tables = [
        read_lut(
            header,
            "RedPaletteColorLookupTableDescriptor",
            f"{colour}PaletteColorLookupTableData",
            signed=False,
            name="palette",
        )
        for colour in ("Red", "Green", "Blue")
    ]
    colours = np.stack([table.values.astype(np.float32) for table in tables], axis=-1)
    index = tables[0].index(stored)
    used = np.bincount(index.ravel(), minlength=len(colours)) / index.size
    spread = colours.max(axis=-1) - colours.min(axis=-1)
    grey = colours[:, 0] if not spread.any() else colours @ _LUMINANCE
    bits = 8 if colours.max() < 256 else 16
    _judge(float(used[spread > _TOLERANCE * ((1 << bits) - 1)].sum()), notes, flags)
    return np.asarray(grey, dtype=np.float32)[index], bits


def _judge(coloured: float, notes: list[str], flags: list[str]) -> None:
    """Say how much of the image is in colour."""
    if coloured > _MARKS:
        flags.append(f"the image is in colour ({coloured:.0%} of it): its luminance was graded")
    elif coloured > 0:
        notes.append("coloured marks on the image were read by their luminance")
    else:
        notes.append("a grey image stored in colour")
