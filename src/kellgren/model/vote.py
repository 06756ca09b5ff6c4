"""Combine the probabilities of an ensemble's members (Pi 2023: hard, soft and mixed voting)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kellgren.model.card import Vote
from kellgren.vocabulary import FloatArray


def join(voices: Sequence[FloatArray], weights: Sequence[float], vote: Vote) -> FloatArray:
    """Combine several distributions into one.

    `soft` is the weighted mean of the probabilities. `hard` is each grade's weighted share of votes
    (ties fall to the smallest grade when the most probable is decided). `mixed` is the share of votes
    with ties broken by the soft mean, which counts for less than any lead in votes.

    Args:
        voices: Members' probabilities, each (N, C).
        weights: One positive weight per member.
        vote: `soft`, `hard` or `mixed`.

    Returns:
        (N, C), rows sum to 1.
    """
    stacked = np.stack(voices)
    share = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    soft: FloatArray = np.einsum("m,mnc->nc", share, stacked)
    if vote == "soft":
        return soft
    ballots = np.eye(stacked.shape[2])[stacked.argmax(axis=2)]
    hard: FloatArray = np.einsum("m,mnc->nc", share, ballots)
    if vote == "hard":
        return hard
    leads = np.diff(np.unique(hard.round(9)))
    small = float(leads.min()) / 2 if len(leads) else 1.0
    return np.asarray((hard + small * soft) / (1 + small))
