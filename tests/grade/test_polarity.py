from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from kellgren import locate, measure
from kellgren.errors import NotAKnee
from kellgren.grade import polarity
from kellgren.read import Radiograph
from kellgren.read.radiograph import Laterality
from kellgren.simulate import draw_crop, draw_film

FILM = draw_film(np.random.default_rng(5), knees=2, KL=[2, 3], inverted=False).pixels
CROP = draw_crop(np.random.default_rng(11), KL=3, side="R", size=299).pixels


@pytest.fixture(scope="module")
def cascade():
    return locate.load()


def rim(pixels, shape):
    """Share of each pixel that painted collimation covers."""
    h, w = pixels.shape
    y, x = np.indices(pixels.shape)
    x, y = x / w - 0.5, y / h - 0.5
    if shape == "round":
        return (np.hypot(x, y) > 0.56).astype(np.float32)
    a = 0.15 if shape == "askew" else 0.0
    u, v = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
    cover = ((abs(u) > 0.44) | (abs(v) > 0.44)).astype(np.float32)
    return cv2.GaussianBlur(cover, (0, 0), 0.02 * w) if shape == "soft" else cover


def painted(pixels, shape, value):
    cover = rim(pixels, shape)
    return np.rint(pixels * (1 - cover) + value * cover).astype(np.uint16)


def settle(pixels, cascade, photometric=None, **known):
    film = Radiograph(
        Path("x.png"), pixels.astype(np.float32), 16, photometric, None, Laterality(), None, "PNG", **known
    )
    return polarity.settle(
        film, lambda p: locate.joint_crops(p, "auto", cascade, Path("x.png")), measure.load()
    )


def same_way_round(film, pixels):
    return np.corrcoef(film.pixels[::7, ::7].ravel(), pixels[::7, ::7].ravel())[0, 1] > 0.5


@pytest.mark.parametrize("shape", ["straight", "askew", "soft", "round"])
@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("header", ["MONOCHROME1", "MONOCHROME2"])
def test_a_right_header_stands_under_any_collimation(shape, value, header, cascade):
    shown = painted(CROP, shape, value)
    stored = 65535 - shown if header == "MONOCHROME1" else shown
    film, joints = settle(stored, cascade, header)
    assert len(joints) == 1
    assert same_way_round(film, shown)
    assert (film.polarity_source, film.flags, film.notes) == ("header", (), ())


@pytest.mark.parametrize("shape", ["straight", "askew", "soft", "round"])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("value", [0, 65535])
def test_a_raster_is_seen_with_bone_bright_under_any_collimation(shape, negative, value, cascade):
    shown = painted(CROP, shape, value)
    film, _ = settle(65535 - shown if negative else shown, cascade)
    assert same_way_round(film, shown)
    assert film.flags == ()
    assert bool(film.notes) == negative


@pytest.mark.parametrize("shape", ["straight", "askew", "round"])
def test_both_knees_of_a_painted_film_are_found(shape, cascade):
    film, joints = settle(painted(FILM, shape, 65535), cascade, "MONOCHROME2")
    assert len(joints) == 2
    assert film.flags == ()


@pytest.mark.parametrize("pixels", [FILM, CROP, painted(CROP, "straight", 65535)])
def test_a_header_that_the_joint_contradicts_is_for_a_person(pixels, cascade):
    film, joints = settle(65535 - pixels, cascade, "MONOCHROME2")
    assert joints
    assert same_way_round(film, pixels)
    assert "MONOCHROME2" in film.flags[0]


@pytest.mark.parametrize(("stored", "word"), [(CROP, "normal"), (65535 - CROP, "inverted")])
@pytest.mark.parametrize("header", [None, "MONOCHROME1", "MONOCHROME2"])
def test_the_users_word_settles_it(stored, word, header, cascade):
    if header == "MONOCHROME1":
        stored = 65535 - stored
    film, _ = settle(stored, cascade, header, polarity=word)
    assert same_way_round(film, CROP)
    assert (film.flags, film.polarity_source) == ((), "user")


def test_the_users_wrong_word_finds_no_joint(cascade):
    with pytest.raises(NotAKnee):
        settle(FILM, cascade, polarity="inverted")


def test_an_undoubted_film_asks_no_network(cascade):
    class NeverAsked:
        def find(self, crop):
            raise AssertionError("the joint line was asked")

    film = Radiograph(
        Path("x"), CROP.astype(np.float32), 16, "MONOCHROME2", None, Laterality(), None, "DICOM"
    )
    settled, joints = polarity.settle(
        film, lambda p: locate.joint_crops(p, "crop", cascade, film.path), NeverAsked()
    )
    assert joints[0].is_image
    assert not settled.polarity_doubt


def test_where_neither_polarity_shows_a_joint_line_a_person_is_asked(cascade):
    class NeverSure:
        def find(self, crop):
            return replace(line, score=0.3)

    line = measure.load().find(CROP.astype(np.float32) / 65535)
    film = Radiograph(Path("x"), CROP.astype(np.float32), 16, None, None, Laterality(), None, "PNG")
    settled, _ = polarity.settle(
        film, lambda p: locate.joint_crops(p, "crop", cascade, film.path), NeverSure()
    )
    assert settled.flags == (polarity.UNCLEAR,)
