"""A patient's data reach no log, and no library prints."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys

import numpy as np
import pytest

import corpus
from films import dataset, encode, raster
from kellgren.errors import UnreadableImage
from kellgren.read import read_bytes

KNEE = np.tile(np.arange(96, dtype=np.uint16) * 40, (96, 1))


@pytest.mark.parametrize(
    "word",
    [b"Secret Name", b"SECRET-ID\\ISO 2022 IR 87", b"\x1b[2JSecret", b"Secret" * 5000, b"ISO 2022 IR 999"],
)
def test_a_character_set_is_not_printed(word, capfd, recwarn):
    sound = encode(dataset(KNEE))
    place = sound.index(b"\x08\x00\x16\x00UI")
    vr = b"CS" + len(word[:60000]).to_bytes(2, "little")
    data = sound[:place] + b"\x08\x00\x05\x00" + vr + word[:60000] + sound[place:]
    assert read_bytes(data, "film.dcm").format == "DICOM"
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize("name", ["RLE", "JPEG-LS", "JPEG 2000", "JPEG"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_pixels_cut_short_leave_no_traceback(name, keep, capfd):
    data = corpus.dicoms()[name]
    with pytest.raises(UnreadableImage):
        read_bytes(data[: int(len(data) * keep)], "film.dcm")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg"])
def test_libtiff_prints_nothing(compression, capfd):
    data = bytearray(raster((KNEE >> 4).astype(np.uint8), "TIFF", compression=compression))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(range(200))
    data[8:60] = b"\xff" * 52
    with contextlib.suppress(UnreadableImage):
        read_bytes(bytes(data), "film.tif")
    assert capfd.readouterr() == ("", "")


def test_the_logger_of_pydicom_stays_silent_after_its_import():
    code = (
        "import logging, sys; logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)\n"
        "import kellgren.read, pydicom\n"
        "logging.getLogger('pydicom').error('Secret'); logging.getLogger('pydicom').exception('Secret')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert "Secret" not in done.stderr
    assert logging.getLogger("kellgren").propagate
