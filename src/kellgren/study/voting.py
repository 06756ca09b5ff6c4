"""Votes from saved predictions, and the search for members and rule on the held-out fold (Pi 2023)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from kellgren.errors import BadDataset
from kellgren.evaluate import metrics
from kellgren.evaluate.evaluation import TEST_SPLITS
from kellgren.model import decision as decisions
from kellgren.model import vote
from kellgren.model.decision import DecisionRule
from kellgren.study.predictions import Predictions, common
from kellgren.vocabulary import MISSING, TASKS, FloatArray, IntArray

Rule = Literal["soft", "hard", "mixed"]
RULES: Final[tuple[Rule, ...]] = ("soft", "hard", "mixed")
MOST: Final = 12
"""Members that a search takes: 2**12 - 1 subsets with three rules each."""

_SAME: Final = 9
"""Decimals to which equal shares of votes agree: they are sums in different orders."""


def decide(
    voices: Sequence[FloatArray], rule: Rule, decision: DecisionRule = "argmax"
) -> tuple[FloatArray, IntArray]:
    """What the members say together.

    Args:
        voices: Members' probabilities, each (N, C); every member has one vote.
        rule: `soft`: the mean probability decides, by `decision`. `hard`: the grade most members hold most
            probable, of equal ones the smallest. `mixed`: the same, but of equal ones that of most mean
            probability.
        decision: Of a soft vote.

    Returns:
        Joined probabilities (N, C), rows sum to 1, and decided grades (N,).
    """
    joined = vote.join(voices, [1.0] * len(voices), rule)
    if rule == "soft":
        return joined, decisions.decide(joined, decision)
    ballots = np.eye(joined.shape[1], dtype=np.int64)[np.stack(voices).argmax(axis=2)].sum(axis=0)
    if rule == "hard":
        return joined, ballots.argmax(axis=1)
    soft = vote.join(voices, [1.0] * len(voices), "soft")
    tied = ballots == ballots.max(axis=1, keepdims=True)
    return joined, np.where(tied, soft.round(_SAME), -1.0).argmax(axis=1)


def join(
    members: Sequence[Predictions], rule: Rule, decision: Mapping[str, DecisionRule] | None = None
) -> Predictions:
    """The predictions of a vote, on the knees and tasks that all members have.

    Args:
        members: Each has one voice.
        rule: How they vote.
        decision: Of soft votes by task; the most probable grade where it does not say.

    Raises:
        BadDataset: If they have none in common.
    """
    kept = common(members)
    tasks = [task for task in TASKS if all(task in one.probabilities for one in kept)]
    if not tasks:
        raise BadDataset("no task is in all of the predictions", path=members[0].source)
    rules = decision or {}
    answers = {
        task: decide([one.probabilities[task] for one in kept], rule, rules.get(task, "argmax"))
        for task in tasks
    }
    return replace(
        kept[0],
        probabilities={task: answer[0] for task, answer in answers.items()},
        decided={task: answer[1] for task, answer in answers.items()},
        truth={task: kept[0].truth[task] for task in tasks},
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """One vote of a search.

    Attributes:
        members: Indices of the members.
        rule: How they vote.
        accuracy: On the knees that the search was given.
        qwk: Quadratic weighted kappa on them.
    """

    members: tuple[int, ...]
    rule: Rule
    accuracy: float
    qwk: float

    @property
    def score(self) -> float:
        """By what a vote is chosen: as an epoch is, the mean of accuracy and kappa."""
        return (self.accuracy + self.qwk) / 2


def search(members: Sequence[Predictions], *, task: str = "KL") -> list[Choice]:
    """Try every subset of two and more members with every rule.

    The knees must be such that no member learned from them and no figure is reported on them: the held-out
    fold.

    Args:
        members: Predictions of the same knees, at most `MOST`.
        task: What is graded.

    Returns:
        All votes, best first; of equal ones the smaller and simpler first.

    Raises:
        BadDataset: If the knees are of a validation or test split, which only report, or there are too many
            members.
    """
    for one in members:
        forbidden = sorted({"val", *TEST_SPLITS} & set(one.split))
        if forbidden:
            raise BadDataset(
                f"members are not chosen on the split {forbidden[0]!r}: it reports",
                path=one.source,
                remedy="give predictions of the held-out fold: evaluations/held_out in a study's cells",
            )
    if not 2 <= len(members) <= MOST:
        raise BadDataset(f"{len(members)} members, not 2 to {MOST}")
    kept = common(members)
    truth = kept[0].truth.get(task, np.empty(0, dtype=np.int64))
    read = truth != MISSING
    if not read.any():
        raise BadDataset(f"no reading of {task}", path=members[0].source)
    voices = [one.probabilities[task][read] for one in kept]
    return sorted(
        _choices(voices, truth[read]), key=lambda c: (-c.score, len(c.members), RULES.index(c.rule))
    )


def _choices(voices: Sequence[FloatArray], truth: IntArray) -> Iterator[Choice]:
    indices = range(len(voices))
    for n in range(2, len(voices) + 1):
        for members in itertools.combinations(indices, n):
            for rule in RULES:
                _, decided = decide([voices[i] for i in members], rule)
                confusion = metrics.confusion_matrix(truth, decided, voices[0].shape[1])
                accuracy, qwk = float(metrics.accuracy(confusion)), float(metrics.qwk(confusion))
                yield Choice(members, rule, accuracy, float(np.nan_to_num(qwk)))
