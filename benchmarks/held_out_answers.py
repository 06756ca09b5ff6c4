"""What a fold's network says of the knees that it never saw, kept so that later work needs no retraining.

    python benchmarks/held_out_answers.py --model runs/joint-fold1/bundle --data kneekl299 --fold 1 \
        --out zoo/answers/joint-fold1.npz

The file has no names and no readings: row i is the i-th knee of the fold in the order of sorted names. Its
arrays are fp16:

| array | shape | meaning |
|---|---|---|
| `logits_TASK` | (N, 3, C) | mean logits of one look, of that and its mirror image, of all looks |
| `embedding` | (N, 64) | embedding of the first look in its 64 leading principal components |

`about` is JSON: bundle, sha256 of its graph, data, fold, n.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren import data
from kellgren.data import Knee
from kellgren.model import bundle as bundles
from kellgren.model import steps
from kellgren.model.predict import Model
from kellgren.model.tta import looks
from kellgren.parallel import in_order, processors
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.vocabulary import TASKS

COMPONENTS: Final = 64
LOOKS: Final = ("one", "flip", "all")
"""Which looks the second axis of `logits_TASK` stands for."""

Answer = tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.float32]]


def answer(model: Model, knee: Knee) -> Answer:
    """Mean logits by task, (3, C), and the embedding (D,) of the first look at one knee."""
    film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
    seen = looks(model.card.tta, mirrored=steps.mirrors(knee.side, model.card.side_convention))
    raw = [model.run(model.tensors(film.pixels, look)) for look in seen]
    logits = {}
    for task in model.card.tasks:
        rows = []
        for look, outputs in zip(seen, raw, strict=True):
            turned = look.mirrored != seen[0].mirrored
            values = outputs[f"logits_{TASKS[task].mirrored if turned else task}"][0].astype(np.float64)
            rows.append(values[::-1] if task == "SIDE" and turned else values)
        logits[task] = np.stack([np.mean(rows[:count], axis=0) for count in (1, 2, len(rows))])
    return logits, raw[0]["embedding"][0]


def reduced(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Embeddings (N, D) in their leading principal components, (N, 64)."""
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ directions[:COMPONENTS].T, dtype=np.float16)


def main() -> None:
    """Answer the knees of one fold and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=processors())
    arguments = parser.parse_args()

    bundle = bundles.load(arguments.model)
    model = Model(bundle)
    dataset = data.load(arguments.data).select(split="train", folds={arguments.fold})
    knees = sorted(dataset.knees, key=lambda knee: knee.name)
    dataset = replace(dataset, knees=tuple(knees))
    answers = list(in_order(lambda knee: answer(model, knee), knees, workers=arguments.workers))
    arrays = {
        f"logits_{task}": np.stack([logits[task] for logits, _ in answers]).astype(np.float16)
        for task in model.card.tasks
    }
    about = {
        "bundle": model.card.title,
        "graph_sha256": bundle.sha256(),
        "data_sha256": data.load(arguments.data).sha256(),
        "fold": arguments.fold,
        "n": len(knees),
        "looks": LOOKS,
    }
    embedding = reduced(np.stack([embedding for _, embedding in answers]))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), embedding=embedding, **arrays)
    print(json.dumps(about))


if __name__ == "__main__":
    main()
