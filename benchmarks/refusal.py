"""What becomes of images that show no native knee joint in front view: refused, referred, or graded.

    python benchmarks/refusal.py [-n 60] [FOLDER ...]

Simulated lateral views, shafts and total prostheses, then every image of the folders given, each graded with
`--input auto`. "graded" is the failure: a grade without a word of warning.
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

import kellgren
from kellgren.grade import batch
from kellgren.locate import eight_bit
from kellgren.parallel import processors
from kellgren.simulate import draw_film

SEED = 77
KINDS = {"lateral view": ("lateral", "none"), "shaft": ("shaft", "none"), "total prosthesis": ("ap", "total")}


def main() -> None:
    """Print one line a kind and folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args()
    grader = kellgren.load(threads=1)

    def worst(data: bytes, name: str) -> str:
        try:
            knees = grader.grade_bytes(data, name)
        except kellgren.KellgrenError:
            return "refused"
        return "referred" if all(knee.refer for knee in knees) else "graded"

    def simulated(kind: str, index: int) -> str:
        view, hardware = KINDS[kind]
        knees = 1 if view == "ap" else None
        film = draw_film(np.random.default_rng([SEED, index]), knees=knees, view=view, hardware=hardware)
        return worst(cv2.imencode(".png", eight_bit(film.pixels))[1].tobytes(), "film.png")

    with ThreadPoolExecutor(processors()) as pool:
        for kind in KINDS:
            counts = Counter(pool.map(lambda i, k=kind: simulated(k, i), range(options.n)))
            print(f"simulated {kind}: n {options.n}, {dict(counts)}", flush=True)
        for folder in options.folders:
            items = batch.find([folder]).sources
            counts = Counter(pool.map(lambda item: worst(item.read_bytes(), item.path.name), items))
            print(f"{folder.name}: n {len(items)}, {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
