"""What a study has found so far, row by row: figures with intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from kellgren.errors import BadDataset
from kellgren.evaluate.reweighted import reweighted
from kellgren.evaluate.statistics import DRAWS, SEED, bootstrap, bootstrap_p, mcnemar, percentile_interval
from kellgren.evaluate.task_metrics import OF_CONFUSION, PER_GRADE, TaskSample, statistics
from kellgren.study import cells, figures, predictions, records, voting
from kellgren.study.figures import Figure
from kellgren.study.plan import Row
from kellgren.study.predictions import Predictions
from kellgren.study.records import (
    AtlasFeature,
    Cost,
    Difference,
    Interval,
    RowCost,
    RowFigure,
    SearchedVote,
    Study,
    number,
)
from kellgren.vocabulary import FEATURES, MISSING, TASKS, FloatArray, IntArray

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
        values: By figure, one value per answer.
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
    cost: RowCost | None = None
    chosen: SearchedVote | None = None
    folds: tuple[int, ...] = ()


def find(out: Path, study: Study, *, draws: int = DRAWS) -> list[Found]:
    """Read what the cells hold and judge it.

    Args:
        out: The study's folder, with `cells/`.
        study: What was run.
        draws: Bootstrap draws over patients.

    Returns:
        One for each row of the plan, in order; those not run have no figures.
    """
    wanted = [figures.parse(name) for name in study.plan.figures]
    wanted += [
        figure for printed in study.plan.printed if (figure := figures.parse(printed.figure)) not in wanted
    ]
    found: dict[str, Found] = {}
    for row in study.plan.rows:
        if row.vote.of:
            found[row.name] = _voted(row, [found[name] for name in row.vote.of], out, study)
        else:
            found[row.name] = _trained(row, out, study)
        if found[row.name].answers:
            judge(found[row.name], wanted, draws=draws)
    return list(found.values())


def _trained(row: Row, out: Path, study: Study) -> Found:
    trainings = study.cells[row.name]
    folds = tuple(dict.fromkeys(each.fold for each in trainings)) if row.folds else ()
    folders = [out / "cells" / each.key for each in trainings]
    states = [
        cells.status(folder, study.evaluation, each.epochs)
        for folder, each in zip(folders, trainings, strict=True)
    ]
    done = [i for i, state in enumerate(states) if state == DONE]
    open_ = [
        f"seed {each.seed}" + (f" fold {each.fold} " if len(folds) > 1 else " ") + state
        for each, state in zip(trainings, states, strict=True)
        if state != DONE
    ]
    answers = [
        (trainings[i].seed, predictions.read(folders[i] / "evaluations" / study.evaluation)) for i in done
    ]
    if len(folds) > 1 and study.evaluation == study.held_out_evaluation:
        answers = _out_of_fold(answers, len(folds))
    costs = [records.read(Cost, folders[i] / cells.COST) for i in done]
    return Found(
        row,
        DONE if not open_ else states[0] if len(states) == 1 else "; ".join(open_),
        tuple(seed for seed, _ in answers),
        [answer for _, answer in answers],
        folds=folds,
        cost=_mean_cost(costs, trainings[done[0]].init) if done else None,
    )


def _out_of_fold(answers: Sequence[tuple[int, Predictions]], folds: int) -> list[tuple[int, Predictions]]:
    """One answer for each seed of which every fold is there: each knee by the network that left it out."""
    by_seed: dict[int, list[Predictions]] = {}
    for seed, answer in answers:
        by_seed.setdefault(seed, []).append(answer)
    return [(seed, predictions.together(parts)) for seed, parts in by_seed.items() if len(parts) == folds]


def _mean_cost(costs: Sequence[Cost], init: str | None) -> RowCost:
    """Costs of a row: means over its trainings where they differ."""
    seconds = [cost.train_seconds for cost in costs if cost.train_seconds is not None]
    return RowCost(
        parameters=costs[0].parameters,
        macs=costs[0].macs,
        epochs=tuple(cost.epochs for cost in costs),
        best_epoch=tuple(cost.best_epoch for cost in costs),
        stopped=tuple(cost.stopped for cost in costs),
        train_minutes=sum(seconds) / len(seconds) / 60 if seconds else None,
        peak_bytes=max(cost.peak_bytes or 0 for cost in costs) or None,
        machine=tuple(sorted({cost.machine for cost in costs})),
        init=init,
    )


def _voted(row: Row, members: Sequence[Found], out: Path, study: Study) -> Found:
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


def _searched(row: Row, seed: int, out: Path, study: Study) -> tuple[voting.Choice, SearchedVote]:
    """The vote that is best on the held-out folds with the networks of a seed, and the same for the table."""
    held = [
        predictions.together(
            [
                predictions.read(out / "cells" / each.key / "evaluations" / study.held_out_evaluation)
                for each in study.cells[name]
                if each.seed == seed
            ]
        )
        for name in row.vote.of
    ]
    ranked = voting.search(held)
    best = ranked[0]
    return best, SearchedVote(
        members=tuple(row.vote.of[i] for i in best.members),
        rule=best.rule,
        held_out_accuracy=best.accuracy,
        held_out_qwk=best.qwk,
        n=len(held[0].names),
        tried=len(ranked),
    )


def _sum_costs(members: Sequence[Found], every: bool) -> RowCost:
    """Of one training of each member, or of every one of them."""
    costs = [(len(m.cost.epochs) if every else 1, m.cost) for m in members if m.cost is not None]
    return RowCost(
        parameters=cells.total(c.parameters and n * c.parameters for n, c in costs),
        macs=cells.total(c.macs and n * c.macs for n, c in costs),
        epochs=(),
        best_epoch=(),
        stopped=(),
        train_minutes=cells.total(c.train_minutes and n * c.train_minutes for n, c in costs),
        peak_bytes=max((c.peak_bytes or 0 for _, c in costs), default=0) or None,
        machine=tuple(sorted({machine for _, c in costs for machine in c.machine})),
        init=", ".join(dict.fromkeys(c.init or "random" for _, c in costs)),
    )


def judge(found: Found, wanted: Sequence[Figure], *, draws: int) -> None:
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
    """As `evaluate.task_metrics.statistics`, of what a confusion matrix gives: no knees are ranked."""
    classes = sample.classes
    per_patient = np.zeros((sample.patients, classes * classes))
    np.add.at(per_patient, (sample.patient, sample.truth * classes + sample.decided), 1.0)

    def evaluate(counts: FloatArray) -> dict[str, FloatArray]:
        confusion = (counts @ per_patient).reshape(-1, classes, classes)
        return {name: figure(confusion) for name, figure in (OF_CONFUSION | PER_GRADE).items()}

    return evaluate


def figure_of(found: Found, figure: Figure) -> RowFigure:
    """Mean over trainings, its interval over patients, and the range over trainings."""
    low, high = percentile_interval(found.drawn[figure])
    values = found.values[figure]
    numbers = (float(np.mean(values)), float(low), float(high), min(values), max(values))
    return RowFigure(*map(number, numbers))


def differences(
    first: Found, second: Found, wanted: Sequence[Figure], *, draws: int = DRAWS
) -> tuple[Difference, ...]:
    """Second minus first on the knees that both graded, every draw of patients serving both.

    Returns:
        One for each figure that both have.
    """
    both = [figure for figure in wanted if figure in first.values and figure in second.values]
    if any(answer.names != first.answers[0].names for answer in (*first.answers, *second.answers)):
        first, second = _on_common(first, second, both, draws=draws)
    return tuple(_difference(first, second, figure) for figure in both)


def _difference(first: Found, second: Found, figure: Figure) -> Difference:
    drawn = second.drawn[figure] - first.drawn[figure]
    low, high = percentile_interval(drawn)
    one, two = (float(np.mean(found.values[figure])) for found in (first, second))
    p = None
    if figure.name == "accuracy" and len(first.answers) == len(second.answers) == 1:
        samples = [found.answers[0].sample(figure.task) for found in (first, second)]
        p = mcnemar(*(sample.decided == sample.truth for sample in samples)).p
    values = (one, two, two - one, float(low), float(high), bootstrap_p(drawn))
    first_, second_, value, bottom, top, chance = map(number, values)
    return Difference(str(figure), first_, second_, value, bottom, top, chance, p)


def _on_common(first: Found, second: Found, wanted: Sequence[Figure], *, draws: int) -> tuple[Found, Found]:
    """Both on the knees that all their networks graded."""
    kept = predictions.common([*first.answers, *second.answers])
    split = len(first.answers)
    pair = (
        Found(first.row, first.state, first.seeds, answers=kept[:split]),
        Found(second.row, second.state, second.seeds, answers=kept[split:]),
    )
    for found in pair:
        judge(found, wanted, draws=draws)
    return pair


def oarsi(answer: Predictions, *, draws: int = DRAWS) -> tuple[AtlasFeature, ...]:
    """The atlas features on the knees with readings, and reweighted to the KL grades of all knees."""
    if "KL" not in answer.truth:
        return ()
    features = []
    for task in (task.name for task in FEATURES if task.name in answer.tasks):
        truth, kl = answer.truth[task], answer.truth["KL"]
        read = truth != MISSING

        def judged(mix: IntArray, task: str = task, truth: IntArray = truth) -> dict[str, Interval]:
            about = (answer.decided[task], truth, mix, answer.patients, TASKS[task].classes)
            return {
                name: Interval(number(estimate.value), number(estimate.low), number(estimate.high))
                for name, estimate in reweighted(*about, draws=draws).items()
            }

        as_read = judged(np.where(read, kl, MISSING))
        features.append(AtlasFeature(task, len(truth), int(read.sum()), as_read, judged(kl)))
    return tuple(features)
