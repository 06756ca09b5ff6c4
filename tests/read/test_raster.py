import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from films import knee, raster, write
from kellgren.errors import KellgrenError, UnreadableImage
from kellgren.read import Limits, Source, list_images, read, read_bytes

GREY = knee(top=255).astype(np.uint8)
DEEP = knee(top=65535).astype(np.uint16)


@pytest.mark.parametrize("name", ["film.png", "film.dcm", "film", "film.txt"])
def test_the_content_decides_not_the_name(tmp_path, name):
    film = read(write(tmp_path, name, raster(GREY)))
    assert film.format == "PNG"
    assert film.photometric is None
    assert film.spacing is None
    assert film.bits == 8
    np.testing.assert_array_equal(film.pixels, GREY)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_give_their_values(kind, options):
    film = read_bytes(raster(GREY, kind, **options), "film")
    assert film.format == kind
    assert film.pixels.dtype == np.float32
    np.testing.assert_array_equal(film.pixels, GREY)


def test_jpeg_is_close_and_takes_its_side_from_the_name():
    film = read_bytes(raster(GREY, "JPEG", quality=92, dpi=(300, 300)), "9000099L.jpg")
    assert film.format == "JPEG"
    assert np.abs(film.pixels - GREY).mean() < 3
    assert (film.laterality.side, film.laterality.source) == ("L", "name")
    assert film.spacing is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_kept(kind):
    film = read_bytes(raster(DEEP, kind), "film")
    assert film.bits == 16
    np.testing.assert_array_equal(film.pixels, DEEP)


def deep_tiff(values, *, white_is_zero):
    """A minimal little-endian 16-bit TIFF, since Pillow writes no WhiteIsZero."""
    rows, columns = values.shape
    entries = [(256, columns), (257, rows), (258, 16), (259, 1), (262, 0 if white_is_zero else 1)]
    entries += [(273, 8), (277, 1), (278, rows), (279, values.nbytes)]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", t, 4, 1, v) for t, v in entries
    )
    body = values.astype("<u2").tobytes()
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory + bytes(4)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_sixteen_bit_tiff_whose_white_is_zero_is_turned_over(white_is_zero):
    film = read_bytes(deep_tiff(DEEP, white_is_zero=white_is_zero), "film.tif")
    np.testing.assert_array_equal(film.pixels, 65535 - DEEP.astype(int) if white_is_zero else DEEP)


def test_grey_stored_as_colour_or_palette_is_the_same_grey():
    grey = Image.fromarray(GREY)
    palette = Image.fromarray(GREY)
    palette.putpalette([v for i in range(256) for v in (i, i, i)])
    for image in (grey.convert("RGB"), grey.convert("RGBA"), grey.convert("LA"), palette):
        film = read_bytes(raster(image), "film.png")
        np.testing.assert_array_equal(film.pixels, GREY)
        assert film.notes == ()
        assert film.padding is None


def test_a_colour_image_is_for_a_person_and_its_luminance_is_used():
    red = np.zeros((*GREY.shape, 3), np.uint8)
    red[..., 0] = GREY
    film = read_bytes(raster(red), "film.png")
    np.testing.assert_allclose(film.pixels, GREY * 0.299, rtol=1e-5)
    assert "colour" in film.flags[0]


def test_transparent_pixels_are_padding():
    rgba = np.dstack([GREY] * 3 + [np.full_like(GREY, 255)])
    rgba[:, :10, 3] = 0
    film = read_bytes(raster(rgba), "film.png")
    assert film.padding is not None
    assert film.padding[:, :10].all()
    assert not film.padding[:, 10:].any()


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_honoured(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    film = read_bytes(raster(GREY, "PNG", exif=exif), "film.png")
    np.testing.assert_array_equal(film.pixels, np.rot90(GREY, turn))
    assert bool(film.notes) == (orientation != 1)


def bomb_png(width, height):
    """A PNG that declares a size it does not hold."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    idat = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def half(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"knee,KL\n1,2\n", "text"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x00\x01\x02" * 100, "not an image"),
        (half(raster(GREY)), "damaged or cut short"),
        (half(raster(GREY, "JPEG")), "damaged or cut short"),
        (half(raster(GREY, "TIFF")), "damaged or cut short"),
        (half(raster(GREY, "WEBP")), "damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "damaged or cut short"),
        (raster(Image.fromarray(GREY).convert("1")), "one bit"),
        (raster(Image.fromarray(GREY).convert("F"), "TIFF"), "floating-point"),
        (raster(np.full((80, 80), 70000, np.int32), "TIFF"), "beyond 16 bits"),
        (raster(GREY[:40]), "at least 64"),
        (bomb_png(20_000, 20_000), "far more pixels"),
        (bomb_png(13_000, 13_000), "more than the 32000000"),
        (bomb_png(5_000, 5_000), "too short for the size"),
        (bomb_png(1_000, 1_000), "damaged or cut short"),
        (bomb_png(0, 100), "damaged or cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_has_a_plain_reason(tmp_path, data, reason, capfd, recwarn):
    path = write(tmp_path, "film.png", data)
    with pytest.raises(UnreadableImage) as caught:
        read(path)
    assert reason in caught.value.reason
    assert caught.value.path == path
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_a_tiff_of_several_pages_is_refused_with_the_count():
    image = Image.fromarray(GREY)
    pages = raster(image, "TIFF", save_all=True, append_images=[image, image])
    with pytest.raises(UnreadableImage, match="3 pages"):
        read_bytes(pages, "film.tif")


def test_limits_hold_before_decoding(tmp_path):
    path = write(tmp_path, "film.png", raster(GREY))
    with pytest.raises(UnreadableImage, match="bytes"):
        read(path, limits=Limits(max_bytes=100))
    with pytest.raises(UnreadableImage, match="pixels"):
        read(path, limits=Limits(max_pixels=GREY.size - 1))
    assert read(path, limits=Limits(max_pixels=GREY.size)).pixels.shape == GREY.shape


def test_missing_files_and_folders_are_unreadable(tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        read(tmp_path / "none.png")
    with pytest.raises(UnreadableImage, match="not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_damaged_bytes_raise_nothing_but_our_own_errors(kind):
    rng = np.random.default_rng(1)
    whole = raster(GREY, kind)
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole[: rng.integers(16, len(whole) + 1)])
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(256)
        try:
            read_bytes(bytes(data), "film")
        except KellgrenError as error:
            outcomes.add(type(error))
    assert outcomes == {UnreadableImage}


def test_find_images_yields_everything_that_is_not_hidden_in_order(tmp_path):
    for name in ("b.png", "a", "c.txt", "empty.dcm", ".hidden.png", "DICOMDIR"):
        write(tmp_path, name, b"")
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", "IM000001", b"")
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache", "x.png", b"")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [source.file for source in list_images([tmp_path]).sources]
    assert found == ["b.png", "deep/IM000001", "empty.dcm"]
    assert list_images([tmp_path / "none.png"]).sources == (Source(tmp_path / "none.png", "none.png"),)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_come_back_to_the_stored_image(orientation):
    stored = np.zeros((100, 160), np.uint8)
    stored[20:40, 30:80] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    film = read_bytes(raster(stored, exif=exif), "film.png")
    rows, columns = np.nonzero(film.pixels)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert film.stored_box(tuple(float(v) for v in box)) == (30, 20, 80, 40)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_false_colour_image_is_flagged(kind):
    smooth = np.add.outer(np.arange(120), np.arange(120)).astype(np.uint8)
    full = np.full_like(smooth, 255)
    rainbow = Image.merge("HSV", [Image.fromarray(part) for part in (smooth, full, full)]).convert("RGB")
    assert "the image is in colour" in read_bytes(raster(rainbow, kind), "film").flags[0]
    assert read_bytes(raster(Image.fromarray(smooth).convert("RGB"), kind), "film").flags == ()


@pytest.mark.parametrize(("kind", "options"), [("JPEG2000", {}), ("TIFF", {"big_tiff": True}), ("TIFF", {})])
@pytest.mark.parametrize("deep", [False, True])
def test_further_kinds_are_read(kind, options, deep):
    image = (GREY.astype(np.uint16) * 257) if deep else GREY
    film = read_bytes(raster(image, kind, **options), "film")
    assert film.format == kind
    np.testing.assert_array_equal(film.pixels, image)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0", "NIfTI"),
        (b"ObjectType = Image\n", "MetaImage"),
        (b"GIF89a", "GIF"),
        (b"BM", "BMP"),
        (b"%PDF-1.7", "PDF"),
        (b"001" + bytes(254) + b"ustar\x0000", "tar archive"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_kinds_that_are_not_read_are_named(head, words):
    with pytest.raises(UnreadableImage, match=words):
        read_bytes(head + bytes(600), "film")


def test_a_photograph_of_a_phone_is_named_where_no_library_is(monkeypatch):
    monkeypatch.setattr("kellgren.read.raster.find_spec", lambda _: None)
    with pytest.raises(UnreadableImage, match=r"HEIC photograph.*save it as JPEG"):
        read_bytes(b"\0\0\0\x18ftypheic" + bytes(500), "film")
    monkeypatch.setattr("kellgren.read.raster.features.check", lambda _: False)
    with pytest.raises(UnreadableImage, match=r"AVIF image.*save it as JPEG"):
        read_bytes(b"\0\0\0\x18ftypavif" + bytes(500), "film")


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_most_damaged_jpegs_are_flagged(quality, progressive):
    rng = np.random.default_rng(quality)
    smooth = np.add.outer(np.arange(240), np.arange(240)) // 2 + rng.integers(0, 12, (240, 240))
    data = raster(smooth.astype(np.uint8), "JPEG", quality=quality, progressive=progressive)
    whole = read_bytes(data, "film")
    assert whole.flags == ()
    flagged = ruined = 0
    for _ in range(40):
        damaged = bytearray(data)
        damaged[int(rng.integers(700, len(data) - 2))] ^= int(rng.integers(1, 256))
        try:
            film = read_bytes(bytes(damaged), "film")
        except UnreadableImage:
            continue
        if film.pixels.shape == whole.pixels.shape and np.abs(film.pixels - whole.pixels).mean() > 3:
            ruined += 1
            flagged += bool(film.flags)
    assert flagged >= 0.6 * ruined
