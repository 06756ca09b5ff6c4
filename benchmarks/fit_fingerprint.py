"""Fit the whitening of `kellgren data audit`'s fingerprints: `src/kellgren/data/fingerprint.npz`.

    python benchmarks/fit_fingerprint.py --data kneekl299 --out src/kellgren/data/fingerprint.npz

Uses the training split only. What is stored is a mean and a covariance's directions of log spectra: no image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from kellgren.data import load
from kellgren.data.fingerprint import describe, fit, thumbnail
from kellgren.read import read_bytes


def main() -> None:
    """Read, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=3, help="one knee of so many is enough")
    arguments = parser.parse_args()
    knees = load(arguments.data).select(split="train").knees[:: arguments.every]
    prints = np.stack([describe(thumbnail(read_bytes(k.image.read_bytes(), k.name).pixels)) for k in knees])
    whitening = fit(prints)
    np.savez_compressed(
        arguments.out, mean=whitening.mean.astype(np.float32), project=whitening.project.astype(np.float16)
    )
    print(f"{len(prints)} knees -> {arguments.out}")


if __name__ == "__main__":
    main()
