"""Draw docs/images/augmentation.png: what each paper's augmentation does to one simulated knee.

    python docs/make_augmentation.py

One row per recipe (for the dual-stream recipe one row per group of grades): the crop as it is, then six
variants. Ranges are those of the packaged recipes, the function is that of training. No radiograph is shown.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from kellgren.simulate import draw_crop
from kellgren.train.graders import recipe
from kellgren.train.graders.augment import augment

PICTURE = Path(__file__).parent / "images" / "augmentation.png"
ROWS = (
    ("joint", 2, "joint"),
    ("wang", 2, "Wang 2021"),
    ("oa-men", 2, "OA-MEN 2024"),
    ("dual-stream", 0, "dual-stream, KL 0 and 2"),
    ("dual-stream", 1, "dual-stream, KL 1"),
    ("dual-stream", 3, "dual-stream, KL 3 and 4"),
    ("pi-resnet101", 2, "Pi 2023"),
    ("tiulpin", 2, "Tiulpin 2018"),
    ("chen", 2, "Chen 2019"),
    ("antony", 2, "Antony 2017"),
    ("mikhaylichenko", 2, "Mikhaylichenko 2021"),
)
SIDE, VARIANTS, LABEL, GAP = 96, 6, 14, 3


def main() -> None:
    """Draw every row and write the sheet."""
    knee = draw_crop(np.random.default_rng(5), KL=2, side="R").pixels.astype(np.float32)
    low, high = np.percentile(knee, (0.5, 99.5))
    knee = np.clip((knee - low) / (high - low), 0, 1).astype(np.float32)
    knee = np.asarray(cv2.resize(knee, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_AREA))
    sheet = [row(knee, name, grade, title) for name, grade, title in ROWS]
    cv2.imwrite(str(PICTURE), np.vstack(sheet), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def row(knee: np.ndarray, name: str, grade: int, title: str) -> np.ndarray:
    """One recipe's label, the knee, and variants of it, side by side."""
    chosen = recipe.load(name)
    ranges = chosen.augment_by_grade.get(grade, chosen.augment)
    images = torch.from_numpy(knee)[None, None].repeat(VARIANTS, 1, 1, 1)
    changed, _ = augment({"knee": images}, [ranges] * VARIANTS, torch.Generator().manual_seed(7))
    shown = [knee, *changed["knee"][:, 0].numpy()]
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in shown]
    small = [np.pad(image, ((0, 0), (0, GAP))) for image in small]
    # sixteen greys are enough, and a third of the bytes
    strip = (np.hstack(small) * 15.99).astype(np.uint8) * 17
    label = np.zeros((LABEL, strip.shape[1]), np.uint8)
    cv2.putText(label, title, (4, LABEL - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 255, 1, cv2.LINE_AA)
    return np.vstack([label, strip])


if __name__ == "__main__":
    main()
