"""Files that no reader should trust, each from one seed: simulated films in every format, then damaged.

`make(seed)` gives the same bytes for a seed with the same versions of numpy, Pillow and the encoders.
Kinds of damage take turns, so that any run of seeds has all of them. Hand-made bombs are in `bombs`.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from films import dataset, encode, raster
from kellgren.simulate import draw_crop

Rng = np.random.Generator
Damage = Callable[[Rng], tuple[str, bytes]]

SECRETS = ("Secret", "SECRET-ID")
"""Patient data in every DICOM file of the corpus: no message may repeat it."""


@dataclass(frozen=True)
class Case:
    """A file to read: its seed, the kind of damage, a name for it, and its bytes."""

    seed: int
    kind: str
    name: str
    data: bytes


# Sound files


@cache
def _knee() -> npt.NDArray[np.uint16]:
    """A simulated joint, 12 bits."""
    return (draw_crop(np.random.default_rng(3), KL=2, side="R", size=160).pixels >> 4).astype(np.uint16)


def _compressed(ds: Dataset, syntax: UID, frames: list[bytes]) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    return encode(ds)


def _by_gdcm(ds: Dataset, syntax: UID) -> bytes:
    """The file as GDCM compresses it, which wants files."""
    gdcm = __import__("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        plain.write_bytes(encode(ds))
        reader.SetFileName(str(plain))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return packed.read_bytes()


@cache
def dicoms() -> dict[str, bytes]:
    """Sound DICOM files by a word for their form."""
    knee = _knee()
    eight = (knee >> 4).astype(np.uint8)
    spaced = {"PixelSpacing": [0.2, 0.2], "ImageLaterality": "R"}
    files = {
        "explicit": encode(dataset(knee, **spaced)),
        "implicit": encode(dataset(knee, syntax=ImplicitVRLittleEndian)),
        "big endian": encode(dataset(knee, syntax=ExplicitVRBigEndian)),
        "deflated": encode(dataset(knee, syntax=DeflatedExplicitVRLittleEndian)),
        "signed": encode(dataset(knee.astype(int) - 2048, signed=True, RescaleSlope=2, RescaleIntercept=-9)),
        "without preamble": encode(dataset(knee), preamble=False),
        "sequences": encode(dataset(knee, **_sequences())),
    }
    bare = encode(dataset(knee, syntax=ImplicitVRLittleEndian))
    files["bare data set"] = bare[bare.index(b"\x08\x00\x16\x00") :]
    colour = dataset(eight, bits=8, PhotometricInterpretation="RGB", SamplesPerPixel=3)
    colour.PlanarConfiguration = 0
    colour.PixelData = np.dstack([eight] * 3).tobytes()
    files["RGB"] = encode(colour)
    for word, syntax in (("RLE", RLELossless), ("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless)):
        ds = dataset(knee)
        ds.compress(syntax, generate_instance_uid=False)
        files[word] = encode(ds)
    flat = dataset(eight, bits=8)
    files["JPEG"] = _compressed(flat, JPEGBaseline8Bit, [raster(eight, "JPEG", quality=90)])
    files["JPEG lossless"] = _by_gdcm(dataset(knee), JPEGLosslessSV1)
    files["JPEG extended"] = _by_gdcm(dataset(knee), JPEGExtended12Bit)
    return files


def _sequences() -> dict[str, object]:
    """Every sequence that the reader looks into."""
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.add_new("LUTData", "OW", np.arange(0, 65536, 16, dtype="<u2").tobytes())
    group, measures = Dataset(), Dataset()
    measures.PixelSpacing = [0.2, 0.2]
    group.PixelMeasuresSequence = Sequence([measures])
    return {
        "ModalityLUTSequence": Sequence([table]),
        "VOILUTSequence": Sequence([table]),
        "SharedFunctionalGroupsSequence": Sequence([group]),
        "PerFrameFunctionalGroupsSequence": Sequence([group]),
    }


@cache
def rasters() -> dict[str, bytes]:
    """Sound raster files by a word for their form."""
    deep = _knee() * 16
    grey = (deep >> 8).astype(np.uint8)
    image = Image.fromarray(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "PNG": raster(grey),
        "PNG 16": raster(deep),
        "PNG colour": raster(image.convert("RGBA"), exif=exif),
        "PNG palette": raster(image.convert("P")),
        "JPEG": raster(grey, "JPEG", exif=exif),
        "JPEG progressive": raster(image.convert("RGB"), "JPEG", progressive=True),
        "TIFF": raster(deep, "TIFF"),
        "TIFF LZW": raster(grey, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": raster(deep, "TIFF", compression="tiff_deflate"),
        "TIFF JPEG": raster(grey, "TIFF", compression="jpeg"),
        "TIFF pages": raster(grey, "TIFF", save_all=True, append_images=[Image.fromarray(grey)]),
        "TIFF big": raster(grey, "TIFF", big_tiff=True),
        "JP2": raster(deep, "JPEG2000"),
        "WEBP": raster(grey, "WEBP"),
        "WEBP lossless": raster(image.convert("RGBA"), "WEBP", lossless=True, exif=exif),
    }


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return buffer.getvalue()


def _tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@cache
def archives() -> dict[str, bytes]:
    """Sound archives."""
    films = {"a.dcm": dicoms()["explicit"], "b/c.png": rasters()["PNG"]}
    return {
        "zip": zipped(films),
        "stored zip": zipped(films, zipfile.ZIP_STORED),
        "tar": _tarred(films),
        "tar gz": gzip.compress(_tarred(films), mtime=0),
        "nested zip": zipped({"inner.zip": zipped(films), "d.jpg": rasters()["JPEG"]}),
    }


@cache
def sound() -> list[tuple[str, bytes]]:
    """Every sound file with a name that fits it."""
    named = [(f"{word}.dcm", data) for word, data in dicoms().items()]
    named += [(f"{word}.{word.split()[0].lower()}", data) for word, data in rasters().items()]
    suffixes = {"tar": "tar", "tar gz": "tar.gz"}
    return named + [(f"{word}.{suffixes.get(word, 'zip')}", data) for word, data in archives().items()]


def pick(rng: Rng, files: dict[str, bytes] | None = None) -> tuple[str, bytes]:
    """One of the sound files."""
    choice = sound() if files is None else [(f"{word}.dcm", data) for word, data in files.items()]
    return choice[rng.integers(len(choice))]


# Damage to any file


def _place(rng: Rng, size: int) -> int:
    """A place in a file: half the time near its beginning, where the structure is."""
    return int(rng.integers(min(size, 1024) if rng.random() < 0.5 else size))


def flip(rng: Rng) -> tuple[str, bytes]:
    """Random bytes replaced."""
    name, data = pick(rng)
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 20))):
        out[_place(rng, len(out))] = rng.integers(256)
    return name, bytes(out)


def lie(rng: Rng) -> tuple[str, bytes]:
    """A number of two or four bytes replaced by one that lengths break on."""
    name, data = pick(rng)
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        value = int(
            rng.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
        )
        order = str(rng.choice(["<", ">"]))
        code = "I" if value > 0xFFFF or rng.random() < 0.5 else "H"
        word = struct.pack(f"{order}{code}", value)
        place = _place(rng, len(out) - 4)
        out[place : place + len(word)] = word
    return name, bytes(out)


def cut(rng: Rng) -> tuple[str, bytes]:
    """Cut short anywhere."""
    name, data = pick(rng)
    return name, data[: int(rng.integers(len(data)))]


def cut_at_a_joint(rng: Rng) -> tuple[str, bytes]:
    """Cut short where a part of the file begins, or a byte or two from there."""
    name, data = pick(rng)
    return name, data[: max(0, int(rng.choice(joints(data))) + int(rng.integers(-2, 3)))]


def splice(rng: Rng) -> tuple[str, bytes]:
    """The beginning of one file and the end of another."""
    (name, first), (_, second) = pick(rng), pick(rng)
    return name, first[: int(rng.choice(joints(first)))] + second[int(rng.choice(joints(second))) :]


def repeat(rng: Rng) -> tuple[str, bytes]:
    """A part of the file left out, or there many times."""
    name, data = pick(rng)
    start, end = sorted(int(rng.choice(joints(data))) for _ in range(2))
    return name, data[:start] + data[start:end] * int(rng.choice([0, 2, 50])) + data[end:]


def smear(rng: Rng) -> tuple[str, bytes]:
    """A stretch of zeros, ones or noise."""
    name, data = pick(rng)
    start, size = _place(rng, len(data)), int(rng.integers(1, 4096))
    fill = (bytes(size), b"\xff" * size, rng.bytes(size))[rng.integers(3)]
    return name, data[:start] + fill + data[start + size :]


def joints(data: bytes) -> list[int]:
    """Where parts of a file begin, found by what they begin with; always some place."""
    if data.startswith(b"\x89PNG"):
        marks = [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"eXIf"]
    elif data.startswith(b"\xff\xd8"):
        marks = [bytes([0xFF, code]) for code in (*range(0xC0, 0xC5), *range(0xD8, 0xE2), 0xFE)]
    elif data.startswith(b"RIFF"):
        marks = [b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"EXIF"]
    elif data.startswith(b"PK"):
        marks = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    elif data[:2] in (b"II", b"MM"):
        marks = [bytes([1, tag]) if data[:1] == b"M" else bytes([tag, 1]) for tag in range(0, 30)]
    else:  # DICOM: the groups that films have
        marks = [bytes([group, 0]) for group in (0x02, 0x08, 0x10, 0x18, 0x20, 0x28)]
        marks += [b"\xe0\x7f\x10\x00", b"\xfe\xff\x00\xe0", b"\xff\xd8\xff", b"\xffO\xffQ"]
    places = []
    for mark in marks:
        place = data.find(mark)
        while place >= 0 and len(places) < 500:
            places.append(place)
            place = data.find(mark, place + 1)
    return places or [len(data) // 2]


# Damage to DICOM elements


def elements(data: bytes) -> list[tuple[int, int, int]]:
    """(start, place of the value, length) of each element of an explicit little-endian file."""
    found, place = [], 132
    while place + 8 <= len(data):
        long = data[place + 4 : place + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        value = place + (12 if long else 8)
        if value > len(data):
            break
        (length,) = struct.unpack_from("<I" if long else "<H", data, value - (4 if long else 2))
        found.append((place, value, length))
        if length == 0xFFFFFFFF:
            break
        place = value + length
    return found


_EXPLICIT = ("explicit", "signed", "RGB", "sequences", "RLE", "JPEG", "JPEG-LS", "JPEG 2000", "JPEG lossless")
_VRS = (b"SQ", b"UN", b"OB", b"OW", b"DS", b"IS", b"US", b"FD", b"UT", b"AT", b"??", b"\0\0", b"zz")


def damage_element(rng: Rng) -> tuple[str, bytes]:
    """Tag, VR, length or value of one or a few elements."""
    word = str(rng.choice(_EXPLICIT))
    out = bytearray(dicoms()[word])
    parts = elements(bytes(out))
    for _ in range(int(rng.integers(1, 4))):
        start, value, length = parts[rng.integers(len(parts))]
        what = rng.integers(4)
        if what == 0:
            out[start : start + 4] = struct.pack("<2H", *rng.choice([2, 8, 0x28, 0x10, 0xFFFE, 0x7FE0], 2))
        elif what == 1:
            out[start + 4 : start + 6] = _VRS[rng.integers(len(_VRS))]
        elif what == 2:
            size = value - start - 6 if value - start == 8 else 4
            bad = int(rng.choice([0, 1, 3, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF]))
            out[value - size : value] = bad.to_bytes(4, "little")[:size]
        elif length:
            end = value + min(length, 64)
            out[value:end] = rng.bytes(end - value)
    return f"{word}.dcm", bytes(out)


_NUMBERS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "SamplesPerPixel",
    "PixelRepresentation",
)
_TEXTS = (
    "PhotometricInterpretation", "TransferSyntaxUID", "Modality", "NumberOfFrames", "RescaleSlope",
    "RescaleIntercept", "PixelSpacing", "WindowCenter", "ImageLaterality", "PixelPaddingValue",
)  # fmt: skip
_SYNTAXES = (
    ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless,
    RLELossless, JPEGExtended12Bit, JPEGLSLossless, "1.2.840.10008.1.2.4.100", "1.2.3", "Secret",
)  # fmt: skip
_WORDS = (
    b"", b"0", b"-1", b"1e308", b"1e-320", b"nan", b"inf", b"99999999999999999999",
    b"1\\2\\3", b"\\", b"\0" * 8,
    b"MONOCHROME1", b"PALETTE COLOR", b"YBR_FULL_422", b"RGB", b"\xff\xfe", b"CT", b"B",
)  # fmt: skip


def damage_meaning(rng: Rng) -> tuple[str, bytes]:
    """Values that are well formed and cannot be true."""
    data = dicoms()["explicit"]
    values = {
        struct.unpack("<2H", data[start : start + 4]): (
            data[start + 4 : start + 6],
            data[value : value + length],
        )
        for start, value, length in elements(data)
    }
    for _ in range(int(rng.integers(1, 4))):
        keyword = str(rng.choice(_NUMBERS + _TEXTS))
        word = _WORDS[rng.integers(len(_WORDS))]
        if keyword in _NUMBERS:
            number = int(rng.choice([0, 1, 2, 7, 8, 15, 16, 17, 32, 63, 160, 161, 1000, 32768, 65535]))
            word = struct.pack("<H", number)
        elif keyword == "TransferSyntaxUID":
            word = _SYNTAXES[rng.integers(len(_SYNTAXES))].encode()
        tag = tag_for_keyword(keyword) or 0
        values[tag >> 16, tag & 0xFFFF] = (dictionary_VR(tag)[:2].encode(), word + b" " * (len(word) % 2))
    parts = []
    for (group, element), (vr, value) in sorted(values.items()):
        long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length = struct.pack("<2xI" if long else "<H", len(value))
        parts.append(struct.pack("<2H", group, element) + vr + length + value)
    return "film.dcm", bytes(128) + b"DICM" + b"".join(parts)


# Damage to fields that random bytes rarely reach


_parts_of = elements


def _explicit_with(elements: dict[tuple[int, int], tuple[bytes, bytes]], word: str = "explicit") -> bytes:
    """A sound file with these elements, (VR, value), added or replaced."""
    data = dicoms()[word]
    parts = [
        (struct.unpack("<2H", data[start : start + 4]), data[start : value + length])
        for start, value, length in _parts_of(data)
    ]
    kept = [(tag, part) for tag, part in parts if tag not in elements]
    for (group, element), (vr, value) in elements.items():
        long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        value += b" " * (len(value) % 2)
        length = struct.pack("<2xI" if long else "<H", len(value))
        kept.append(((group, element), struct.pack("<2H", group, element) + vr + length + value))
    return bytes(128) + b"DICM" + b"".join(part for _, part in sorted(kept, key=lambda pair: pair[0]))


def character_sets(rng: Rng) -> tuple[str, bytes]:
    """Specific Character Set, at the top and in sequences, of anything; names in escape sequences."""
    words = [
        b"Secret", b"SECRET-ID\\ISO 2022 IR 87", b"\x1b[2J\x1b]0;Secret\x07", b"ISO_IR 192",
        b"ISO 2022 IR 999",
        b"\\" * 500, b"Secret" * 9000, rng.bytes(64), b"", b"ISO_IR 100\\" * 300,
    ]  # fmt: skip
    word = words[rng.integers(len(words))]
    vr = (b"CS", b"UN", b"UT", b"SQ")[rng.integers(4)]
    nested = struct.pack("<2HI", 0xFFFE, 0xE000, 8 + len(word[:60000])) + b"\x08\x00\x05\x00CS"
    nested += struct.pack("<H", len(word[:60000])) + word[:60000]
    return "film.dcm", _explicit_with(
        {
            (0x0008, 0x0005): (vr, word[:60000]),
            (0x0010, 0x0010): (b"PN", b"\x1b$B" + rng.bytes(20) + b"Secret"),
            (0x0028, 0x3010): (b"SQ", nested),
        }
    )


def fragments(rng: Rng) -> tuple[str, bytes]:
    """Compressed pixels in odd fragments: split, empty, too many, with another table or none."""
    word = str(rng.choice(["RLE", "JPEG", "JPEG-LS", "JPEG 2000", "JPEG lossless"]))
    data = dicoms()[word]
    place = data.index(b"\xe0\x7f\x10\x00")
    head, body = data[: place + 12], data[place + 12 :]
    first = body.index(b"\xfe\xff\x00\xe0", 8)
    frame = body[first + 8 : body.rindex(b"\xfe\xff\xdd\xe0")]
    cuts = sorted(int(c) for c in rng.integers(0, len(frame), int(rng.integers(0, 6))))
    pieces = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, len(frame)], strict=True)]
    extra = rng.integers(5)
    if extra == 0:
        pieces = [*pieces, *[b""] * int(rng.choice([1, 1000, 150_000]))]
    elif extra == 1:
        pieces = pieces * int(rng.integers(2, 6))
    elif extra == 2:
        pieces = [rng.bytes(100), *pieces]
    elif extra == 3:
        pieces = [*pieces, rng.bytes(int(rng.choice([10, 3_000_000])))]
    table = rng.choice([0, 1, 2, 0xFFFFFFF0], int(rng.integers(0, 4))).astype("<u4").tobytes()
    items = [table, *pieces]
    out = b"".join(struct.pack("<2HI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return f"{word}.dcm", head + out + b"\xfe\xff\xdd\xe0\0\0\0\0"


def spacings(rng: Rng) -> tuple[str, bytes]:
    """Spacing strings as programs write them, and as none should."""
    words = [
        b"0,143\\0,143", b"0.143,0.143", b"1\\1", b"0\\0", b"-0.1\\0.1", b"143\\143", b"nan\\inf",
        b"1e-400\\1e400", b"0.1", b"0.1\\0.1\\0.1", b"\\", b"0.1mm\\0.1mm", b"9" * 1000, b"0.1\\" * 2000,
        b"Secret", b"1_0\\1_0",
        b"\xd9\xa0.\xd9\xa1", rng.bytes(16),
    ]  # fmt: skip
    tags = [(0x0028, 0x0030), (0x0018, 0x1164), (0x0018, 0x1114), (0x0028, 0x0034), (0x0018, 0x2010)]
    tags += [(0x0028, 0x1052), (0x0028, 0x1053), (0x0028, 0x0008), (0x0028, 0x1050)]
    picked = {tags[rng.integers(len(tags))]: (b"DS", words[rng.integers(len(words))]) for _ in range(3)}
    return "film.dcm", _explicit_with(picked)


def table_lengths(rng: Rng) -> tuple[str, bytes]:
    """Lookup tables whose descriptor and data disagree, of any VR and length."""

    def table(word: str) -> Dataset:
        item = Dataset()
        entries = int(rng.choice([0, 1, 2, 255, 256, 4096, 65535]))
        item.add_new(
            f"{word}Descriptor",
            "US",
            [entries, int(rng.choice([0, 1, 32768, 65535])), int(rng.choice([0, 8, 12, 16, 99]))],
        )
        size = int(rng.choice([0, 1, 2, 255, 512, 8192, 131072]))
        item.add_new("LUTData", str(rng.choice(["OW", "US"])), rng.bytes(size // 2 * 2) or b"")
        if item["LUTData"].VR == "US":
            item["LUTData"].value = [int(v) for v in rng.integers(0, 65536, max(1, min(size // 2, 30_000)))]
        return item

    extra: dict[str, object] = {"ModalityLUTSequence": Sequence([table("LUT")])} if rng.random() < 0.5 else {}
    if rng.random() < 0.7:
        extra["VOILUTSequence"] = Sequence([table("LUT") for _ in range(int(rng.integers(0, 3)))])
    if rng.random() < 0.3:
        count = int(rng.choice([0, 2, 256, 65535]))
        extra |= {"PhotometricInterpretation": "PALETTE COLOR"}
        for colour in ("Red", "Green", "Blue"):
            extra[f"{colour}PaletteColorLookupTableDescriptor"] = [count, 0, int(rng.choice([8, 16]))]
            extra[f"{colour}PaletteColorLookupTableData"] = rng.bytes(int(rng.choice([0, 2, 512, 1024])))
    return "film.dcm", encode(dataset(_knee(), **extra))


# No film at all


def nothing(rng: Rng) -> tuple[str, bytes]:
    """What lies in folders of films without being one, mostly under a film's name."""
    size = int(rng.integers(1, 5000))
    photo = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    choices = [
        b"",
        bytes(size),
        b"\xff" * size,
        rng.bytes(size),
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "knee,KL\n9000099R,2\n".encode("utf-16"),
        raster(photo, "JPEG"),
        raster(photo, "BMP"),
        raster(photo, "GIF"),
        b"%PDF-1.7\n" + rng.bytes(size),
        b"\x1f\x8b\x08" + rng.bytes(size),
        bytes(128) + b"DICM" + rng.bytes(size),
        b"\x08\x00\x05\x00CS" + rng.bytes(size),
        b"\x89PNG\r\n\x1a\n" + rng.bytes(size),
        b"\xff\xd8\xff" + rng.bytes(size),
        b"II*\x00" + rng.bytes(size),
        b"RIFF\x00\x00\x00\x00WEBP" + rng.bytes(size),
        b"PK\x03\x04" + rng.bytes(size),
    ]
    return f"film{rng.choice(['.dcm', '.png', '.zip', ''])}", choices[rng.integers(len(choices))]


def kinds() -> dict[str, Damage]:
    """Every kind of damage by its name. The general ones come several times as often."""
    import bombs

    general = [
        flip, lie, cut, cut_at_a_joint, splice, repeat, smear, damage_element, damage_meaning, nothing,
        character_sets, fragments, spacings, table_lengths,
    ]  # fmt: skip
    named = {f"{damage.__name__} {turn}": damage for turn in (1, 2, 3) for damage in general}
    return named | {damage.__name__: damage for damage in bombs.BOMBS}


def make(seed: int) -> Case:
    """The file of a seed."""
    rng = np.random.default_rng(seed)
    every = kinds()
    kind = list(every)[seed % len(every)]
    name, data = every[kind](rng)
    return Case(seed, kind.split(" ")[0], name, data)
