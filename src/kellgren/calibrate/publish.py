"""What bundles get besides their networks: a folder, and graders' golden inputs and figures on `val`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kellgren.data import DataSet
from kellgren.errors import BadBundle
from kellgren.evaluate import evaluation
from kellgren.grade.grader import Grader
from kellgren.model import bundle as bundles
from kellgren.parallel import Track, processors
from kellgren.simulate import draw_crop, write_png
from kellgren.vocabulary import Side
from kellgren.writing import whole_folder


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A folder to make a bundle in, which takes the place of `out` when it is complete.

    Whatever ends the making, half a bundle is never found at `out`, and a bundle that was there stays.

    Raises:
        BadBundle: If `out` holds something that is not a bundle.
    """
    if out.exists() and any(out.iterdir()) and not (out / bundles.CARD).is_file():
        raise BadBundle("the folder is not empty and holds no bundle", path=out, remedy="use another --out")
    with whole_folder(out) as folder:
        yield folder


def golden_images() -> dict[str, tuple[bytes, Side]]:
    """Three simulated crops, encoded."""
    images: dict[str, tuple[bytes, Side]] = {}
    sides: tuple[Side, ...] = ("R", "L", "R")
    with tempfile.TemporaryDirectory() as folder:
        for kl, side in zip((0, 2, 4), sides, strict=True):
            path = Path(folder) / f"simulated-kl{kl}-{side}.png"
            write_png(draw_crop(np.random.default_rng((7, kl)), KL=kl, side=side), path)
            images[path.name] = (path.read_bytes(), side)
    return images


def validate(bundle: bundles.Bundle, dataset: DataSet, track: Track) -> dict[str, Any] | None:
    """The card's `validation`: metrics on the validation split, None if the data set has none."""
    if not any(knee.split == "val" for knee in dataset):
        return None
    judged = evaluation.evaluate(
        Grader(bundle, threads=1),
        dataset,
        "val",
        workers=processors(),
        test_looks=0,
        progress=lambda knees, total: track(knees, total, "validating"),
    )
    return judged.metrics
