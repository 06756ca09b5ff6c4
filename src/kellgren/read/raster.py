"""PNG, JPEG, TIFF and WebP to a radiograph. A resolution in dpi is a printing hint, never a pixel spacing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from kellgren.errors import UnreadableImage
from kellgren.read.files import Kind
from kellgren.read.laterality import decide_laterality, side_from_name
from kellgren.read.limits import Limits, without_warnings
from kellgren.read.radiograph import Radiograph
from kellgren.vocabulary import Side

_ORIENTATION: Final = 0x0112  # TIFF 6.0 / Exif 2.3
_PHOTOMETRIC: Final = 0x0106
_WHITE_IS_ZERO: Final = 0

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
        side: The user's word on the side.
        limits: Sizes, checked on the header before the pixels are decoded.

    Returns:
        The radiograph, pixels in 0 .. 2**bits - 1, upright as its EXIF orientation asks. `photometric`
        and `spacing` are None: rasters have no such words.

    Raises:
        UnreadableImage: Damaged, too large or small, several pages, or an unsuitable pixel type.
    """
    notes: list[str] = []
    try:
        with without_warnings():
            image: Image.Image = Image.open(BytesIO(data), formats=[kind])
        limits.check_size(image.height, image.width, path)
        with without_warnings():
            pages = getattr(image, "n_frames", 1)
        # A camera's JPEG may carry small previews as further frames; the first one is the image.
        if pages != 1 and kind != "JPEG":
            raise UnreadableImage(
                f"the {kind} file holds {pages} pages", path=path, remedy="save each page as its own file"
            )
        image.load()  # before asking a PNG for its EXIF, which may follow the pixels
        with without_warnings():
            orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation in range(2, 9):
            image = ImageOps.exif_transpose(image)
            notes.append("turned upright as its EXIF orientation asks")
        pixels, padding, bits = _grey(image, path, notes)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:  # Pillow's own bound, 179 million pixels, acts on opening
        raise UnreadableImage("the image has far more pixels than are decoded", path=path) from None
    # A wall: a damaged file makes the decoders raise almost anything (OSError, SyntaxError, struct.error,
    # ZeroDivisionError, MemoryError, DecompressionBombError); each is this file's fault.
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
    )


def _grey(
    image: Image.Image, path: Path, notes: list[str]
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
    return _luminance(rgba[..., :3], notes), padding, 8


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


def _luminance(rgb: npt.NDArray[np.uint8], notes: list[str]) -> npt.NDArray[np.float32]:
    """(H, W, 3) colours to (H, W) luminance; three equal channels come out exactly as they were."""
    difference = rgb.max(axis=2) - rgb.min(axis=2)
    if not difference.any():
        return rgb[..., 0].astype(np.float32)
    if np.mean(difference > _COLOUR_DIFFERENCE) > _COLOUR_SHARE:
        notes.append("the image is in colour; its luminance was used")
    return rgb.astype(np.float32) @ _LUMA
