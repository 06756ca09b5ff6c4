"""Does a network know a grade by its augmentation? The same training knees as learned, and as they are.

    python benchmarks/augmentation_leak.py RUN --data kneekl299 [--knees 320]

RUN is a run folder of `kellgren train`, for a recipe with `augment_by_grade`. A network that grades knees it
has learned from well only as long as each is changed in its grade's own way has learned the change.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from kellgren import data as datasets
from kellgren.evaluate import metrics
from kellgren.train.graders import batches, networks
from kellgren.train.graders import recipe as recipes
from kellgren.train.graders.batches import Batch
from kellgren.train.graders.networks import KneeNet
from kellgren.vocabulary import KL


def confusion(net: KneeNet, source: Iterable[Batch]) -> np.ndarray:
    """Knees by read and most probable KL grade."""
    truth, decided = [], []
    with torch.inference_mode():
        for batch in source:
            truth.append(batch.grades["KL"].numpy())
            decided.append(net(*batch.views)["KL"].argmax(dim=1).numpy())
    return metrics.confusion_matrix(np.concatenate(truth), np.concatenate(decided), KL.classes)


def main() -> None:
    """Print both confusion matrices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--knees", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    record = json.loads((asked.run / "run.json").read_text(encoding="utf-8"))
    recipe = recipes.from_dict(record["recipe"])
    net = networks.build(recipe, init=None)
    state = torch.load(asked.run / "best.pt", weights_only=True, map_location="cpu")
    net.load_state_dict(state["model"])
    net.eval()
    learned = datasets.load(asked.data).select(split="train")
    knees = [knee for knee in learned if knee.fold != record["fold"]]
    some = np.random.default_rng(asked.seed).choice(len(knees), min(asked.knees, len(knees)), replace=False)
    crops = batches.preload(
        dataclasses.replace(learned, knees=tuple(knees[i] for i in sorted(some))), recipe, threads=1
    )
    for title, source in (
        ("augmented by grade, as learned", batches.training_batches(crops, recipe, seed=asked.seed, epoch=0)),
        ("as they are", batches.evaluation_batches(crops, recipe)),
    ):
        counts = confusion(net, source)
        recall = metrics.recall(counts)
        print(
            f"{title}: n {counts.sum()}, accuracy {float(metrics.accuracy(counts)):.3f}, recall by grade "
            f"{', '.join(f'{float(r):.3f}' for r in recall)}"
        )
        print(counts)


if __name__ == "__main__":
    main()
