"""Grades that change without a word when the image is not as the validated ones: one table, by kind.

    python benchmarks/unflagged_changes.py --data DATA [--split val] [-n 150] [--kinds KINDS]

Each of n knees is graded as published and under every condition of the KINDS named (all by default: tight,
small, jpeg, strip, metal): cut tighter (what is left of the side), reduced (pixels), saved as JPEG (quality),
with three bytes of the JPEG damaged, as a strip of the crop (share of the height), and with drawn metal over
it. A change counts as unflagged where the knee was graded without a word before and after, with another KL
grade. `re-cut` is what another cut of the same knee, 2 % of the side away, changes anyway. Seeded; the image
goes in as a file's bytes, with its side stated.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

import kellgren
from kellgren.errors import KellgrenError
from kellgren.grade.grader import Grader
from kellgren.simulate.anatomy import build_anatomy, draw_parameters
from kellgren.simulate.grades import draw_grades
from kellgren.simulate.implants import HARDWARE, Hardware, draw_metal, resurfaced
from kellgren.simulate.view import View
from kellgren.vocabulary import Side

SEED = 17
QUALITY = 92

Grey8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Knee:
    """A published crop: name, side, read grade, pixels, and the corners of its plateau, lateral first."""

    name: str
    side: Side
    kl: int
    pixels: Grey8
    plateau: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """KL, or None where there is no grade; the reasons for a person."""

    kl: int | None
    reasons: tuple[str, ...]


def knees(data: Path, split: str, count: int) -> Iterator[Knee]:
    """A seeded choice of the split's knees."""
    folder = data / "kneekl299"
    with (folder / "labels.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file) if row["split"] == split}
    with (folder / "joint_line_points.csv").open(newline="") as file:
        points = {row["name"]: row for row in csv.DictReader(file) if row["name"] in rows}
    names = sorted(rows)
    chosen = {names[i] for i in np.random.default_rng(SEED).permutation(len(names))[:count]}
    for archive in sorted(folder.glob("images-*.zip")):
        with ZipFile(archive) as opened:
            for member in sorted(opened.namelist()):
                name = Path(member).stem
                if name in chosen and member.endswith(".jpg"):
                    line = points[name]
                    corners = [[float(line[f"tibia{i}_{axis}"]) for axis in "xy"] for i in (0, 16)]
                    pixels = np.asarray(Image.open(BytesIO(opened.read(member))).convert("L"))
                    side: Side = "R" if rows[name]["side"] == "R" else "L"
                    yield Knee(name, side, int(rows[name]["KL"]), pixels, np.array(corners))


def png(pixels: Grey8) -> bytes:
    """The image as a file."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def jpeg(pixels: Grey8, quality: int) -> bytes:
    """The image as a file."""
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def recut(pixels: Grey8, rng: np.random.Generator) -> Grey8:
    """Another cut of the same knee: up to 2 % of the side away."""
    right, down = rng.uniform(-0.02, 0.02, 2) * pixels.shape[0]
    shift = np.array([[1, 0, right], [0, 1, down]])
    return np.asarray(
        cv2.warpAffine(pixels, shift, pixels.shape[::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Three bytes of the coded pixels replaced."""
    changed, start = bytearray(data), data.rfind(b"\xff\xda") + 12
    for place in rng.integers(start, len(data) - 2, 3):
        changed[place] = rng.integers(256)
    return bytes(changed)


def with_metal(knee: Knee, hardware: Hardware, rng: np.random.Generator) -> Grey8:
    """Draw an implant over the real crop, in the place of its joint, nearly opaque."""
    anatomy = build_anatomy(draw_parameters(rng), draw_grades(rng, None))
    anatomy = resurfaced(anatomy) if hardware == "total" else anatomy
    along = knee.plateau[1] - knee.plateau[0]
    width = float(np.hypot(*along))
    turn = 1 if knee.side == "R" else -1
    angle = float(np.degrees(np.arctan2(turn * along[1], turn * along[0]))) * turn
    x, y = (float(v) for v in knee.plateau.mean(axis=0))
    view = View(knee.pixels.shape, anatomy.width / width, (x, y), angle, knee.side).finer(4)
    thick = cv2.resize(
        draw_metal(hardware, anatomy, view, rng), knee.pixels.shape[::-1], interpolation=cv2.INTER_AREA
    )
    bone = knee.pixels.astype(np.float32) / 255
    bright = rng.uniform(0.95, 1.25) * max(float(np.percentile(bone, 99.5)), 0.6)
    drawn = bone + np.maximum(bright - bone, 0.15) * (1 - np.exp(-rng.uniform(0.35, 0.9) * thick))
    near = cv2.dilate(thick, np.ones((5, 5), np.uint8)) > 0.01
    drawn = np.where(near, cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.5, 0.9)), bone)
    return np.asarray(np.clip(drawn / max(1.0, float(drawn.max())), 0, 1) * 255, np.uint8)


def conditions(knee: Knee, kinds: set[str], rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """The knee's image under every condition, by its name in the table, as a file."""
    grey, side = knee.pixels, knee.pixels.shape[0]
    yield "re-cut", png(recut(grey, rng))
    if "tight" in kinds:
        for share in (0.95, 0.9, 0.85, 0.8, 0.75):
            rim = round((1 - share) * side / 2)
            yield f"tight {share:.0%}", png(grey[rim : side - rim, rim : side - rim])
    if "small" in kinds:
        for pixels in (160, 200, 224, 260):
            yield f"{pixels} pixels", png(cv2.resize(grey, (pixels, pixels), interpolation=cv2.INTER_AREA))
    if "jpeg" in kinds:
        for quality in (50, 75):
            yield f"JPEG quality {quality}", jpeg(grey, quality)
        yield "JPEG, 3 bytes damaged", damaged(jpeg(grey, QUALITY), rng)
    if "strip" in kinds:
        for share in (0.45, 0.6):
            height = round(share * side)
            top = round(0.53 * side - height / 2)
            yield f"strip {share:.0%}", png(grey[top : top + height])
    if "metal" in kinds:
        for hardware in HARDWARE[1:]:
            yield f"metal: {hardware}", png(with_metal(knee, hardware, rng))


def answer(grader: Grader, data: bytes, knee: Knee) -> Answer:
    """Grade one file."""
    try:
        found = grader.grade_bytes(data, f"{knee.name}.png", side=knee.side)
    except KellgrenError as error:
        return Answer(None, (type(error).__name__,))
    if len(found) != 1:
        return Answer(None, (f"{len(found)} knees",))
    return Answer(found[0]["KL"].grade, found[0].reasons)


def main() -> None:
    """Print the table as it grows, one row per condition at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("-n", type=int, default=150)
    parser.add_argument("--kinds", default="tight,small,jpeg,strip,metal")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this many seconds")
    options = parser.parse_args()
    grader = kellgren.load(threads=1)
    rows: dict[str, list[tuple[Answer, Answer, int]]] = defaultdict(list)
    started = cv2.getTickCount()
    for index, knee in enumerate(knees(options.data, options.split, options.n)):
        if (cv2.getTickCount() - started) / cv2.getTickFrequency() > options.seconds:
            break
        rng = np.random.default_rng([SEED, index])
        plain = answer(grader, png(knee.pixels), knee)
        rows["as published"].append((plain, plain, knee.kl))
        for name, data in conditions(knee, set(options.kinds.split(",")), rng):
            rows[name].append((plain, answer(grader, data, knee), knee.kl))
    print("| image | n | newly flagged | unflagged change | right | right as published | reasons |")
    print("|---|---|---|---|---|---|---|")
    for name, answers in rows.items():
        quiet = [(a, b, kl) for a, b, kl in answers if not a.reasons]
        newly = sum(bool(b.reasons) for _, b, _ in quiet)
        changed = sum(not b.reasons and a.kl != b.kl for a, b, _ in quiet)
        right = [sum(pair[i].kl == pair[2] for pair in answers) for i in (1, 0)]
        reasons: dict[str, int] = defaultdict(int)
        for a, b, _ in answers:
            for reason in set(b.reasons) - (set(a.reasons) if a is not b else set()):
                reasons[reason[:34]] += 1
        listed = "; ".join(
            f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1])[:4]
        )
        n, of = len(answers), len(quiet)
        print(f"| {name} | {n} | {newly}/{of} | {changed}/{of} | {right[0]} | {right[1]} | {listed} |")


if __name__ == "__main__":
    main()
