"""Damaged files: always read or refused by a typed error, in bounded time and memory. More in `fuzz.py`."""

from __future__ import annotations

import corpus
import fuzz

KNOWN = (310, 1506, 4168)
"""Seeds that once were not refused as they should be: nameless members of archives, odd rescale values."""

SEEDS = [*KNOWN, *range(0, 4000, 40)]


def test_damaged_files_are_read_or_refused():
    """In a process of its own, as memory counts the whole process, and this one holds a test run."""
    results = list(fuzz.try_seeds(SEEDS))
    assert [result.seed for result in results] == SEEDS
    assert [result for result in results if not result.passed] == []


def test_a_seed_makes_the_same_file_again():
    assert corpus.make(1234) == corpus.make(1234)
    assert corpus.make(1234) != corpus.make(1235)


def test_every_kind_of_damage_is_drawn():
    drawn = {corpus.make(seed).kind for seed in range(1200)}
    assert {name.split(" ")[0] for name in corpus.kinds()} <= drawn


def test_an_untyped_error_is_noticed():
    def bug(film):
        raise ZeroDivisionError("planted")

    outcomes = [fuzz.try_seed(seed, bug).outcome for seed in range(40)]
    failed = [outcome for outcome in outcomes if outcome.startswith("FAILED")]
    assert failed
    assert all("ZeroDivisionError" in outcome for outcome in failed)
