"""What a study has found so far, row by row: figures with intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from kellgren.errors import BadDataset
from kellgren.evaluate.assemble import OF_CONFUSION, PER_GRADE, TaskSample, statistics
from kellgren.evaluate.comparison import bootstrap_p, mcnemar
from kellgren.evaluate.intervals import DRAWS, SEED, bootstrap, percentile_interval
from kellgren.evaluate.reweighted import reweighted
from kellgren.study import cells, figures, predictions, voting
from kellgren.study.figures import Figure
from kellgren.study.plan import Plan, Row
from kellgren.study.predictions import Predictions
from kellgren.train import documents
from kellgren.vocabulary import FEATURES, MISSING, TASKS, FloatArray

DONE: Final = "done"


@dataclass(slots=True)
class Found:
    """One row's outcome.

    Attributes:
        row: The row.
        state: `done`, or why not.
        seeds: Of the answers.
        answers: Predictions, one a training. On held-out folds one a seed: each knee is answered by the
            network that left it out.
        values: By figure, one value an answer.
        drawn: By figure, (B,) its mean over answers in each draw of patients.
        cost: Of one training; summed over all that vote.
        chosen: What a search chose.
        folds: That the trainings left out, where the row has several.
    """

    row: Row
    state: str
    seeds: tuple[int, ...] = ()
    answers: list[Predictions] = field(default_factory=list)
    values: dict[Figure, list[float]] = field(default_factory=dict)
    drawn: dict[Figure, FloatArray] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, Any] | None = None
    folds: tuple[int, ...] = ()


def plan_of(study: dict[str, Any]) -> Plan:
    """The plan that `study.json` holds, rows written out."""
    return documents.parse(Plan, study["plan"], where="study.json: plan")


def find(out: Path, study: dict[str, Any], *, draws: int = DRAWS) -> list[Found]:
    """Read what the cells hold and judge it.

    Args:
        out: The study's folder, with `cells/`.
        study: `study.json` of a plan.
        draws: Bootstrap draws over patients.

    Returns:
        One for each row of the plan, in order; those not run have no figures.
    """
    chosen = plan_of(study)
    wanted = [figures.parse(name) for name in chosen.figures]
    wanted += [
        figure for printed in chosen.printed if (figure := figures.parse(printed.figure)) not in wanted
    ]
    found: dict[str, Found] = {}
    for row in chosen.rows:
        if row.vote.of:
            found[row.name] = _voted(row, [found[name] for name in row.vote.of], out, study)
        else:
            found[row.name] = _trained(row, out, study)
        if found[row.name].answers:
            _judge(found[row.name], wanted, draws=draws)
    return list(found.values())


def _trained(row: Row, out: Path, study: dict[str, Any]) -> Found:
    brief = study["cells"][row.name]
    folds = tuple(dict.fromkeys(cell["fold"] for cell in brief)) if row.folds else ()
    folders = [out / "cells" / cell["key"] for cell in brief]
    states = [
        cells.status(folder, study["evaluation"], cell["epochs"])
        for folder, cell in zip(folders, brief, strict=True)
    ]
    done = [i for i, state in enumerate(states) if state == DONE]
    open_ = [
        f"seed {cell['seed']}" + (f" fold {cell['fold']} " if len(folds) > 1 else " ") + state
        for cell, state in zip(brief, states, strict=True)
        if state != DONE
    ]
    answers = [
        (brief[i]["seed"], predictions.read(folders[i] / "evaluations" / study["evaluation"])) for i in done
    ]
    if len(folds) > 1 and study["evaluation"] == study["held_out_evaluation"]:
        answers = _out_of_fold(answers, len(folds))
    return Found(
        row,
        DONE if not open_ else states[0] if len(states) == 1 else "; ".join(open_),
        tuple(seed for seed, _ in answers),
        [answer for _, answer in answers],
        folds=folds,
        cost=_mean_cost([cells.read(folders[i] / cells.COST) or {} for i in done], [brief[i] for i in done]),
    )


def _out_of_fold(answers: Sequence[tuple[int, Predictions]], folds: int) -> list[tuple[int, Predictions]]:
    """One answer for each seed of which every fold is there: each knee by the network that left it out."""
    by_seed: dict[int, list[Predictions]] = {}
    for seed, answer in answers:
        by_seed.setdefault(seed, []).append(answer)
    return [(seed, predictions.together(parts)) for seed, parts in by_seed.items() if len(parts) == folds]


def _mean_cost(costs: Sequence[dict[str, Any]], brief: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Costs of a row: means over its seeds where they differ."""
    if not costs:
        return {}
    first = costs[0]
    return {
        "parameters": first.get("parameters"),
        "macs": first.get("macs"),
        "epochs": [cost.get("epochs") for cost in costs],
        "best_epoch": [cost.get("best_epoch") for cost in costs],
        "stopped": [cost.get("stopped") for cost in costs],
        "train_minutes": _minutes([cost.get("train_seconds") for cost in costs]),
        "peak_bytes": max((cost.get("peak_bytes") or 0 for cost in costs), default=0) or None,
        "machine": sorted({str(cost.get("machine")) for cost in costs}),
        "init": brief[0]["init"],
    }


def _minutes(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) / len(known) / 60 if known else None


def _voted(row: Row, members: Sequence[Found], out: Path, study: dict[str, Any]) -> Found:
    waiting = [member.row.name for member in members if member.state != DONE]
    if waiting:
        return Found(row, f"waits for {', '.join(waiting)}")
    seeds = [seed for seed in members[0].seeds if all(seed in member.seeds for member in members)]
    every = row.vote.trainings == "all"
    if not seeds and (not every or row.vote.rule == "search"):
        return Found(row, "its members have no seed in common")
    chosen = None
    if row.vote.rule == "search":
        try:
            best, chosen = _searched(row, seeds[0], out, study)
        except BadDataset as error:
            return Found(row, f"waits for the held-out fold: {error.reason}")
        members, rule = [members[i] for i in best.members], best.rule
    else:
        rule = row.vote.rule
    if every:
        seeds = list(dict.fromkeys(seed for member in members for seed in member.seeds))
        ballots = [[answer for member in members for answer in member.answers]]
    else:
        ballots = [[member.answers[member.seeds.index(seed)] for member in members] for seed in seeds]
    return Found(
        row,
        DONE,
        tuple(seeds),
        [voting.join(voters, rule, row.vote.decision) for voters in ballots],
        cost=_sum_costs(members, every),
        chosen=chosen,
        folds=tuple(dict.fromkeys(fold for member in members for fold in member.folds)),
    )


def _searched(row: Row, seed: int, out: Path, study: dict[str, Any]) -> tuple[voting.Choice, dict[str, Any]]:
    """The vote that is best on the held-out folds with the networks of a seed, and the same for the table."""
    held = [
        predictions.together(
            [
                predictions.read(out / "cells" / cell["key"] / "evaluations" / study["held_out_evaluation"])
                for cell in study["cells"][name]
                if cell["seed"] == seed
            ]
        )
        for name in row.vote.of
    ]
    ranked = voting.search(held)
    best = ranked[0]
    return best, {
        "members": [row.vote.of[i] for i in best.members],
        "rule": best.rule,
        "held_out_accuracy": best.accuracy,
        "held_out_qwk": best.qwk,
        "n": len(held[0].names),
        "tried": len(ranked),
    }


def _sum_costs(members: Sequence[Found], every: bool) -> dict[str, Any]:
    """Of one training of each member, or of every one of them."""
    costs = [member.cost for member in members]
    counts = [len(cost["epochs"]) if every else 1 for cost in costs]
    return {
        **{
            name: cells.total(
                None if cost[name] is None else count * cost[name]
                for cost, count in zip(costs, counts, strict=True)
            )
            for name in ("parameters", "macs", "train_minutes")
        },
        "peak_bytes": max(cost["peak_bytes"] or 0 for cost in costs) or None,
        "machine": sorted({machine for cost in costs for machine in cost["machine"]}),
        "init": ", ".join(dict.fromkeys(cost["init"] or "random" for cost in costs)),
        "epochs": [],
        "best_epoch": [],
        "stopped": [],
    }


def _judge(found: Found, wanted: Sequence[Figure], *, draws: int) -> None:
    """Fill in values and draws of the figures whose tasks were graded and read."""
    for task in dict.fromkeys(figure.task for figure in wanted):
        if not all(task in answer.tasks for answer in found.answers):
            continue
        of_task = [figure for figure in wanted if figure.task == task]
        values, drawn = _figures(found.answers, task, of_task, draws=draws)
        found.values |= values
        found.drawn |= drawn


def _figures(
    answers: Sequence[Predictions], task: str, wanted: Sequence[Figure], *, draws: int
) -> tuple[dict[Figure, list[float]], dict[Figure, FloatArray]]:
    """Values by figure, one a seed, and draws of their means."""
    samples = [answer.sample(task) for answer in answers]
    light = all(figure.name in (*OF_CONFUSION, *PER_GRADE) for figure in wanted)
    evaluators = [_of_confusion(sample) if light else statistics(sample) for sample in samples]
    everyone = np.ones((1, samples[0].patients))
    values: dict[Figure, list[float]] = {figure: [] for figure in wanted}
    for evaluate in evaluators:
        whole = evaluate(everyone)
        for figure in wanted:
            values[figure].append(float(figure.of(whole)[0]))
    keys = {str(i): figure for i, figure in enumerate(wanted)}

    def means(
        evaluate: Callable[[FloatArray], dict[str, FloatArray]],
    ) -> Callable[[FloatArray], dict[str, FloatArray]]:
        def of(counts: FloatArray) -> dict[str, FloatArray]:
            whole = evaluate(counts)
            return {key: figure.of(whole) for key, figure in keys.items()}

        return of

    # The same seed draws the same patients for every network: that is the pairing.
    each = [
        bootstrap(means(evaluate), samples[0].patients, draws=draws, seed=SEED) for evaluate in evaluators
    ]
    return values, {figure: np.mean([one[key] for one in each], axis=0) for key, figure in keys.items()}


def _of_confusion(sample: TaskSample) -> Callable[[FloatArray], dict[str, FloatArray]]:
    """As `kellgren.evaluate.assemble.statistics`, of what a confusion matrix gives: no knees are ranked."""
    classes = sample.classes
    per_patient = np.zeros((sample.patients, classes * classes))
    np.add.at(per_patient, (sample.patient, sample.truth * classes + sample.decided), 1.0)

    def evaluate(counts: FloatArray) -> dict[str, FloatArray]:
        confusion = (counts @ per_patient).reshape(-1, classes, classes)
        return {name: figure(confusion) for name, figure in (OF_CONFUSION | PER_GRADE).items()}

    return evaluate


def interval(drawn: FloatArray) -> tuple[float, float]:
    """95 % interval of draws."""
    low, high = percentile_interval(drawn)
    return float(low), float(high)


def differences(
    first: Found, second: Found, wanted: Sequence[Figure], *, draws: int = DRAWS
) -> list[dict[str, Any]]:
    """Second minus first on the knees that both graded, every draw of patients serving both.

    Returns:
        By figure that both have: value, low, high, p; of accuracy with one seed each also McNemar's test.
    """
    both = [figure for figure in wanted if figure in first.values and figure in second.values]
    if any(answer.names != first.answers[0].names for answer in (*first.answers, *second.answers)):
        first, second = _on_common(first, second, both, draws=draws)
    found = []
    for figure in both:
        drawn = second.drawn[figure] - first.drawn[figure]
        low, high = interval(drawn)
        entry: dict[str, Any] = {
            "figure": f"{figure.task}.{figure.name}" + ("" if figure.grade is None else f".{figure.grade}"),
            "first": float(np.mean(first.values[figure])),
            "second": float(np.mean(second.values[figure])),
            "value": float(np.mean(second.values[figure]) - np.mean(first.values[figure])),
            "low": low,
            "high": high,
            "p": bootstrap_p(drawn),
        }
        if figure.name == "accuracy" and len(first.answers) == len(second.answers) == 1:
            one, two = first.answers[0].sample(figure.task), second.answers[0].sample(figure.task)
            entry["mcnemar_p"] = mcnemar(one.decided == one.truth, two.decided == two.truth).p
        found.append(figures.to_json(entry))
    return found


def _on_common(first: Found, second: Found, wanted: Sequence[Figure], *, draws: int) -> tuple[Found, Found]:
    """Both on the knees that all their networks graded."""
    kept = predictions.common([*first.answers, *second.answers])
    split = len(first.answers)
    pair = (
        Found(first.row, first.state, first.seeds, answers=kept[:split]),
        Found(second.row, second.state, second.seeds, answers=kept[split:]),
    )
    for found in pair:
        _judge(found, wanted, draws=draws)
    return pair


def oarsi(answer: Predictions, *, draws: int = DRAWS) -> list[dict[str, Any]]:
    """The atlas features on the knees with readings, and reweighted to the KL grades of all knees.

    Returns:
        For each feature: task, number of knees and of those read, and by figure value and interval of both.
    """
    if "KL" not in answer.truth:
        return []
    entries = []
    for feature in (task.name for task in FEATURES if task.name in answer.tasks):
        truth, kl = answer.truth[feature], answer.truth["KL"]
        about = (answer.decided[feature], truth)
        read = truth != MISSING
        classes = TASKS[feature].classes
        entry: dict[str, Any] = {"task": feature, "n": len(truth), "n_read": int(read.sum())}
        for name, mix in (("read", np.where(read, kl, MISSING)), ("reweighted", kl)):
            judged = reweighted(*about, mix, answer.patients, classes, draws=draws)
            entry[name] = {figure: estimate.to_json() for figure, estimate in judged.items()}
        entries.append(entry)
    return entries
