"""Read thousands of damaged files, and tell what each did: its outcome, time and memory.

    python tests/fuzz.py --seeds 0:5000 --out fuzz.jsonl

Files are read in processes of their own, a stretch of seeds each, so that a crash costs one file. A file
passes if it is read, or refused by an error of the package that repeats nothing of the patient, with nothing
on stderr, within 5 seconds of processor time and 700 MB of memory (and a minute by the clock, which other
work stretches). Seeds that do not pass are kept in `--failing`, one JSON object a line, and `--only FILE`
runs those again. Exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import corpus
from kellgren.errors import KellgrenError
from kellgren.grade.grader import Grader
from kellgren.model import bundle
from kellgren.read import list_images, read_bytes
from kellgren.read.radiograph import Radiograph
from kellgren.standardise import standardise

MOST_SECONDS = 5.0
MOST_WAITING = 60.0
MOST_MEGABYTES = 700.0
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Result:
    """What a damaged file did.

    Attributes:
        seed: Its seed.
        kind: Kind of damage.
        outcome: `read`, the error's class, or after `FAILED` what should not have happened.
        reason: The error's message.
        seconds: Processor time.
        waited: Time by the clock.
        megabytes: Largest resident memory of the process meanwhile; 0 where the system does not tell.
    """

    seed: int
    kind: str
    outcome: str
    reason: str
    seconds: float
    waited: float
    megabytes: float

    @property
    def passed(self) -> bool:
        """Whether it is as it must be."""
        good = not self.outcome.startswith("FAILED")
        in_time = self.seconds <= MOST_SECONDS and self.waited <= MOST_WAITING
        return good and in_time and self.megabytes <= MOST_MEGABYTES


def look(film: Radiograph) -> None:
    """The next stage, and what every film that was read must be."""
    assert film.pixels.ndim == 2
    assert film.pixels.dtype == np.float32
    assert np.isfinite(film.pixels).all()
    standardise(film)


def try_seed(seed: int, use: Callable[[Radiograph], object] = look) -> Result:
    """Make the file of a seed, read it from a folder as a user would, and use what was read."""
    case = corpus.make(seed)
    outcomes: Counter[str] = Counter()
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / case.name
        path.write_bytes(case.data)
        kind = case.kind
        del case
        _forget_peak()
        printed = _printed_so_far()
        started, clock = time.process_time(), time.perf_counter()
        for source in list_images([path]).sources:
            try:
                use(read_bytes(source.read_bytes(), source.path))
                outcomes["read"] += 1
            except KellgrenError as error:
                outcomes[type(error).__name__] += 1
                reason = reason or error.reason
                if any(secret in str(error) for secret in corpus.SECRETS):
                    outcomes["FAILED: patient data in a message"] += 1
            # This is what is looked for.
            except Exception as error:  # noqa: BLE001
                outcomes[f"FAILED: {type(error).__name__}: {error}"] += 1
        seconds, waited = time.process_time() - started, time.perf_counter() - clock
        if _printed_so_far() > printed:
            outcomes["FAILED: a library printed on stderr"] += 1
    worst = sorted(outcomes, key=lambda outcome: (not outcome.startswith("FAILED"), outcome))
    return Result(seed, kind, worst[0] if worst else "no film", reason, seconds, waited, _peak())


def _printed_so_far() -> int:
    """Bytes that this process has written to its stderr, where that is a file."""
    sys.stderr.flush()
    status = os.fstat(2)
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _forget_peak() -> None:
    """Let the largest resident memory begin anew (Linux)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return


def _peak() -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def grade() -> Callable[[Radiograph], object]:
    """Finds, grades, measures and explains the knees of a film that was read."""
    grader = Grader(bundle.load("joint"), threads=1)
    return lambda film: grader.grade_radiograph(film, explain=True)


def try_seeds(seeds: Iterable[int], stretch: int = 250, *, graded: bool = False) -> Iterator[Result]:
    """Try seeds in processes of their own; one that dies has its seed as a failure, and the rest go on."""
    waiting = list(seeds)
    while waiting:
        part, waiting = waiting[:stretch], waiting[stretch:]
        done = 0
        command = [sys.executable, __file__, *(["--grade"] if graded else []), "--inside", *map(str, part)]
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, when the process has ended
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                done += 1
                yield Result(**json.loads(line))
        code = process.wait()
        errors.seek(0)
        text = errors.read().decode(errors="replace")
        errors.close()
        if text:
            print(text[:2000], file=sys.stderr, flush=True)
        if done < len(part):
            seed = part[done]
            words = f"FAILED: the process ended with {code}"
            yield Result(seed, corpus.make(seed).kind, words, "", 0.0, 0.0, 0.0)
            waiting = part[done + 1 :] + waiting


def summary(results: list[Result]) -> str:
    """The figures of a run, as Markdown."""
    outcomes = Counter(result.outcome.split(":")[0] for result in results)
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.megabytes)
    median = sorted(result.seconds for result in results)[len(results) // 2]
    lines = [
        f"files: {len(results)}, seeds {results[0].seed} to {results[-1].seed}",
        f"outcomes: {', '.join(f'{word} {count}' for word, count in outcomes.most_common())}",
        f"median {median:.3f} s; slowest {slowest.seconds:.2f} s of processor time "
        f"(seed {slowest.seed}, {slowest.kind})",
        f"most memory {largest.megabytes:.0f} MB (seed {largest.seed}, {largest.kind})",
        f"not passed: {sum(not result.passed for result in results)}",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0:5000", help="first:last, the last one not included")
    parser.add_argument("--out", type=Path, help="every result, one JSON object a line")
    parser.add_argument("--failing", type=Path, default=Path("fuzz-failing.jsonl"), help="those that failed")
    parser.add_argument("--only", type=Path, help="the seeds of such a file")
    parser.add_argument("--grade", action="store_true", help="also grade what was read")
    parser.add_argument("--inside", nargs="*", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        use = grade() if options.grade else look
        for seed in options.inside:
            print(json.dumps(asdict(try_seed(seed, use))), flush=True)
        return 0
    first, _, last = options.seeds.partition(":")
    seeds: Iterable[int] = range(int(first), int(last))
    if options.only:
        seeds = [json.loads(line)["seed"] for line in options.only.read_text().splitlines()]
    results = []
    out = options.out.open("w") if options.out else None
    with options.failing.open("w") as failing:
        for result in try_seeds(seeds, graded=options.grade):
            results.append(result)
            line = json.dumps(asdict(result)) + "\n"
            if out:
                out.write(line)
                out.flush()
            if not result.passed:
                failing.write(line)
                failing.flush()
                print(line, end="", flush=True)
    print(summary(results))
    return int(not all(result.passed for result in results))


if __name__ == "__main__":
    sys.exit(main())
