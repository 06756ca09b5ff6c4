"""Polarity under painted collimation, on real crops and whole films, with and without a header.

    python benchmarks/polarity.py --data DATA [--split val] [-n 400] [--films odd] [--grade] [--only KIND]

Every image is painted with a frame of each shape (straight, askew, soft, round) and tone (black, white, both)
in turn and offered as MONOCHROME2 and MONOCHROME1 with a right header, as a raster with bone bright and
as one with bone dark. The data folder holds `kneekl299/` and `films/`; crops are taken from SPLIT, films from
every second one. Without `--grade` the polarity alone is settled; with it each image is also graded and
compared with the unpainted one. Prints one table; the seed is fixed.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

import kellgren
from kellgren import locate, measure
from kellgren.errors import NotAKnee
from kellgren.grade import polarity
from kellgren.grade.grader import Grader
from kellgren.read import Radiograph
from kellgren.read.radiograph import Laterality
from kellgren.vocabulary import Side

SHAPES = ("none", "straight", "askew", "soft", "round")
TONES = ("black", "white", "both")
FORMS = ("MONOCHROME2", "MONOCHROME1", "raster", "negative raster")
SEED = 17

Grey8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One image, bone bright: its pixels, side and name."""

    name: str
    pixels: Grey8
    side: Side | None


def paint(pixels: Grey8, shape: str, tone: str, rng: np.random.Generator) -> Grey8:
    """Cover the rim of an image as painted collimation does.

    Args:
        pixels: (H, W), bone bright.
        shape: `straight`, `askew`, `soft` (a blurred edge, straight or askew), `round`, or `none`.
        tone: `black`, `white`, or `both`: one half each, parted in a random direction.
        rng: Source of randomness. 3 to 9 % of the side are covered at each edge.
    """
    if shape == "none":
        return pixels
    height, width = pixels.shape
    y, x = np.indices(pixels.shape, dtype=np.float32)
    x, y = (x - (width - 1) / 2) / width, (y - (height - 1) / 2) / height
    if shape == "round":
        cover = (np.hypot(x, y) > rng.uniform(0.5, 0.6)).astype(np.float32)
    else:
        askew = shape == "askew" or (shape == "soft" and rng.random() < 0.5)
        angle = rng.uniform(0.04, 0.2) * rng.choice([-1, 1]) if askew else 0.0
        left, right, above, below = 0.5 - rng.uniform(0.03, 0.09, 4)
        u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        cover = ((u > right) | (u < -left) | (v > below) | (v < -above)).astype(np.float32)
        if shape == "soft":
            cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.01, 0.03) * width)
    value = np.full(pixels.shape, 0 if tone == "black" else 255, np.float32)
    if tone == "both":
        direction = rng.uniform(0, 2 * np.pi)
        value[x * np.cos(direction) + y * np.sin(direction) > 0] = 0
    return np.asarray(np.rint(pixels * (1 - cover) + value * cover), np.uint8)


def radiograph(picture: Picture, pixels: Grey8, form: str) -> Radiograph:
    """The image as a reader hands it on: with a header that is right, or without one."""
    dark = form in ("MONOCHROME1", "negative raster")
    header: Literal["MONOCHROME1", "MONOCHROME2"] | None = None
    if form == "MONOCHROME1":
        header = "MONOCHROME1"
    elif form == "MONOCHROME2":
        header = "MONOCHROME2"
    return Radiograph(
        path=Path(picture.name),
        pixels=(255 - pixels if dark else pixels).astype(np.float32),
        bits=8,
        photometric=header,
        spacing=None,
        laterality=Laterality(picture.side, "user" if picture.side else None),
        padding=None,
        format="PNG" if header is None else "DICOM",
    )


def crops(data: Path, split: str, count: int) -> Iterator[Picture]:
    """A seeded choice of the published crops, all with bone bright."""
    folder = data / "kneekl299"
    with (folder / "labels.csv").open(newline="") as file:
        sides = {row["name"]: row["side"] for row in csv.DictReader(file) if row["split"] == split}
    with (folder / "joint_line_points.csv").open(newline="") as file:
        dark = {row["name"] for row in csv.DictReader(file) if row["bright_background"] == "1"}
    dark -= {"9857800L"}  # not inverted: metal staples made it look so
    names = sorted(sides)
    chosen = set(np.random.default_rng(SEED).permutation(len(names))[:count])
    wanted = {name for i, name in enumerate(names) if i in chosen}
    for archive in sorted(folder.glob("images-*.zip")):
        with ZipFile(archive) as opened:
            for member in sorted(opened.namelist()):
                stem = Path(member).stem
                if stem in wanted and member.endswith(".jpg"):
                    pixels = _decode(opened.read(member))
                    side: Side = "R" if sides[stem] == "R" else "L"
                    yield Picture(stem, 255 - pixels if stem in dark else pixels, side)


def films(data: Path, half: str) -> Iterator[Picture]:
    """Every second whole film, or all of them."""
    with ZipFile(data / "films" / "images.zip") as opened:
        members = sorted(name for name in opened.namelist() if name.endswith(".jpg"))
        for member in {"odd": members[1::2], "even": members[::2], "all": members, "none": []}[half]:
            yield Picture(member, _decode(opened.read(member)), None)


def _decode(data: bytes) -> Grey8:
    return np.asarray(Image.open(BytesIO(data)).convert("L"))


@dataclass(frozen=True)
class Fate:
    """What becomes of one image.

    Attributes:
        polarity: `right`, `wrong`, or `refused` where no joint is found.
        reason: Whether a reason names the polarity.
        grades: KL of each knee; empty unless graded.
        refer: Whether a person must read one of the knees.
    """

    polarity: Literal["right", "wrong", "refused"]
    reason: bool
    grades: tuple[int, ...]
    refer: bool


def fate(grader: Grader, picture: Picture, pixels: Grey8, form: str, *, grade: bool) -> Fate:
    """Settle the polarity of one image, and grade it when asked."""
    film = radiograph(picture, pixels, form)
    try:
        settled, _ = polarity.settle(
            film, lambda p: locate.joint_crops(p, "auto", grader.localiser, film.path), measure.load()
        )
        knees = grader.grade_radiograph(film) if grade else []
    except NotAKnee:
        return Fate("refused", False, (), False)
    right = settled.inverted == (form == "negative raster")
    reason = any("bright" in flag for flag in settled.flags)
    grades = tuple(knee["KL"].grade for knee in knees)
    return Fate("right" if right else "wrong", reason, grades, any(knee.refer for knee in knees))


def counted(now: Fate, plain: Fate) -> Counter[str]:
    """One image as a row of counts."""
    good = now.polarity == "right" and not now.reason
    return Counter(
        {
            "n": 1,
            now.polarity: 1,
            "reason": int(now.reason),
            "silently wrong": int(now.polarity == "wrong" and not now.reason),
            "no reason": int(good),
            "same grade": int(good and now.grades == plain.grades and bool(now.grades)),
            "newly referred": int(now.refer and not plain.refer),
        }
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("--films", choices=("odd", "even", "all", "none"), default="odd")
    parser.add_argument("--grade", action="store_true")
    parser.add_argument("--only", help="one kind of painting, e.g. 'soft white'; the rest is not looked at")
    options = parser.parse_args()
    grader = kellgren.load(threads=1)
    rng = np.random.default_rng(SEED)
    kinds = [(shape, tone) for shape in SHAPES[1:] for tone in TONES]
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    sources = (
        ("crop", crops(options.data, options.split, options.n)),
        ("film", films(options.data, options.films)),
    )
    for source, pictures in sources:
        for index, picture in enumerate(pictures):
            form = FORMS[(index // len(kinds)) % len(FORMS)]
            shape, tone = kinds[index % len(kinds)]
            painted = paint(picture.pixels, shape, tone, rng)
            if options.only not in (None, f"{shape} {tone}"):
                continue
            before = fate(grader, picture, picture.pixels, form, grade=options.grade)
            after = fate(grader, picture, painted, form, grade=options.grade)
            row = f"{source}, {'header' if form.startswith('MONOCHROME') else form}"
            table[row, "not painted"] += counted(before, before)
            table[row, f"{shape} {tone}"] += counted(after, before)
            table[row, "painted, all"] += counted(after, before)
    columns = ["n", "right", "wrong", "refused", "silently wrong", "reason", "no reason"]
    if options.grade:
        columns += ["same grade", "newly referred"]
    print("| image | painted | " + " | ".join(columns) + " |")
    print("|---" * (2 + len(columns)) + "|")
    for (source, condition), counts in sorted(table.items()):
        print(f"| {source} | {condition} | " + " | ".join(str(counts[c]) for c in columns) + " |")


if __name__ == "__main__":
    main()
