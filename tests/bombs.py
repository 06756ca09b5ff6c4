"""Files made to take more memory or time than a film is worth, or to lie about what follows."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from functools import cache

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

import corpus
from films import dataset, encode, raster

Rng = np.random.Generator
_ITEM = b"\xfe\xff\x00\xe0"
_END_ITEM = b"\xfe\xff\x0d\xe0" + bytes(4)
_END_SEQUENCE = b"\xfe\xff\xdd\xe0" + bytes(4)
_UNDEFINED = b"\xff" * 4


# DICOM headers


def _dicom(elements: bytes, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A film whose header begins with these elements, explicit little endian."""
    film = corpus.dicoms()["explicit"]
    start = film.index(b"\x08\x00\x16\x00")
    uid = str(syntax).encode().ljust(len(syntax) + len(syntax) % 2, b"\0")
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    return bytes(128) + b"DICM" + meta + elements + film[start:]


_SEQUENCES = (
    b"\x28\x00\x00\x30",
    b"\x00\x52\x30\x92",
    b"\x00\x52\x29\x92",
    b"\x09\x00\x10\x10",
    b"\x08\x00\x40\x11",
)


def _tag(rng: Rng) -> bytes:
    """Modality LUT, the two of functional groups, a private one, one that is not looked at."""
    return _SEQUENCES[rng.integers(len(_SEQUENCES))]


def deep_sequences(rng: Rng) -> tuple[str, bytes]:
    """Sequences within each other, to the depth at which recursion ends and beyond."""
    tag, depth = _tag(rng), int(rng.choice([30, 300, 900, 5000, 100_000]))
    if rng.random() < 0.5:
        inside = (tag + b"SQ\0\0" + _UNDEFINED + _ITEM + _UNDEFINED) * depth
        if rng.random() < 0.5:
            inside += (_END_ITEM + _END_SEQUENCE) * depth
        return "film.dcm", _dicom(inside)
    inside = b""
    for _ in range(min(depth, 5000)):
        item = _ITEM + struct.pack("<I", len(inside)) + inside
        inside = tag + b"SQ\0\0" + struct.pack("<I", len(item)) + item
    return "film.dcm", _dicom(inside)


def many_items(rng: Rng) -> tuple[str, bytes]:
    """A sequence of empty items."""
    items = (_ITEM + bytes(4)) * int(rng.choice([1000, 100_000, 1_000_000]))
    length = _UNDEFINED if rng.random() < 0.5 else struct.pack("<I", len(items))
    return "film.dcm", _dicom(_tag(rng) + b"SQ\0\0" + length + items + _END_SEQUENCE)


def many_elements(rng: Rng) -> tuple[str, bytes]:
    """A header of empty elements, at its top or within an item."""
    elements = b"".join(b"\x09\x00" + struct.pack("<H", n % 65536) + b"LO\0\0" for n in range(2000))
    elements *= int(rng.choice([5, 100, 600]))
    if rng.random() < 0.5:
        elements = (
            _tag(rng) + b"SQ\0\0" + _UNDEFINED + _ITEM + _UNDEFINED + elements + _END_ITEM + _END_SEQUENCE
        )
    return "film.dcm", _dicom(elements)


def open_ended(rng: Rng) -> tuple[str, bytes]:
    """An undefined length that nothing ends."""
    vr = (b"OB", b"UN", b"SQ", b"OW", b"UT")[rng.integers(5)]
    filling = (bytes(2_000_000), rng.bytes(200_000), _ITEM + bytes(4), b"")[rng.integers(4)]
    return "film.dcm", _dicom(_tag(rng) + vr + b"\0\0" + _UNDEFINED + filling)


def deflated(rng: Rng) -> tuple[str, bytes]:
    """A deflated data set that inflates to hundreds of megabytes, or to a film and more."""
    body = b"\x09\x00\x10\x10OB\0\0" + _UNDEFINED
    if rng.random() < 0.3:
        film = corpus.dicoms()["explicit"]
        body = film[film.index(b"\x08\x00\x16\x00") :]
    packed = _zeros(int(rng.choice([60, 120, 600])), body)
    head = _dicom(b"", DeflatedExplicitVRLittleEndian)
    return "film.dcm", head[: head.index(b"\x08\x00\x16\x00")] + packed


@cache
def _zeros(mebibytes: int, before: bytes = b"", wbits: int = -15) -> bytes:
    """Something and so many mebibytes of zeros, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    parts = [packer.compress(before)]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(mebibytes)]
    return b"".join([*parts, packer.flush()])


# DICOM pixels


def _frame(syntax: UID, frames: list[bytes], rows: int, columns: int, **elements: object) -> bytes:
    ds = dataset(np.zeros((64, 64), np.uint16), **{"Rows": rows, "Columns": columns, **elements})
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    return encode(ds)


_SIZES = (64, 160, 2000, 6000, 5650, 20_000, 65_535)


def huge_size(rng: Rng) -> tuple[str, bytes]:
    """Rows, columns and frames that the pixels cannot fill."""
    rows, columns = (int(v) for v in rng.choice(_SIZES, 2))
    frames = rng.choice(["1", "2", "4096", "2147483647", "99999999999999999999"])
    stored = np.zeros((80, 80), np.uint16)
    if rng.random() < 0.5:
        return "film.dcm", encode(dataset(stored, Rows=rows, Columns=columns, NumberOfFrames=frames))
    syntax = (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit)[rng.integers(4)]
    padding = bytes(int(rng.choice([100, 200_000])))
    return "film.dcm", _frame(syntax, [rng.bytes(64) + padding], rows, columns, NumberOfFrames=frames)


def run_lengths(rng: Rng) -> tuple[str, bytes]:
    """Run lengths that expand to far more than the image, or segments that overlap."""
    count = int(rng.choice([0, 1, 2, 3, 15, 16, 2**32 - 1]))
    body = (b"\x81\x00", b"\x80", b"\x7f" + bytes(128), b"\x00\x00")[rng.integers(4)]
    body *= int(rng.choice([10, 1000, 1_000_000]))
    offsets = [int(v) for v in rng.choice([64, 65, 1064, len(body), 2**31], 15)]
    frame = struct.pack("<16I", count, *sorted(offsets)) + body
    rows, columns = (int(v) for v in rng.choice(_SIZES[:5], 2))
    return "film.dcm", _frame(RLELossless, [frame], rows, columns)


def fragments(rng: Rng) -> tuple[str, bytes]:
    """Pixels in hundreds of thousands of empty pieces."""
    film = corpus.dicoms()["JPEG-LS"]
    start = film.index(b"\xfe\xff\x00\xe0")
    pieces = (_ITEM + bytes(4)) * int(rng.choice([10_000, 1_000_000]))
    return "film.dcm", film[: start + 8] + pieces + film[start + 8 :]


def code_stream(rng: Rng) -> tuple[str, bytes]:
    """A code stream whose header was changed, in a file that agrees with its size."""
    word = str(rng.choice(["JPEG", "JPEG-LS", "JPEG 2000", "JPEG lossless", "JPEG extended"]))
    film = bytearray(corpus.dicoms()[word])
    place = film.index(b"\xff\x4f\xff\x51" if word == "JPEG 2000" else b"\xff\xd8\xff")
    rows, columns = (int(v) for v in rng.choice([160, *_SIZES], 2))
    if word == "JPEG 2000":
        size = struct.pack(">2I", columns, rows)
        tile = struct.pack(">2I", *(int(v) for v in rng.choice([1, 7, 160, 2**31], 2)))
        film[place + 8 : place + 16] = size
        if rng.random() < 0.5:
            film[place + 24 : place + 32] = tile
        style = film.index(b"\xff\x52", place)
        if rng.random() < 0.5:  # progression, layers, transform, levels, size of a code block
            film[style + 4 + int(rng.integers(9))] = rng.integers(256)
        if rng.random() < 0.3:
            film[style + 6 : style + 8] = b"\xff\xff"
    else:
        found = [film.find(bytes([0xFF, code]), place) for code in (0xC0, 0xC1, 0xC3, 0xF7)]
        header = min(v for v in found if v > 0)
        film[header + 5 : header + 9] = struct.pack(">2H", rows, columns)
        if rng.random() < 0.3:
            film[header + 4 + int(rng.integers(16))] = rng.integers(256)
        if rng.random() < 0.2:
            film[header + 1] = int(rng.choice([0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xF7]))
    if rng.random() < 0.8:
        for tag, value in ((b"\x28\x00\x10\x00", rows), (b"\x28\x00\x11\x00", columns)):
            at = film.index(tag)
            film[at + 8 : at + 10] = struct.pack("<H", value)
    data = bytes(film)
    if rng.random() < 0.5:  # long enough for the size that it states
        data = data[:-8] + _ITEM + struct.pack("<I", 200_000) + bytes(200_000) + data[-8:]
    return "film.dcm", data


# Rasters


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width: int, height: int, bits: int, colour: int, *chunks: bytes, idat: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IDAT", idat) + _chunk(b"IEND", b"")


def png_pixels(rng: Rng) -> tuple[str, bytes]:
    """A large blank PNG: a hundred kilobytes for a hundred megabytes; or one long enough to be true."""
    width, height = (int(v) for v in rng.choice([100, 2000, 6000, 5656, 6400, 100_000], 2))
    bits, colour = ((8, 0), (16, 0), (8, 2), (16, 2), (8, 6), (1, 0), (8, 3))[rng.integers(7)]
    extra = _chunk(b"prIv", bytes(int(rng.choice([0, 120_000]))))
    return "film.png", _png(
        width, height, bits, colour, extra, idat=_zeros(int(rng.choice([1, 40, 90])), b"", 15)
    )


def png_chunks(rng: Rng) -> tuple[str, bytes]:
    """Text, colour profile or EXIF that inflates, or comes ten thousand times."""
    packed = _zeros(int(rng.choice([2, 60, 200])), b"", 15)
    extra = (
        _chunk(b"iCCP", b"profile\0\0" + packed),
        _chunk(b"zTXt", b"key\0\0" + packed),
        _chunk(b"zTXt", b"key\0\0" + _zeros(1, b"", 15)) * 400,
        _chunk(b"iTXt", b"key\0\1\0\0\0" + packed),
        _chunk(b"tEXt", b"key\0" + bytes(1000)) * 10_000,
        _chunk(b"acTL", struct.pack(">II", int(rng.choice([0, 1, 2, 2**31])), 0)),
        _chunk(b"eXIf", _tiff_tags(rng)),
        _chunk(b"PLTE", bytes(3 * 256)) * 3 + _chunk(b"tRNS", bytes(500)),
    )[rng.integers(8)]
    grey = zlib.compress((b"\0" + bytes(range(100))) * 100)
    return "film.png", _png(100, 100, 8, 0, extra, idat=grey)


def _tiff_tags(rng: Rng, body: bytes = b"") -> bytes:
    """A directory of as many tags as fit, each of them the whole file."""
    count = int(rng.choice([5, 5000, 65_535]))
    size = 8 + 2 + 12 * count + 4
    kind = int(rng.choice([1, 2, 3, 4, 5, 7, 99]))
    tags = b"".join(struct.pack("<HHII", n, kind, size, 0) for n in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4) + body


def _tiff(entries: list[tuple[int, int, int, int]], body: bytes, following: int = 0) -> bytes:
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory + struct.pack("<I", following)


def tiff_pixels(rng: Rng) -> tuple[str, bytes]:
    """Strips and tiles that lie, and compression that expands."""
    width, height = (int(v) for v in rng.choice([100, 2000, 6000, 5650, 100_000], 2))
    code = int(rng.choice([1, 5, 7, 8, 32_773, 34_925, 50_000, 34_887]))
    body = {1: bytes(50_000), 5: _lzw(), 8: _zeros(40, b"", 15), 32_773: b"\x81\0" * 60_000}.get(
        code, bytes(5000)
    )
    body += bytes(int(rng.choice([0, 120_000])))
    bits = int(rng.choice([1, 8, 16, 32]))
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, code), (262, 3, 1, 1)]
    entries += [(277, 3, 1, int(rng.choice([1, 3, 4, 60_000])))]
    length = int(rng.choice([len(body), 2**31, 2**32 - 1, 0]))
    if rng.random() < 0.5:
        tile = [int(v) for v in rng.choice([16, 4096, 65_536, 2**31 - 16], 2)]
        entries += [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, 8), (325, 4, 1, length)]
    else:
        entries += [(273, 4, 1, 8), (278, 4, 1, int(rng.choice([1, height, 2**32 - 1]))), (279, 4, 1, length)]
    return "film.tif", _tiff(sorted(entries), body)


@cache
def _lzw() -> bytes:
    """Thirty million blank pixels, LZW."""
    buffer = io.BytesIO()
    Image.new("L", (5650, 5650)).save(buffer, "TIFF", compression="tiff_lzw")
    return buffer.getvalue()[8:]


def tiff_directories(rng: Rng) -> tuple[str, bytes]:
    """Directories in a circle, a hundred thousand pages, tags that are the whole file."""
    what = rng.integers(4)
    if what == 0:
        return "film.tif", _tiff_tags(rng)
    count = int(rng.choice([2, 1000, 100_000]))
    entries = [(256, 3, 1, 100), (257, 3, 1, 100), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 100), (279, 4, 1, 10_000)]
    if what == 1:
        return "film.tif", _tiff(entries, rng.bytes(10_000), int(rng.choice([8, 10_008, 2**32 - 1])))
    first = _tiff(entries, rng.bytes(10_000), 0)[:-4]
    page = struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 100)
    places = [len(first) + 4 + 18 * n for n in range(count)]
    nexts = [*places, 0 if what == 2 else places[0]]
    return "film.tif", first + struct.pack("<I", nexts[0]) + b"".join(
        page + struct.pack("<I", n) for n in nexts[1:]
    )


def jpeg_scans(rng: Rng) -> tuple[str, bytes]:
    """A progressive JPEG that goes over the image again and again."""
    side = int(rng.choice([100, 1000, 4000]))
    plain = _blank_jpeg(side)
    scan = plain.rindex(b"\xff\xda")
    scans = plain[scan:-2] * int(rng.choice([3, 40, 100, 5000]))
    data = plain[:scan] + scans + b"\xff\xd9"
    if rng.random() < 0.3:
        return "film.dcm", _frame(
            JPEGBaseline8Bit, [data + bytes(len(data) % 2)], side, side,
            BitsAllocated=8, BitsStored=8, HighBit=7,
        )  # fmt: skip
    return "film.jpg", data


@cache
def _blank_jpeg(side: int) -> bytes:
    return raster(np.zeros((side, side), np.uint8), "JPEG", progressive=True)


def jpeg_headers(rng: Rng) -> tuple[str, bytes]:
    """A frame header that lies, one too many, or thousands of other segments."""
    plain = corpus.rasters()["JPEG"]
    header = plain.index(b"\xff\xc0")
    size = struct.pack(">2H", *(int(v) for v in rng.choice([0, 1, 160, 6000, 5650, 65_535], 2)))
    lying = plain[: header + 5] + size + plain[header + 9 :]
    segment = (
        b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + _tiff_tags(rng)[:65_527].ljust(65_527, b"\0")
    )
    comment = b"\xff\xfe" + struct.pack(">H", 1000) + bytes(998)
    data = (
        lying,
        lying + bytes(200_000),
        plain[:header] + lying[header : header + 19] + plain[header:],
        plain[:2] + segment * int(rng.choice([1, 20])) + plain[2:],
        plain[:2] + comment * 5000 + plain[2:],
        plain[:2] + (b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0\1\1" + bytes(65_519)) * 100 + plain[2:],
        plain[:2] + b"\xff" * 1_000_000 + plain[2:],
    )[rng.integers(7)]
    return "film.jpg", data


def webp_canvas(rng: Rng) -> tuple[str, bytes]:
    """A canvas of up to 16 million by 16 million, stills and animations."""
    plain = corpus.rasters()[str(rng.choice(["WEBP", "WEBP lossless"]))]
    inner = plain[12:]
    if inner[:4] == b"VP8X":
        inner = inner[18:]
    size = b"".join(int(v).to_bytes(3, "little") for v in rng.choice([63, 159, 5650, 16_383, 2**24 - 1], 2))
    flags = int(rng.choice([0, 2, 0x10, 0x12, 0x2C]))
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + size
    if flags & 2:
        extended += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body = b"WEBP" + extended + inner
    return "film.webp", b"RIFF" + struct.pack("<I", len(body)) + body


# Archives


def zip_ratio(rng: Rng) -> tuple[str, bytes]:
    """Members that inflate a thousand times."""
    size = int(rng.choice([1, 60, 600]))
    packed = _zeros(size)
    members = {f"{n}{rng.choice(['.dcm', '.zip', '.png'])}": packed for n in range(int(rng.choice([1, 5])))}
    return "films.zip", _raw_zip(members, size << 20)


def _raw_zip(members: dict[str, bytes], size: int, flags: int = 0, overlap: bool = False) -> bytes:
    """An archive of data that is deflated already; its checksums are wrong."""
    body, directory = b"", b""
    for name, packed in members.items():
        place = 0 if overlap else len(body)
        common = struct.pack("<HHHHHIII2H", 20, flags, 8, 0, 33, 0, len(packed), size, len(name), 0)
        if not overlap or not body:
            body += b"PK\x03\x04" + common + name.encode() + packed
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, place) + name.encode()
    end = struct.pack("<4H2IH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def zip_overlap(rng: Rng) -> tuple[str, bytes]:
    """Thousands of members that are the same bytes."""
    members = {f"{n:05}.dcm": _zeros(10) for n in range(int(rng.choice([2, 100, 5000])))}
    return "films.zip", _raw_zip(members, 10 << 20, overlap=True)


def zip_nested(rng: Rng) -> tuple[str, bytes]:
    """Archives in archives, deep, or many in each."""
    inner = corpus.zipped({"a.png": corpus.rasters()["PNG"]})
    width = int(rng.choice([1, 1, 10]))
    for _ in range(int(rng.integers(2, 4 if width > 1 else 12))):
        inner = corpus.zipped({f"{n}.zip": inner for n in range(width)})
    return "films.zip", inner


def zip_members(rng: Rng) -> tuple[str, bytes]:
    """Tens of thousands of empty members."""
    return "films.zip", _raw_zip({f"{n}": b"" for n in range(int(rng.choice([100, 20_000])))}, 0)


def zip_directory(rng: Rng) -> tuple[str, bytes]:
    """A table of contents that lies about members, places, sizes, methods and encryption."""
    data = bytearray(corpus.archives()[str(rng.choice(["zip", "stored zip", "nested zip"]))])
    places = [v for v in corpus.joints(bytes(data)) if data[v : v + 4] != b"PK\x03\x04"]
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.choice(places)) + int(rng.integers(4, 46))
        data[place : place + 4] = int(rng.choice([0, 1, 12, 14, 0xFFFF, 2**31, 2**32 - 1])).to_bytes(
            4, "little"
        )
    return "films.zip", bytes(data[: len(data)])


def zip_names(rng: Rng) -> tuple[str, bytes]:
    """Members that are called what no file should be called."""
    names = [
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\a.png",
        "a\0b",
        "\x1b[31m.png",
        "a" * 60_000,
        "..",
        " ",
        "a/" * 999,
    ]
    names += ["__MACOSX/._a", ".hidden", "DICOMDIR", "CON", "a.png", "A.png"]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in rng.permutation(names):
            archive.writestr(str(name), corpus.rasters()["PNG"])
    return "films.zip", buffer.getvalue()


BOMBS = (
    deep_sequences, many_items, many_elements, open_ended, deflated, huge_size, run_lengths, fragments,
    code_stream, png_pixels, png_chunks, tiff_pixels, tiff_directories, jpeg_scans, jpeg_headers, webp_canvas,
    zip_ratio, zip_overlap, zip_nested, zip_members, zip_directory, zip_names,
)  # fmt: skip
