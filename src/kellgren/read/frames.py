"""The stored values of one frame: found in the file, decoded, and freed of bits that are not theirs."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian

from kellgren.errors import UnreadableImage, missing
from kellgren.read.bands import bands
from kellgren.read.codestream import (
    DAMAGED,
    check_jpeg,
    check_runs,
    check_scans,
    has_damaged_codes,
    read_codestream,
)
from kellgren.read.header import Parsed
from kellgren.read.limits import check_packing
from kellgren.read.pixel_layout import PixelLayout
from kellgren.read.syntaxes import (
    BASELINE,
    BIG_ENDIAN,
    DEFLATED,
    EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    NATIVE,
    RLE,
    twelve_bit_jpeg,
)

_ITEM: Final = 0xFFFEE000
_TWELVE_BITS: Final = 4095
_NEAR: Final = 512
_GDCM: Final = "gdcm"

EXPENDABLE: Final = "KELLGREN_EXPENDABLE"
"""Set in the environment of processes that read films for another one (`kellgren.read.isolated`)."""

_END_OF_IMAGE: Final = b"\xff\xd9"
_FRAME_BEGINS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""JPEG and JPEG-LS begin with SOI and a marker, JPEG 2000 with SOC and SIZ."""

_LONGEST_PACKED: Final = 1 << 20
_CLEARLY_ROUGHER: Final = 2.0

_MOST_FRAGMENTS: Final = 100_000
"""What follows is left out: an empty one takes eight bytes in a file, and some hundred in memory."""


def read_frame(
    parsed: Parsed, layout: PixelLayout, index: int, notes: list[str], flags: list[str]
) -> tuple[npt.NDArray[Any], PixelLayout]:
    """Decode one frame to its stored values.

    Args:
        parsed: The file.
        layout: The checked layout.
        index: Frame, counted from 0.
        notes: Gets a line where bits had to be cut off or added.
        flags: Gets a line where a JPEG was decoded over damaged bytes.

    Returns:
        (rows, columns) integers, or (rows, columns, 3) for colour, and the layout as it turned out: a
        decoder may have changed the photometric interpretation, and the pixels may need more bits than
        the header says.

    Raises:
        UnreadableImage: The pixels are cut short, of another size than the header says, damaged, or
            compressed without an installed decoder.
    """
    if parsed.syntax in NATIVE:
        stored, layout = _read_native(parsed, layout, index, notes)
    else:
        stored, photometric = _decompress(parsed, replace(layout, planar=layout.planar or 0), index, flags)
        # A decoder hands back RGB for the transforms of JPEG 2000, and YBR where a JPEG says that it is.
        layout = replace(layout, photometric=photometric)
    expected = (layout.rows, layout.columns, *((3,) if layout.samples > 1 else ()))
    if stored.shape != expected:
        raise UnreadableImage(
            "the decoded image has not the size that the header states", path=parsed.header.path
        )
    if layout.samples > 1 or layout.allocated == layout.stored:
        return stored, layout
    return _own_bits(stored, parsed, layout, notes)


def count_frames(parsed: Parsed, layout: PixelLayout, notes: list[str]) -> PixelLayout:
    """Correct the layout where the header counts fewer frames, or smaller ones, than the pixel data hold.

    Chroma said to be halved (YBR_FULL_422) is whole where the pixel data are half as long again: programs
    that decompress forget to change the label.

    Args:
        parsed: The file.
        layout: The layout by the header.
        notes: Gets what was corrected, and that bytes beyond the last frame were left out.
    """
    pixels = parsed.pixels or memoryview(b"")
    if parsed.syntax not in NATIVE:
        count = len(_frame_starts(_fragments(pixels)[1], parsed.syntax))
    else:
        whole = replace(layout, photometric="YBR_FULL")
        if layout.photometric == "YBR_FULL_422" and len(pixels) >= layout.frames * whole.frame_bytes:
            notes.append("the header says YBR_FULL_422, but the chroma is whole: read as YBR_FULL")
            layout = whole
        count, rest = divmod(len(pixels), layout.frame_bytes)
        if count >= layout.frames and rest > 1:
            notes.append(f"{rest} bytes after the last frame were left out")
    if count <= layout.frames:
        return layout
    notes.append(f"the header says {layout.frames} frame(s), the pixel data hold {count}")
    return replace(layout, frames=count)


def _read_native(
    parsed: Parsed, layout: PixelLayout, index: int, notes: list[str]
) -> tuple[npt.NDArray[Any], PixelLayout]:
    pixels, size = parsed.pixels or memoryview(b""), layout.frame_bytes
    there = len(pixels) - index * size
    if there < size:
        raise UnreadableImage(
            f"the pixel data is cut short: {max(there, 0)} of {size} bytes are there", path=parsed.header.path
        )
    if layout.planar is None:
        layout = replace(layout, planar=0)
        if layout.samples > 1:
            layout = replace(layout, planar=_planar(parsed, layout, index))
            notes.append(f"PlanarConfiguration is missing; {layout.planar} was assumed")
    return _native_array(parsed, layout, index), layout


def _native_array(parsed: Parsed, layout: PixelLayout, index: int) -> npt.NDArray[Any]:
    pixels, size = parsed.pixels or memoryview(b""), layout.frame_bytes
    syntax = ExplicitVRLittleEndian if parsed.syntax == DEFLATED else UID(parsed.syntax)
    options = _options(replace(layout, frames=1)) | {
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW" if parsed.word_pixels else "OB",
        "correct_unused_bits": False,
        "view_only": parsed.syntax != BIG_ENDIAN,
    }
    frame = pixels[index * size : (index + 1) * size]
    array, _ = get_decoder(syntax).as_array(frame, index=0, raw=True, validate=False, **options)
    return np.asarray(array)


def _planar(parsed: Parsed, layout: PixelLayout, index: int) -> int:
    """Whether colours follow each other by pixel (0) or by plane (1): the wrong reading is rough.

    Raises:
        UnreadableImage: The two are about as smooth.
    """
    rough = [
        _roughness(_native_array(parsed, replace(layout, planar=planar), index)[..., 0]) for planar in (0, 1)
    ]
    if max(rough) < _CLEARLY_ROUGHER * min(rough):
        raise UnreadableImage("the DICOM header has no PlanarConfiguration", path=parsed.header.path)
    return int(rough[1] < rough[0])


def _decompress(
    parsed: Parsed, layout: PixelLayout, index: int, flags: list[str]
) -> tuple[npt.NDArray[Any], str]:
    syntax, path = UID(parsed.syntax), parsed.header.path
    frame = _encapsulated_frame(parsed, layout, index)
    check_packing(layout.rows, layout.columns, len(frame), path)
    if syntax in JPEG_LS:
        # CharLS 2.4 goes round four thousand million times in a stream that ends within a code. What lies
        # behind the end of a whole one is not looked at.
        frame += _END_OF_IMAGE
    layout = replace(layout, frames=1)
    precision = layout.stored
    if syntax == RLE:
        check_runs(frame, layout.rows * layout.columns, path)
    else:
        check_scans(frame, path)
        stream = read_codestream(frame)
        if stream is None or (stream.rows, stream.columns) != (layout.rows, layout.columns):
            raise UnreadableImage("the compressed image has not the size that the header states", path=path)
        if stream.samples != layout.samples or stream.precision > layout.allocated:
            raise UnreadableImage(
                "the compressed image has not the samples and bits that the header states", path=path
            )
        precision = stream.precision
        # Decoders hand back the container that the code stream asks for, whatever the header allocates.
        layout = replace(layout, allocated=16 if precision > 8 else 8)
    twelve = syntax == EXTENDED and precision > 8
    if syntax in (BASELINE, EXTENDED) and not twelve and has_damaged_codes(frame):
        flags.append(DAMAGED)
    if not (twelve_bit_jpeg() if twelve else get_decoder(syntax).is_available):
        raise UnreadableImage(
            f"no decoder is installed for the transfer syntax {syntax.name} ({syntax})",
            path=path,
            remedy=_install() or "convert the file to Explicit VR Little Endian",
        )
    plugins = (_GDCM,) if twelve else _plugins(syntax)
    if _GDCM in plugins and syntax != RLE:
        check_jpeg(frame, path)
    for plugin in plugins:
        try:
            if twelve:
                return _decompress_twelve_bits(frame, layout), layout.photometric
            options = _options(layout) | ({"correct_unused_bits": False} if syntax == RLE else {})
            array, properties = get_decoder(syntax).as_array(
                encapsulate([frame], has_bot=False),
                index=0,
                raw=True,
                validate=False,
                decoding_plugin=plugin,
                **options,
            )
        except RuntimeError:  # the plug-in has failed; another may do it
            continue
        return np.asarray(array), str(properties["photometric_interpretation"])
    install = _install()
    raise UnreadableImage(
        f"no installed decoder could read the pixels ({syntax.name}, {syntax})",
        path=path,
        remedy="the file may be damaged" + (f", or try {install}" if install else ""),
    )


def _install() -> str | None:
    """The command that brings more decoders, or None where all are installed."""
    return "pip install 'kellgren[codecs]'" if missing("codecs") else None


def ends_processes(syntax: str) -> bool:
    """Whether GDCM would decode the pixels of a transfer syntax, in a process that may not end."""
    if os.environ.get(EXPENDABLE) or find_spec(_GDCM) is None:
        return False
    return syntax in (EXTENDED, *JPEG_LOSSLESS) or (syntax in JPEG_LS and find_spec("jpeg_ls") is None)


def _plugins(syntax: UID) -> tuple[str, ...]:
    """Plug-ins of pydicom that can decode a syntax.

    GDCM ends the whole process, not only its own work, where it meets what it does not expect (seen in
    version 3.2.6). It is asked only where nobody else can, for what looks whole, and in a process that may
    end (`ends_processes`).
    """
    able: tuple[str, ...] = get_decoder(syntax).available_plugins
    return tuple(name for name in able if name != _GDCM) or able


def _options(layout: PixelLayout) -> dict[str, Any]:
    """The layout in the words of pydicom's decoders."""
    options = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "number_of_frames": layout.frames,
    }
    return options | ({"planar_configuration": layout.planar} if layout.samples > 1 else {})


def _decompress_twelve_bits(frame: bytes, layout: PixelLayout) -> npt.NDArray[Any]:
    """Decode JPEG of 12 bits by GDCM; pydicom's plug-ins leave it to `pylibjpeg-libjpeg`, which is GPL."""
    import gdcm  # type: ignore[import-untyped]

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(EXTENDED)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    buffer = image.GetBuffer()
    if buffer is None:
        raise RuntimeError("GDCM could not decode the frame")
    # GDCM hands bytes back as text.
    words = np.frombuffer(buffer.encode("utf-8", "surrogateescape"), dtype="<u2")
    return _unwrapped(words.reshape(layout.rows, layout.columns))


def _unwrapped(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Put single pixels back that ran over one end of the 12 bits and came out at the other.

    GDCM's decoder does not clip what the cosine transform leaves below 0 (seen in version 3.2.6).
    """
    around = cv2.medianBlur(values, 3)
    values = np.where((values == _TWELVE_BITS) & (around < _NEAR), 0, values)
    return np.where((values == 0) & (around > _TWELVE_BITS - _NEAR), _TWELVE_BITS, values).astype(np.uint16)


def _encapsulated_frame(parsed: Parsed, layout: PixelLayout, index: int) -> bytes:
    """Put the fragments of one frame together (PS3.5 A.4)."""
    offsets, fragments = _fragments(parsed.pixels or memoryview(b""))
    if not fragments:
        raise UnreadableImage("the pixel data is cut short: no frame is there", path=parsed.header.path)
    if layout.frames == 1:
        parts = [value for _, value in fragments]
    elif len(fragments) == layout.frames:
        parts = [fragments[index][1]]
    else:
        starts = list(offsets) if len(offsets) == layout.frames else _frame_starts(fragments, parsed.syntax)
        if len(starts) != layout.frames:
            raise UnreadableImage(
                f"the header says {layout.frames} frames, which cannot be told apart", path=parsed.header.path
            )
        first, last = starts[index], starts[index + 1] if index + 1 < len(starts) else float("inf")
        parts = [value for start, value in fragments if first <= start < last]
    if sum(map(len, parts)) > _LONGEST_PACKED + 2 * layout.rows * layout.columns * layout.samples * 2:
        raise UnreadableImage(
            "the compressed pixels are longer than the image could be uncompressed", path=parsed.header.path
        )
    return b"".join(parts)


def _frame_starts(fragments: list[tuple[int, memoryview]], syntax: str) -> list[int]:
    """Places of the fragments that begin a frame: all where pixels are run length encoded (PS3.5 A.4.2)."""
    return [
        place
        for place, value in fragments
        if syntax == RLE or bytes(value[:4]).startswith(_FRAME_BEGINS) or bytes(value[4:8]) == b"jP  "
    ]


def _fragments(pixels: memoryview) -> tuple[tuple[int, ...], list[tuple[int, memoryview]]]:
    """Basic Offset Table, and each fragment with its place after the table; a last one may be cut short."""
    items: list[tuple[int, memoryview]] = []
    position = 0
    while position + 8 <= len(pixels):
        group, element, length = struct.unpack_from("<HHI", pixels, position)
        if group << 16 | element != _ITEM:
            break
        items.append((position, pixels[position + 8 : position + 8 + length]))
        if len(items) > _MOST_FRAGMENTS:
            break
        position += 8 + length
    if not items:
        return (), []
    table = items[0][1]
    offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    return offsets, [(start - 8 - len(table), value) for start, value in items[1:]]


def _own_bits(
    stored: npt.NDArray[Any], parsed: Parsed, layout: PixelLayout, notes: list[str]
) -> tuple[npt.NDArray[Any], PixelLayout]:
    """Free the stored bits of what else lies in the allocated ones.

    Above the stored bits there may be their sign, nothing, an overlay (retired, but met: PS3.5 8.1.2), or
    more of the pixel, where the header understates Bits Stored. The last two look the same in a header
    that names no overlay, and cutting the one or keeping the other ruins the film; but a pixel that was
    cut jumps where it should rise, and an overlay jumps where the film is smooth. The smoother reading is
    taken, and a note says so.
    """
    # Decoders of JPEG and its kin hand the value back wherever it lay; only plain and RLE words have places.
    low = layout.high + 1 - layout.stored if parsed.syntax in (*NATIVE, RLE) else 0
    width = stored.dtype.itemsize * 8
    if width <= layout.stored:
        return stored, layout
    least, most = int(stored.min()), int(stored.max())
    half = 1 << (layout.stored - 1)
    if low == 0 and ((-half <= least and most < half) if layout.signed else most < 2 * half):
        return stored, layout
    words = stored.view(f"u{width // 8}") if stored.dtype.isnative else stored.astype(f"u{width // 8}")
    cut = (words >> low) & ((1 << layout.stored) - 1)
    if layout.signed:
        # Shift the sign to the top and back down, so that it fills the bits above.
        shift = width - layout.stored
        cut = (cut << shift).view(f"i{width // 8}") >> shift
    whole = (words.view(f"i{width // 8}") if layout.signed else words) >> low
    # A sign that was not carried into the bits above it is as good as one that was.
    if int(words.max()) >> (low + layout.stored) == 0 or np.array_equal(cut, whole):
        return cut, layout
    if parsed.overlay_bits:
        notes.append("an overlay in unused bits of the pixels was cut off")
        return cut, layout
    if _roughness(cut) <= _roughness(whole):
        notes.append("unused bits of the pixels were not empty and were cut off")
        return cut, layout
    bits = max(int(abs(int(v))).bit_length() for v in (whole.min(), whole.max())) + int(layout.signed)
    notes.append(f"the header says {layout.stored} bits, the pixels use {bits}")
    return whole, replace(layout, stored=min(bits, width))


def _roughness(values: npt.NDArray[Any]) -> float:
    """Sum of the steps between neighbours."""
    total = 0.0
    for rows in bands(values):
        wide = values[rows.start : rows.stop + 1].astype(np.int32)  # with the next band's first row
        total += float(np.abs(np.diff(wide, axis=0)).sum(dtype=np.float64))
        total += float(np.abs(np.diff(wide[: rows.stop - rows.start], axis=1)).sum(dtype=np.float64))
    return total
