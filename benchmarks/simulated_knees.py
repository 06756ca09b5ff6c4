"""Whether the packaged model orders simulated knees as they were drawn.

    python benchmarks/simulated_knees.py -n 150 --seed 4

Draws n phantom crops, grades them and prints the rank correlation of drawn and graded KL and the table of
both. The phantoms are not patients: the figure says how alike phantoms and films are to the model, and
nothing of how well it grades people.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import kellgren
from kellgren.simulate import simulate


def main() -> None:
    """Draw, grade, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=150)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    grader = kellgren.load()
    with tempfile.TemporaryDirectory() as folder:
        files = simulate(Path(folder), options.n, seed=options.seed)
        with (Path(folder) / "labels.csv").open(newline="", encoding="utf-8") as labels:
            drawn_of = {row["name"]: int(row["KL"]) for row in csv.DictReader(labels)}
        knees = [(drawn_of[file.stem], knee) for file in files for knee in grader.grade(file, input="crop")]
    graded = np.array([(drawn, knee["KL"].grade, knee["KL"].expected) for drawn, knee in knees])
    table = np.zeros((5, 5), int)
    np.add.at(table, (graded[:, 0].astype(int), graded[:, 1].astype(int)), 1)
    rho, rho_expected = (spearman(graded[:, 0], graded[:, i]) for i in (1, 2))
    referred = sum(knee.refer for _, knee in knees)
    sys.stdout.write(
        f"n {len(knees)}, seed {options.seed}\n"
        f"Spearman, decided grade {rho:.3f}, expected grade {rho_expected:.3f}\n"
        f"same grade {np.trace(table)}, referred {referred}\nrows drawn, columns graded\n{table}\n"
    )


def spearman(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two (N,) series; ties share their mean rank."""
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


if __name__ == "__main__":
    main()
