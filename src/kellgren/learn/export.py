"""From a training run to a model bundle: graph, calibration on the held-out fold, golden outputs, card.

Nothing here looks at the validation split except the last step, which reports on it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from kellgren import bundle as bundles
from kellgren import calibrate, golden, steps
from kellgren._version import __version__
from kellgren.data import DataSet
from kellgren.data import load as load_data
from kellgren.errors import BadBundle, BadRecipe
from kellgren.grade import Grader, processors
from kellgren.learn import batches, graph, networks
from kellgren.learn import recipe as recipes
from kellgren.learn.recipe import Recipe
from kellgren.learn.train import WHOLE_SPLIT
from kellgren.parallel import in_order
from kellgren.predict import Model
from kellgren.read import read_bytes
from kellgren.report.run import write_json
from kellgren.simulate import draw_crop, write_png
from kellgren.standardise import standardise
from kellgren.study import evaluate, metrics
from kellgren.typical import Typical
from kellgren.vocabulary import MISSING, TASKS, Side

PARITY: Final = 1e-4
"""Largest difference of a probability between torch and onnxruntime, both with the same rounded weights."""

COVERAGE: Final = 0.9
"""Nominal coverage of the conformal interval."""

REFERRED: Final = 0.15
"""Largest share of held-out knees that the refer rule may send to a person."""

ATYPICAL: Final = 0.995
"""Share of held-out knees that count as ordinary."""

RULES: Final[tuple[calibrate.DecisionRule, ...]] = ("argmax", "median")

_TYPICAL_KNEES: Final = 1500
_PARITY_KNEES: Final = 64

Track = Callable[[Iterable[Any], int, str], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What an uncalibrated bundle says of knees it was not trained on.

    Attributes:
        logits: By task, (N, C), mean over test-time views.
        truth: By task, (N,), `MISSING` where not read.
        patients: (N,).
        distances: (N,) distance from ordinary inputs.
        agreements: (N,) agreement of the image with the side, NaN for networks without a SIDE task.
    """

    logits: dict[str, npt.NDArray[np.float64]]
    truth: dict[str, npt.NDArray[np.int64]]
    patients: npt.NDArray[np.str_]
    distances: npt.NDArray[np.float64]
    agreements: npt.NDArray[np.float64]


def export_run(
    run: Path, data: Path, out: Path, *, name: str | None = None, version: str = "0.1.0", track: Track
) -> Path:
    """Make a bundle of a finished training run.

    Args:
        run: Run folder with `run.json` and `best.pt`.
        data: The data set folder it was trained on.
        out: Folder for the bundle; replaced if it holds a bundle already.
        name: Name of the bundle; the recipe's by default.
        version: Version of the bundle.
        track: Progress display.

    Returns:
        The bundle's folder.

    Raises:
        BadRecipe: If the run is not finished or the data set is another one.
        BadBundle: If the graph does not agree with the network.
    """
    record = _read_record(run)
    recipe = recipes.from_dict(record["recipe"])
    dataset = load_data(data)
    if dataset.sha256() != record["data_sha256"]:
        raise BadRecipe("the data set is not the one that the run was trained on", path=data)
    _prepare_folder(out)
    training, held_out = _parts(dataset, record["fold"])
    card = _first_card(recipe, record, run, dataset, name or recipe.name, version)
    card["parity"] = _write_graph(recipe, run, held_out or training, out)
    card["sha256"] = {bundles.GRAPH: hashlib.sha256((out / bundles.GRAPH).read_bytes()).hexdigest()}
    write_json(out / bundles.CARD, card)
    _write_typical(out, training, track)
    if held_out is not None:
        observed = observe(Model(bundles.load(out)), held_out, track)
        card["decision"] = choose_decisions(observed, recipe)
        card["calibration"] = fit_calibration(observed, card["decision"], record["fold"])
    write_json(out / bundles.CARD, card)
    golden.write(bundles.load(out), out, golden_images())
    if any(knee.split == "val" for knee in dataset):
        grader = Grader(bundles.load(out), threads=1)
        evaluation = evaluate.evaluate(
            grader,
            dataset,
            "val",
            workers=processors(),
            test_looks=0,
            progress=lambda knees, total: track(knees, total, "validating"),
        )
        card["validation"] = evaluation.metrics
        write_json(out / bundles.CARD, card)
    return out


def _read_record(run: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecipe("no readable run.json: not a run folder", path=run) from error
    epochs = (
        len((run / "log.jsonl").read_text(encoding="utf-8").splitlines())
        if (run / "log.jsonl").is_file()
        else 0
    )
    wanted = record["recipe"]["optimise"]["epochs"]
    if epochs < wanted:
        raise BadRecipe(f"the run has {epochs} of {wanted} epochs", path=run, remedy="go on with --resume")
    return record


def _prepare_folder(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / bundles.CARD).is_file():
            raise BadBundle(
                "the folder is not empty and holds no bundle", path=out, remedy="use another --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


def _parts(dataset: DataSet, fold: int) -> tuple[DataSet, DataSet | None]:
    train = dataset.select(split="train")
    if fold == WHOLE_SPLIT:
        return train, None
    others = {knee.fold for knee in train if knee.fold is not None} - {fold}
    return train.select(folds=others), train.select(folds={fold})


def _first_card(
    recipe: Recipe, record: dict[str, Any], run: Path, dataset: DataSet, name: str, version: str
) -> dict[str, Any]:
    """The card before anything has been measured."""
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    best = max(range(len(entries)), key=lambda i: (entries[i]["best"], i))
    return {
        "name": name,
        "version": version,
        "licence": "Apache-2.0",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kellgren_version": __version__,
        "sha256": {},
        "description": recipe.title,
        "citation": recipe.source,
        "tasks": {task: TASKS[task].classes for task in recipe.tasks},
        "oa_from": "head" if "OA" in recipe.tasks else "sum",
        "inputs": [
            {
                "name": graph.INPUT,
                "view": recipe.input.view,
                "size": list(_input_size(recipe)),
                "channels": 1,
                "steps": list(recipe.input.steps),
            }
        ],
        "side_convention": recipe.side_convention,
        "tta": list(recipe.tta),
        "decision": dict(recipe.decision),
        "calibration": None,
        "training": {
            "data": dataset.root.name,
            "data_sha256": record["data_sha256"],
            "split": "train",
            "folds": sorted({k.fold for k in dataset if k.fold is not None} - {record["fold"]}),
            "held_out_fold": None if record["fold"] == WHOLE_SPLIT else record["fold"],
            "recipe": recipe.name,
            "size": recipe.size,
            "seeds": [record["seed"]],
            "epochs": recipe.optimise.epochs,
            "best_epoch": entries[best]["epoch"],
            "minutes": round(sum(entry["seconds"] for entry in entries) / 60, 1),
            "hardware": record["hardware"],
            "initial_weights": record["init"],
            "backbone": recipe.network.backbone,
            "commit": record["commit"],
            "settings": recipe.to_dict(),
        },
        "validation": None,
    }


def _input_size(recipe: Recipe) -> tuple[int, int]:
    """Size that the steps make of a published crop."""
    height, width = steps.apply(np.zeros((299, 299), np.float32), recipe.input.steps).shape
    return height, width


def _write_graph(recipe: Recipe, run: Path, sample: DataSet, out: Path) -> dict[str, Any]:
    net = networks.build(recipe, init=None)
    net.load_state_dict(torch.load(run / "best.pt", weights_only=True)["model"])
    net.eval()
    some = replace(sample, knees=sample.knees[:_PARITY_KNEES])
    crops = batches.preload(some, recipe, threads=processors())
    images = torch.cat([batch.images for batch in batches.evaluation_batches(crops, recipe)])
    graph.fold_normalisation(net, images[:2])
    graph.round_weights(net)
    graph.export(net, _input_size(recipe), out / bundles.GRAPH)
    largest = graph.largest_difference(net, out / bundles.GRAPH, images)
    if largest > PARITY:
        raise BadBundle(f"torch and onnxruntime differ by {largest:.1e} in a probability", path=out)
    return {
        "largest_probability_difference": largest,
        "knees": len(some),
        "parameters": networks.count_parameters(net),
    }


def _write_typical(out: Path, training: DataSet, track: Track) -> None:
    """Fit what ordinary inputs look like on a random part of the training knees."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(training))[:_TYPICAL_KNEES]
    model = Model(bundles.load(out))

    def embed(index: int) -> npt.NDArray[np.float32]:
        knee = training.knees[index]
        film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
        tensors = model.tensors(film.pixels, mirrored=steps.mirrors(knee.side, model.card.side_convention))
        embedding: npt.NDArray[np.float32] = model.run(tensors, ["embedding"])["embedding"][0]
        return embedding

    rows = list(track(in_order(embed, chosen.tolist(), workers=processors()), len(chosen), "embedding"))
    np.savez_compressed(out / bundles.TYPICAL, allow_pickle=False, **Typical.fit(np.stack(rows)).to_arrays())


def observe(model: Model, knees: DataSet, track: Track) -> HeldOut:
    """Run an uncalibrated model over knees, with its test-time views.

    Logarithms of its probabilities are its mean logits up to a constant, which no softmax sees.
    """

    def one(index: int) -> tuple[dict[str, npt.NDArray[np.float64]], float | None, float | None]:
        knee = knees.knees[index]
        film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
        prediction = model.predict(film.pixels, knee.side)
        logits = {task: np.log(np.maximum(p, 1e-12)) for task, p in prediction.probabilities.items()}
        return logits, prediction.distance, prediction.side_agreement if knee.side else None

    rows = list(track(in_order(one, range(len(knees)), workers=processors()), len(knees), "held-out fold"))
    tasks = [task for task in model.card.tasks if task != "SIDE"]
    return HeldOut(
        logits={task: np.stack([logits[task] for logits, _, _ in rows]) for task in tasks},
        truth={task: knees.grades(task) for task in tasks},
        patients=knees.patients(),
        distances=np.array([distance for _, distance, _ in rows], dtype=np.float64),
        agreements=np.array([agreement for _, _, agreement in rows], dtype=np.float64),
    )


def choose_decisions(observed: HeldOut, recipe: Recipe) -> dict[str, calibrate.DecisionRule]:
    """The decision rule of each task: the recipe's where it names one, else the better on held-out knees.

    Better is a higher mean of accuracy and quadratic weighted kappa.
    """
    chosen: dict[str, calibrate.DecisionRule] = {}
    for task, logits in observed.logits.items():
        read = observed.truth[task] != MISSING
        named = recipe.decision.get(task)
        if named is not None:
            chosen[task] = named
        elif read.any():
            probabilities, truth = calibrate.softmax(logits[read]), observed.truth[task][read]
            scores = {rule: _decision_score(probabilities, truth, rule) for rule in RULES}
            chosen[task] = max(RULES, key=scores.__getitem__)
    return chosen


def _decision_score(
    probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], rule: calibrate.DecisionRule
) -> float:
    decided = calibrate.decide(probabilities, rule)
    confusion = metrics.confusion_matrix(truth, decided, probabilities.shape[1])
    return float(metrics.accuracy(confusion) + metrics.qwk(confusion))


def fit_calibration(
    observed: HeldOut, decision: Mapping[str, calibrate.DecisionRule], fold: int
) -> dict[str, Any]:
    """Temperatures, conformal thresholds, refer rule and distance threshold from held-out knees.

    Temperatures are fitted on all held-out knees; everything that judges calibrated probabilities (the
    conformal thresholds, the refer rule, the figures) uses probabilities cross-fitted by patient.
    """
    temperature, conformal, after = {}, {}, {}
    for task, logits in observed.logits.items():
        truth = observed.truth[task]
        read = truth != MISSING
        if not read.any():  # a data set without these readings: the card then says no temperature
            continue
        temperature[task] = round(calibrate.fit_temperature(logits, truth), 4)
        crossed = calibrate.cross_fitted_probabilities(logits, truth, observed.patients).probabilities
        rule = decision.get(task, "argmax")
        if task != "OA":
            threshold = calibrate.fit_interval_threshold(crossed, truth, COVERAGE, rule=rule)
            conformal[task] = {"threshold": round(threshold, 6), "coverage": COVERAGE}
        after[task] = _calibration_figures(logits[read], crossed[read], truth[read])
    document: dict[str, Any] = {
        "temperature": temperature,
        "conformal": conformal,
        "out_of_distribution": {"threshold": round(float(np.quantile(observed.distances, ATYPICAL)), 4)},
        "side_certainty": 0.95,
        "fitted": {
            "method": f"fold {fold} of the train split, held out of training; cross-fitted by patient",
            "n": len(observed.patients),
            "n_patients": len(np.unique(observed.patients)),
            "figures": after,
        },
    }
    if np.isfinite(observed.agreements).any():
        document["side_doubt"] = round(float(np.nanquantile(observed.agreements, 1 - ATYPICAL)), 4)
    if "KL" in conformal:
        document["refer"] = _refer_rule(observed, decision.get("KL", "argmax"), conformal["KL"]["threshold"])
    return document


def _calibration_figures(
    logits: npt.NDArray[np.float64], calibrated: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> dict[str, float]:
    from kellgren.study import calibration_error as ce

    plain = calibrate.softmax(logits)
    return {
        "nll_before": round(ce.nll(plain, truth), 4),
        "nll": round(ce.nll(calibrated, truth), 4),
        "ece_before": round(ce.expected_calibration_error(*ce.top1(plain, truth)), 4),
        "ece": round(ce.expected_calibration_error(*ce.top1(calibrated, truth)), 4),
    }


def _refer_rule(observed: HeldOut, rule: calibrate.DecisionRule, threshold: float) -> dict[str, Any]:
    """The narrowest interval that is referred while no more than `REFERRED` of the knees are."""
    truth = observed.truth["KL"]
    crossed = calibrate.cross_fitted_probabilities(
        observed.logits["KL"], truth, observed.patients
    ).probabilities
    decided = calibrate.decide(crossed, rule)
    low, high = calibrate.interval(crossed, decided, threshold)
    grades = high - low + 1
    width = next(w for w in range(2, 7) if (grades >= w).mean() <= REFERRED)
    kept, read = grades < width, truth != MISSING

    def accuracy(which: npt.NDArray[np.bool_]) -> float | None:
        return round(float((decided == truth)[which & read].mean()), 4) if (which & read).any() else None

    return {
        "KL_interval_grades": width,
        "share_referred": round(float((~kept).mean()), 4),
        "accuracy_kept": accuracy(kept),
        "accuracy_referred": accuracy(~kept),
    }


def golden_images() -> dict[str, tuple[bytes, Side]]:
    """Three simulated crops, encoded."""
    import tempfile

    images: dict[str, tuple[bytes, Side]] = {}
    sides: tuple[Side, ...] = ("R", "L", "R")
    with tempfile.TemporaryDirectory() as folder:
        for kl, side in zip((0, 2, 4), sides, strict=True):
            path = Path(folder) / f"simulated-kl{kl}-{side}.png"
            write_png(draw_crop(np.random.default_rng((7, kl)), KL=kl, side=side), path)
            images[path.name] = (path.read_bytes(), side)
    return images
