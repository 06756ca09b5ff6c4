"""`kellgren train locate`: both levels, one after the other, in one run folder that can be resumed.

Run folder: `run.json` (recipe, data, seed, machine), `log.jsonl` (a line for each thing trained),
`level1.pt`, `level2.pt` and `tuned.pt` once each is there, then `bundle/`. A resumed run goes on with the
first that is not.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kellgren.data import DataSet
from kellgren.data.films import load_films
from kellgren.errors import BadRecipe
from kellgren.locate import Cascade, Settings
from kellgren.train.hardware import Hardware
from kellgren.train.localiser import export, films, samples
from kellgren.train.localiser.fit import fit
from kellgren.train.localiser.material import BoxedFilm
from kellgren.train.localiser.networks import WINDOW1, WINDOW2, Level1, Level2
from kellgren.train.localiser.recipe import Level, LocaliserRecipe
from kellgren.train.run import WHOLE_SPLIT, Track, commit, save, silent

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocaliserRun:
    """What one training run is made of.

    Attributes:
        recipe: What to train.
        dataset: Crops with `joint_line_points.csv`; the train split is used.
        films: Folder of real films with `boxes.csv`, or None to learn from composed and simulated ones only.
        out: Run folder.
        fold: Fold of the crops that is held out; -1 for none.
        seed: Source of all random numbers.
        hardware: Where.
    """

    recipe: LocaliserRecipe
    dataset: DataSet
    films: Path | None
    out: Path
    fold: int
    seed: int
    hardware: Hardware

    def training(self) -> DataSet:
        """The crops that films are composed from."""
        train = self.dataset.select(split="train")
        if self.fold == WHOLE_SPLIT:
            return train
        return train.select(folds={k.fold for k in train if k.fold is not None} - {self.fold})

    def record(self) -> dict[str, Any]:
        """What decides the run: a resumed run must have the same."""
        names = [] if self.films is None else [film.name for film in load_films(self.films)]
        recipe = self.recipe.to_dict()
        del recipe["search"]  # thresholds are chosen after training
        return {
            "recipe": json.loads(json.dumps(recipe)),
            "data_sha256": self.dataset.sha256(),
            "films": len(names),
            "fold": self.fold,
            "seed": self.seed,
        }


def settings(recipe: LocaliserRecipe) -> Settings:
    """The cascade's settings as the recipe has them."""
    return Settings(WINDOW1, WINDOW2, **asdict(recipe.search))


def train(run: LocaliserRun, *, resume: bool = False, track: Track = silent) -> tuple[Level1, Level2]:
    """Train both levels, then tune the second on the real films, if there are any.

    Args:
        run: What and where.
        resume: Go on in a folder that holds a part of this very run.
        track: Progress display.

    Returns:
        Both networks, on the CPU, in evaluation mode.

    Raises:
        BadRecipe: If the folder holds another run, or nothing to resume.
        BadDataset: If there are no key points, or no readable boxes.
    """
    _open_folder(run, resume=resume)
    torch.manual_seed(run.seed)
    recipe, threads = run.recipe, run.hardware.threads
    first, second = Level1(recipe.level1.width), Level2(recipe.level2.width)
    stored = [_stored(net, run.out / name) for net, name in ((first, "level1.pt"), (second, "level2.pt"))]
    tuned = _stored(second, run.out / "tuned.pt")
    if tuned or (all(stored) and run.films is None):
        return first.eval(), second.eval()
    material = films.composed(run.training(), recipe.material, seed=run.seed, threads=threads)
    material += films.simulated(recipe.material.simulated, seed=run.seed, threads=threads)
    if not stored[0]:
        cut = samples.joined([_first_samples(film, run) for film in track(material, len(material), "cut")])
        _fit(first, cut, recipe.level1, run, "level1")
    proposer = Cascade(export.graph(copy.deepcopy(first)), None, settings(recipe), threads=threads)
    windows = cut_second(material, run, proposer, track)
    if not stored[1]:
        _fit(second, windows, recipe.level2, run, "level2")
    if run.films is not None:
        tune(second, films.real(run.films), windows, run, proposer)
        save(run.out / "tuned.pt", {"model": second.state_dict()})
    return first.eval(), second.eval()


def cut_second(
    material: list[BoxedFilm], run: LocaliserRun, proposer: Cascade, track: Track = silent
) -> samples.Samples:
    """Level 2's windows: around joints, anywhere, and wherever level 1 sees a knee."""
    return samples.joined([_second_samples(f, run, proposer) for f in track(material, len(material), "cut")])


def tune(
    net: Level2, real: list[BoxedFilm], others: samples.Samples, run: LocaliserRun, proposer: Cascade
) -> None:
    """Go on with changed copies of real films and as many windows of other films, in place.

    Args:
        net: Level 2 as trained without real films.
        real: The real films to learn from.
        others: Its windows so far.
        run: Recipe, seed and hardware.
        proposer: Level 1 at work.
    """
    recipe = run.recipe
    copies = [changed for film in real for changed in films.varied(film, recipe.material.real, seed=run.seed)]
    windows = cut_second(copies, run, proposer)
    rng = np.random.default_rng([run.seed, 3])
    chosen = np.sort(rng.permutation(len(others))[: len(windows)])
    mixed = samples.joined([windows, others.taken(chosen)])
    level = replace(recipe.level2, epochs=recipe.tune.epochs, lr=recipe.tune.lr, cycle=True)
    _fit(net, mixed, level, run, "tuned")


def _first_samples(film: BoxedFilm, run: LocaliserRun) -> samples.Samples:
    level = run.recipe.level1
    places = samples.around(film, _generator(film, run, 1), near=level.near, far=level.far)
    return samples.cut(film, places, WINDOW1, equalise=True)


def _second_samples(film: BoxedFilm, run: LocaliserRun, proposer: Cascade) -> samples.Samples:
    level = run.recipe.level2
    places = samples.around(film, _generator(film, run, 2), near=level.near, far=level.far)
    places = np.concatenate([places, proposer.propose(film.pixels)[0]])
    return samples.cut(film, places, WINDOW2, equalise=False)


def _generator(film: BoxedFilm, run: LocaliserRun, level: int) -> np.random.Generator:
    # the same film has the same windows, whatever else there is to learn from
    return np.random.default_rng([run.seed, level, *film.name.encode(), film.pixels.size])


def _fit(net: nn.Module, cut: samples.Samples, level: Level, run: LocaliserRun, name: str) -> None:
    started = time.monotonic()
    history = fit(net, cut, level, second=name != "level1", seed=run.seed, hardware=run.hardware)
    net.to("cpu")
    if name != "tuned":
        save(run.out / f"{name}.pt", {"model": net.state_dict()})
    entry = {
        "level": name,
        "windows": len(cut),
        "knees": int(np.nansum(cut.knee)),
        "loss": [round(loss, 5) for loss in history],
        "seconds": round(time.monotonic() - started, 1),
    }
    log.info("%s", entry)
    with (run.out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _stored(net: nn.Module, path: Path) -> bool:
    if not path.is_file():
        return False
    net.load_state_dict(torch.load(path, weights_only=True)["model"])
    return True


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of `log.jsonl`."""
    lines: Iterable[str] = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _open_folder(run: LocaliserRun, *, resume: bool) -> None:
    run.out.mkdir(parents=True, exist_ok=True)
    path, record = run.out / "run.json", run.record()
    if path.is_file() != resume:
        raise BadRecipe(
            "nothing to resume" if resume else "the folder holds a run already",
            path=run.out,
            remedy="start without --resume" if resume else "add --resume, or use another --out",
        )
    if resume:
        stored = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key, value in record.items() if stored.get(key) != value]
        if changed:
            raise BadRecipe(f"the folder holds a run with other {', '.join(changed)}", path=run.out)
        return
    machine = {"hardware": run.hardware.name, "torch": torch.__version__, "commit": commit()}
    path.write_text(json.dumps(record | machine, indent=2) + "\n", encoding="utf-8")
