import csv
import os
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from films import dicom, knee, raster
from kellgren.errors import NotAKnee
from kellgren.read import Laterality, Radiograph, Spacing, read_bytes
from kellgren.standardise import standardise

STORED = knee()
FEW = 3  # of 65535: what single precision and rounding may leave


def standardised(data, name="film"):
    return standardise(read_bytes(data, name))


def radiograph(pixels, **known):
    fields = {"bits": 12, "photometric": None, "spacing": None, "laterality": Laterality(), "padding": None}
    return Radiograph(Path("film"), np.asarray(pixels, np.float32), format="PNG", **{**fields, **known})


REFERENCE = standardised(dicom(STORED))

TWINS = {
    "MONOCHROME1": {"stored": 4095 - STORED, "photometric": "MONOCHROME1"},
    "slope and intercept": {"stored": STORED, "RescaleSlope": "0.37", "RescaleIntercept": "-1024.5"},
    "large intercept": {"stored": STORED, "RescaleSlope": "2", "RescaleIntercept": "30000"},
    # The modality values run against the stored ones, and MONOCHROME1 shows the smallest of *them* white.
    "negative slope": {
        "stored": STORED,
        "photometric": "MONOCHROME1",
        "RescaleSlope": "-1",
        "RescaleIntercept": "4095",
    },
    "negative slope on a negative": {"stored": 4095 - STORED, "RescaleSlope": "-3", "RescaleIntercept": "0"},
    "signed": {"stored": STORED - 2048, "signed": True},
    "more bits": {"stored": STORED * 16, "bits": 16},
}


@pytest.mark.parametrize("twin", TWINS)
def test_every_way_of_writing_a_film_gives_the_same_film(twin):
    film = standardised(dicom(**TWINS[twin]))
    assert film.polarity_source == "header"
    assert np.abs(film.pixels.astype(int) - REFERENCE.pixels).max() <= FEW


def test_a_raster_gives_the_same_film_up_to_its_own_quantisation():
    deep = standardised(raster(STORED.astype(np.uint16)))
    assert np.abs(deep.pixels.astype(int) - REFERENCE.pixels).max() <= FEW
    coarse = standardised(raster((STORED // 16).astype(np.uint8)))
    assert np.abs(coarse.pixels.astype(int) - REFERENCE.pixels).max() < 65535 / 128


def test_the_film_is_bone_bright_over_the_whole_range():
    assert REFERENCE.pixels.dtype == np.uint16
    assert REFERENCE.pixels.min() == 0
    assert REFERENCE.pixels.max() == 65535
    assert np.corrcoef(REFERENCE.pixels.ravel(), STORED.ravel())[0, 1] > 0.99


def test_one_bright_marker_moves_nothing():
    marked = STORED.copy()
    marked[3, 3:5] = 40000
    film = standardised(dicom(marked, bits=16, photometric="MONOCHROME2"))
    difference = np.abs(film.pixels.astype(int) - REFERENCE.pixels)
    assert np.median(difference) < 65535 / 100


def test_spacing_side_and_notes_are_handed_on():
    known = {
        "spacing": Spacing(0.1, 0.2, "detector"),
        "laterality": Laterality("R", "tag"),
        "notes": ("a note",),
    }
    film = standardise(radiograph(STORED, **known))
    assert (film.spacing, film.laterality, film.notes) == tuple(known.values())


def test_padding_is_left_out_of_the_range_and_becomes_black():
    stored = np.pad(STORED, 30, constant_values=60000)
    film = standardised(dicom(stored, bits=16, photometric="MONOCHROME2", PixelPaddingValue=60000))
    inner = film.pixels[30:-30, 30:-30]
    assert not film.pixels[:30].any()
    assert np.median(np.abs(inner.astype(int) - REFERENCE.pixels)) < 65535 / 100
    assert film.polarity_source == "header"


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_image_is_no_knee(value):
    with pytest.raises(NotAKnee, match="one grey value only"):
        standardised(raster(np.full((100, 100), value, np.uint8)))


def test_a_wholly_padded_image_is_no_knee():
    with pytest.raises(NotAKnee, match="one grey value only"):
        standardise(radiograph(STORED, padding=np.ones(STORED.shape, bool)))


def test_a_drawing_of_few_greys_is_no_knee():
    with pytest.raises(NotAKnee, match="grey values only"):
        standardised(raster(np.where(STORED > 2000, 200, 10).astype(np.uint8)))


def test_an_inverted_raster_is_turned_over_and_noted():
    grey = (STORED // 16).astype(np.uint8)
    upright, negative = standardised(raster(grey)), standardised(raster(255 - grey))
    np.testing.assert_allclose(negative.pixels, upright.pixels, atol=FEW)
    assert upright.notes == ()
    assert "inverted" in negative.notes[0]
    assert negative.polarity_source == upright.polarity_source == "image"


def test_the_header_stands_against_the_margins_but_is_doubted():
    film = standardised(dicom(4095 - STORED, photometric="MONOCHROME2"))
    assert (film.polarity_source, film.polarity_doubt, film.inverted) == ("header", True, False)
    assert film.flags == film.notes == ()
    assert not REFERENCE.polarity_doubt


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_better_judge_overrules_the_header_with_a_flag(photometric):
    stored = 4095 - STORED if photometric == "MONOCHROME2" else STORED
    film = standardise(radiograph(stored, photometric=photometric), inverted=True)
    assert (film.polarity_source, film.polarity_doubt) == ("image", False)
    assert photometric in film.flags[0]
    assert np.abs(film.pixels.astype(int) - REFERENCE.pixels).max() <= FEW


@pytest.mark.parametrize("photometric", [None, "MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("polarity", ["normal", "inverted"])
def test_the_users_word_on_the_polarity_is_final(photometric, polarity):
    film = standardise(radiograph(STORED, photometric=photometric, polarity=polarity))
    bright = (photometric == "MONOCHROME1") == (polarity == "inverted")
    expected = REFERENCE.pixels if bright else 65535 - REFERENCE.pixels
    assert np.abs(film.pixels.astype(int) - expected).max() <= FEW
    assert (film.polarity_source, film.polarity_doubt, film.flags) == ("user", False, ())


def test_a_raster_is_always_open_to_a_better_judge():
    assert standardise(radiograph(STORED)).polarity_doubt
    film = standardise(radiograph(STORED), inverted=True)
    assert film.inverted
    assert not film.polarity_doubt
    assert "inverted" in film.notes[0]


def shaded(centre):
    """A noisy film whose middle is `centre` and whose surroundings are 0.5, of a range that it all uses."""
    rng = np.random.default_rng(3)
    film = np.full((128, 128), 0.5)
    film[20:108, 14:114] = centre
    film += rng.normal(0, 0.02, film.shape)
    film[:2, :64], film[:2, 64:] = 0, 1  # the ends of the range
    return np.rint(np.clip(film, 0, 1) * 4095)


def test_weak_evidence_decides_for_a_raster_but_not_against_a_header():
    weak = shaded(0.3)
    assert "inverted" in standardise(radiograph(weak)).notes[0]
    film = standardise(radiograph(weak, photometric="MONOCHROME2"))
    assert (film.polarity_source, film.polarity_doubt) == ("header", True)
    assert film.notes == ()


@pytest.mark.parametrize("centre", [0.45, 0.5, 0.7])
def test_without_evidence_a_raster_stays_as_it_is_stored(centre):
    assert standardise(radiograph(shaded(centre))).notes == ()


@pytest.mark.parametrize("width", [3, 6, 10])
@pytest.mark.parametrize("photometric", [None, "MONOCHROME2"])
def test_a_white_frame_is_no_evidence(width, photometric):
    framed = knee(160, 160)
    framed[:, :width] = framed[:, -width:] = 4095
    film = standardise(radiograph(framed, photometric=photometric))
    assert film.notes == ()


@pytest.fixture(scope="module")
def real_data():
    folder = os.environ.get("KELLGREN_DATA")
    if not folder:
        pytest.skip("KELLGREN_DATA is not set")
    return Path(folder)


def members(*archives):
    for archive in archives:
        with ZipFile(archive) as opened:
            for name in sorted(opened.namelist()):
                if name.endswith(".jpg"):
                    yield name, opened.read(name)


def negative(data):
    return raster(255 - np.asarray(Image.open(BytesIO(data)).convert("L")))


@pytest.mark.real
def test_polarity_on_real_crops(real_data):
    """Measured on all 6,604 crops: 84 of 84 inverted ones found, no other one touched.

    The silver standard flags 85; 9857800L is not inverted (metal staples made it look so). Thresholds were
    chosen on the train split, where the closest crop is 0.09 away from them.
    """
    folder = real_data / "kneekl299"
    with (folder / "joint_line_points.csv").open(newline="") as file:
        flagged = {r["name"] for r in csv.DictReader(file) if r["bright_background"] == "1"} - {"9857800L"}
    found, wrong, looked, turned = set(), [], 0, 0
    for i, (name, data) in enumerate(members(folder / "images-1.zip", folder / "images-2.zip")):
        stem = Path(name).stem
        if stem not in flagged and i % 4:
            continue
        looked += 1
        if standardised(data, name).notes:
            (found.add(stem) if stem in flagged else wrong.append(stem))
        if i % 20 == 0 and stem not in flagged:
            turned += bool(standardised(negative(data)).notes)
    assert looked > 1600
    assert len(flagged) == 84
    assert len(found) >= 83
    assert wrong == []
    assert turned > 300


@pytest.mark.real
def test_polarity_on_real_whole_films(real_data):
    """Measured on 108 films: none inverted wrongly; of their negatives 97 found, 11 left as stored."""
    films = list(members(real_data / "films" / "images.zip"))
    assert [name for name, data in films if standardised(data, name).notes] == []
    assert sum(bool(standardised(negative(data)).notes) for _, data in films) >= 92
