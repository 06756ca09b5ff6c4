"""Raster images to a radiograph. A resolution in dpi is a printing hint, never a pixel spacing."""

from __future__ import annotations

import struct
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, features

from kellgren.errors import UnreadableImage
from kellgren.read.codestream import DAMAGED, check_scans, has_damaged_codes
from kellgren.read.jpeg_blocks import is_torn
from kellgren.read.laterality import decide_laterality, side_from_name
from kellgren.read.limits import Limits, check_packing
from kellgren.read.radiograph import Radiograph
from kellgren.read.signatures import Kind
from kellgren.read.silence import without_warnings
from kellgren.vocabulary import Side

_ORIENTATION: Final = 0x0112  # TIFF 6.0 / Exif 2.3
_PHOTOMETRIC: Final = 0x0106
_WHITE_IS_ZERO: Final = 0
_COMPRESSION: Final = 0x0103

# None, the three of faxes, LZW, JPEG, deflate under both its numbers, PackBits. What else libtiff may have
# been built with (LZMA, Zstandard) lets a file choose how much memory its decoder takes.
_COMPRESSIONS: Final = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})

_LIBRARIES: Final = {"JPEG2000": "jpg_2000", "AVIF": "avif", "HEIF": ""}
"""Kinds that not every Pillow reads, and what its features are called."""

_GREY_MODES: Final = frozenset({"1", "L", "I", "F"})

_MOST_PAGES: Final = 1000
_BAND: Final = 1 << 20  # pixels that are turned from colour to grey at once

# ITU-R BT.601, as Pillow and OpenCV weigh colours.
_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# Channels of a grey film that went through a lossy colour format differ by a few values; a photograph of
# a screen or a coloured overlay differs by far more over more than a sliver of the image.
_COLOUR_DIFFERENCE: Final = 32
_COLOUR_SHARE: Final = 0.02


def read_raster(
    data: bytes, path: Path, kind: Kind, *, side: Side | None = None, limits: Limits
) -> Radiograph:
    """Decode a raster image.

    Args:
        data: The whole file.
        path: Its name, for messages and the side.
        kind: What its first bytes say it is; no other decoder of Pillow is tried.
        side: What the user states on the side.
        limits: Sizes, checked on the header before the pixels are decoded.

    Returns:
        The radiograph, pixels in 0 .. 2**bits - 1, upright as its EXIF orientation asks. `photometric`
        and `spacing` are None: rasters have no such words.

    Raises:
        UnreadableImage: Damaged, too large or small, several pages, or an unsuitable pixel type.
    """
    notes: list[str] = []
    flags: list[str] = []
    orientation = 1
    _check_library(kind, path)
    try:
        image = _open(data, path, kind, limits)
        image.load()  # before asking a PNG for its EXIF, which may follow the pixels
        if kind == "JPEG" and (has_damaged_codes(data) or is_torn(np.asarray(image.convert("L")))):
            flags.append(DAMAGED)
        with without_warnings():
            stated = image.getexif().get(_ORIENTATION, 1)
        if stated in range(2, 9):
            orientation = int(stated)
            image = ImageOps.exif_transpose(image)
            notes.append("turned upright as its EXIF orientation asks")
        pixels, padding, bits = _grey(image, path, flags)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:  # Pillow's own bound, 179 million pixels, acts on opening
        raise UnreadableImage("the image has far more pixels than are decoded", path=path) from None
    except MemoryError:
        raise UnreadableImage("there is not enough memory to read the image", path=path) from None
    # A wall: a damaged file makes the decoders raise almost anything (OSError, SyntaxError, struct.error,
    # ZeroDivisionError, ValueError); each is this file's fault.
    except Exception as error:
        raise UnreadableImage(
            f"the {kind} file is damaged or cut short ({type(error).__name__})", path=path
        ) from error
    return Radiograph(
        path=path,
        pixels=pixels,
        bits=bits,
        photometric=None,
        spacing=None,
        laterality=decide_laterality(name=side_from_name(path), user=side),
        padding=padding,
        format=kind,
        notes=tuple(notes),
        flags=tuple(flags),
        orientation=orientation,
    )


def _check_library(kind: Kind, path: Path) -> None:
    """Refuse by name what Pillow decodes only with a library that is not there."""
    if kind == "HEIF" and find_spec("pillow_heif") is not None:
        import_module("pillow_heif").register_heif_opener()
    elif kind in _LIBRARIES and not (kind != "HEIF" and features.check(_LIBRARIES[kind])):
        words = {"HEIF": "a HEIC photograph", "AVIF": "an AVIF image", "JPEG2000": "a JPEG 2000 image"}[kind]
        raise UnreadableImage(
            f"the file is {words}, which needs a library that is not installed",
            path=path,
            remedy="save it as JPEG or PNG" + (", or pip install pillow-heif" if kind == "HEIF" else ""),
        )


def _open(data: bytes, path: Path, kind: Kind, limits: Limits) -> Image.Image:
    """Open an image, without decoding its pixels, and refuse what would cost too much to decode."""
    if kind == "WEBP":  # its decoder takes memory for the pixels on opening
        width, height = _webp_canvas(data)
        limits.check_size(height, width, path, colours=3)
    elif kind == "JPEG":
        check_scans(data, path)
    pages = _tiff_pages(data) if kind == "TIFF" else None
    with without_warnings():
        image: Image.Image = Image.open(BytesIO(data), formats=[kind])
    grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
    limits.check_size(image.height, image.width, path, colours=1 if grey else 3)
    check_packing(image.height, image.width, len(data), path)
    if pages is None:
        pages = getattr(image, "n_frames", 1)
    # A camera's JPEG may carry small previews as further frames; the first one is the image.
    if pages != 1 and kind != "JPEG":
        count = f"more than {_MOST_PAGES}" if pages > _MOST_PAGES else pages
        raise UnreadableImage(
            f"the {kind} file holds {count} pages", path=path, remedy="save each page as its own file"
        )
    tags = getattr(image, "tag_v2", {})
    if kind == "TIFF" and tags.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise UnreadableImage(
            "the TIFF file is compressed in a way that is not read",
            path=path,
            remedy="save it with LZW or deflate",
        )
    return image


def _tiff_pages(data: bytes) -> int:
    """Count the directories of a TIFF file, at most one more than `_MOST_PAGES`, without reading them.

    Pillow reads every entry of every page to count them, and a directory takes a file 18 bytes.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in (data[2], data[3])  # BigTIFF: all offsets and counts of entries take eight bytes
    offset, count, entry, first = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    seen: set[int] = set()
    try:
        (place,) = struct.unpack_from(f"{order}{offset}", data, first)
        while place and place not in seen and len(seen) <= _MOST_PAGES:
            seen.add(place)
            (entries,) = struct.unpack_from(f"{order}{count}", data, place)
            end = place + struct.calcsize(f"={count}") + entry * entries
            (place,) = struct.unpack_from(f"{order}{offset}", data, end)
    except (struct.error, OverflowError):  # the last directory is cut short
        pass
    return len(seen)


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP image by its first chunk (RFC 9649 2.5 - 2.7); 0 where it has none."""
    head = data[:30].ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<2H", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _grey(
    image: Image.Image, path: Path, flags: list[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None, int]:
    """Decode the pixels to one grey channel.

    Returns:
        (H, W) float32 values, (H, W) mask of wholly transparent pixels or None, and the bits.
    """
    mode = image.mode
    if mode == "L":
        return np.asarray(image, dtype=np.float32), None, 8
    if mode.startswith("I;16") or mode == "I":
        return _deep_grey(image, path), None, 16
    if mode == "1":
        raise UnreadableImage(
            "the image has one bit per pixel, black and white without greys",
            path=path,
            remedy="export it with 8 or 16 bits",
        )
    if mode == "F":
        raise UnreadableImage(
            "the image has floating-point pixels", path=path, remedy="export it with 8 or 16 bits"
        )
    has_alpha = mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info
    rgba = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    padding = None
    if has_alpha and not rgba[..., 3].all():
        padding = rgba[..., 3] == 0
    return _luminance(rgba[..., :3], flags), padding, 8


def _deep_grey(image: Image.Image, path: Path) -> npt.NDArray[np.float32]:
    """Values of a 16-bit grey image, 0 .. 65535; Pillow's mode `I` may hold more than that."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage(
            "the image has values beyond 16 bits", path=path, remedy="export it with 8 or 16 bits"
        )
    grey = values.astype(np.float32)
    # Pillow turns an 8-bit TIFF whose white is zero the right way round, but not a 16-bit one.
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return np.float32(65535) - grey
    return grey


def _luminance(rgb: npt.NDArray[np.uint8], flags: list[str]) -> npt.NDArray[np.float32]:
    """(H, W, 3) colours to (H, W) luminance; three equal channels come out exactly as they were."""
    grey = np.empty(rgb.shape[:2], dtype=np.float32)
    coloured = strongly = 0
    rows = max(1, _BAND // rgb.shape[1])  # in bands: single precision takes four times the memory
    for start in range(0, len(rgb), rows):
        band = rgb[start : start + rows]
        difference = band.max(axis=2) - band.min(axis=2)
        coloured += int(np.count_nonzero(difference))
        strongly += int(np.count_nonzero(difference > _COLOUR_DIFFERENCE))
        grey[start : start + rows] = band.astype(np.float32) @ _LUMA
    if not coloured:
        return rgb[..., 0].astype(np.float32)
    if strongly > _COLOUR_SHARE * grey.size:
        flags.append(f"the image is in colour ({strongly / grey.size:.0%} of it): its luminance was graded")
    return grey
