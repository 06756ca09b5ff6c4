from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from kellgren.read import read_bytes
from kellgren.read.jpeg_blocks import is_torn
from kellgren.simulate import draw_crop

CROPS = {
    seed: (draw_crop(np.random.default_rng(seed), side="R", size=299).pixels >> 8).astype(np.uint8)
    for seed in (1, 2, 3)
}


def jpeg(grey, **options):
    file = BytesIO()
    Image.fromarray(grey).save(file, "JPEG", **options)
    return file.getvalue()


def shifted(grey, row, column, by):
    """All blocks from one on lifted, as after one wrong byte."""
    blocks = np.arange(grey.shape[0])[:, None] // 8 * 1000 + np.arange(grey.shape[1])[None, :] // 8
    return np.clip(grey.astype(int) + by * (blocks >= row * 1000 + column), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", CROPS)
@pytest.mark.parametrize("quality", [50, 75, 92, 98])
def test_an_undamaged_jpeg_is_whole(seed, quality):
    assert read_bytes(jpeg(CROPS[seed], quality=quality), "x.jpg").flags == ()


@pytest.mark.parametrize("seed", CROPS)
@pytest.mark.parametrize(("row", "column"), [(5, 0), (18, 11), (30, 36)])
@pytest.mark.parametrize("by", [-25, 25])
def test_a_shift_from_one_block_on_is_seen(seed, row, column, by):
    (flag,) = read_bytes(jpeg(shifted(CROPS[seed], row, column, by), quality=92), "x.jpg").flags
    assert "damaged" in flag


@pytest.mark.parametrize("seed", CROPS)
def test_damaged_bytes_are_seen_where_they_change_the_image(seed):
    data, rng = jpeg(CROPS[seed], quality=92), np.random.default_rng(seed)
    changed = missed = 0
    for _ in range(40):
        damaged = bytearray(data)
        for place in rng.integers(700, len(data) - 4, 3):
            damaged[place] = rng.integers(256)
        try:
            grey = np.asarray(Image.open(BytesIO(bytes(damaged))).convert("L"))
        except (OSError, SyntaxError):
            continue
        if np.abs(grey.astype(int) - CROPS[seed]).mean() > 8:
            changed += 1
            missed += not is_torn(grey)
    assert changed >= 5
    assert missed <= changed // 8


@pytest.mark.parametrize("edge", [8, 16, 40])
def test_a_frame_that_ends_on_a_blocks_border_is_no_damage(edge):
    framed = CROPS[1].copy()
    framed[:edge] = 0
    framed[-(299 - 296 + edge) :] = 255
    assert not is_torn(framed)


def test_small_images_say_nothing():
    assert not is_torn(np.zeros((10, 300), np.uint8))
    assert not is_torn(np.zeros((300, 20), np.uint8))
