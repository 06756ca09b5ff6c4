"""How much of the bare network's speed `kellgren grade` keeps, on the same processors in one run.

    python benchmarks/throughput.py [FOLDER] [--knees 826] [--rounds 3]

FOLDER holds single-knee crops; without it, simulated crops are used. In turn, round by round:
(a) `kellgren grade FOLDER`, a whole process from start to written table;
(b) bare onnxruntime, the same number of evaluations of the same graph on tensors made beforehand, once
    with one session using all processors and once with one thread a processor, the faster of which counts.
Prints each round, the median ratio, and the peak memory of the largest grading process.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kellgren import simulate
from kellgren.model import bundle
from kellgren.model.predict import Model
from kellgren.model.tta import looks
from kellgren.parallel import processors
from kellgren.read import Source, list_images, read_bytes
from kellgren.standardise import standardise


def graded(folder: Path, model: str) -> float:
    """Seconds of one whole `kellgren grade`."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", "from kellgren.cli import main; main()", "grade", str(folder)]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--input", "crop", "--out", out, "--model", model], check=True, capture_output=True
        )
        return time.perf_counter() - started


def bare(opened: bundle.Bundle, knees: int, sample: Source, *, side_by_side: bool) -> float:
    """Seconds of `knees` evaluations of the graph, all views of a knee in one batch."""
    workers = processors() if side_by_side else 1
    model = Model(opened, threads=max(1, processors() // workers))
    film = standardise(read_bytes(sample.read_bytes(), sample.file))
    batches = [model.tensors(film.pixels, look) for look in looks(opened.card.tta, mirrored=False)]
    tensors = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    wanted = [f"logits_{task}" for task in opened.card.tasks] + ["embedding"]
    model.run(tensors, wanted)
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda _: model.run(tensors, wanted), range(knees)):
            pass
    return time.perf_counter() - started


def main() -> None:
    """Parse, time in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--knees", type=int, default=100, help="simulated knees where no folder is given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=bundle.DEFAULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder
        if folder is None:
            simulate.simulate(Path(scratch), options.knees)
            folder = Path(scratch) / "images"
        files = list(list_images([folder]).sources)
        opened = bundle.load(options.model)
        ratios = []
        for number in range(options.rounds):
            whole = graded(folder, options.model)
            alone = min(bare(opened, len(files), files[0], side_by_side=way) for way in (False, True))
            ratios.append(alone / whole)
            print(
                f"round {number + 1}: kellgren grade {len(files) / whole:.1f} knees/s, "
                f"bare onnxruntime {len(files) / alone:.1f} knees/s, ratio {ratios[-1]:.2f}"
            )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    summary = {
        "knees": len(files),
        "median_ratio": round(statistics.median(ratios), 3),
        "peak_memory_mb": round(peak),
        "processors": processors(),
        "machine": platform.processor() or platform.machine(),
        "model": opened.card.title,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
