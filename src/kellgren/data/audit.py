"""Does a data set fool its user? Shared patients, copies across splits, labels that contradict each other.

The audit reads what `kellgren.data.load` refuses: it says everything that is wrong, not the first thing.
How copies are found and told from other knees is in `fingerprint` and `overlay`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Final, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from kellgren.data.fingerprint import Candidate, Thumbnail, describe, find_candidates, thumbnail
from kellgren.data.inventory import Entry, Inventory
from kellgren.data.overlay import Overlay, lay_over
from kellgren.errors import KellgrenError
from kellgren.parallel import in_order
from kellgren.read import read_bytes

Kind = Literal[
    "shared_patient", "byte_copy", "near_copy", "label_conflict", "side_conflict", "auto_test", "unreadable"
]

COPY: Final = 0.45
"""Least likeness of a copy. Chosen on knees of the training split: one pair of two patients has more."""

MIRRORED_COPY: Final = 0.75
"""Least likeness where the flipped image lies upright on the other: so do a patient's knees, up to 0.71."""

_UPRIGHT_TURN, _UPRIGHT_ZOOM = 8.0, 0.12
_MANY: Final = 20_000  # images; beyond, the pairs are more than memory and patience allow


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or (`auto_test` alone) that is as expected and must be known.

    Attributes:
        kind: What it is.
        first: The image it concerns, or the first of two.
        second: The other image, or None.
        across: The two sides that it joins, e.g. `"train | val"` or `"fold 0 | fold 3"`; empty within one.
        detail: Plain words.
        likeness: Of near copies, 0 .. 1.
    """

    kind: Kind
    first: Entry | None
    second: Entry | None
    across: str
    detail: str
    likeness: float | None = None

    @property
    def alarming(self) -> bool:
        """Whether the audit fails because of it."""
        return self.kind != "auto_test"

    def row(self) -> dict[str, str]:
        """Cells by column, for the table that `data audit --out` writes."""
        cells = {"kind": self.kind, "across": self.across}
        for number, entry in (("1", self.first), ("2", self.second)):
            grade = "" if entry is None or entry.grade is None else str(entry.grade)
            cells[f"file{number}"] = entry.file if entry else ""
            cells[f"split{number}"] = (entry.split or "") if entry else ""
            cells[f"KL{number}"] = grade
        likeness = "" if self.likeness is None else f"{self.likeness:.3f}"
        return cells | {"likeness": likeness, "detail": self.detail}


COLUMNS: Final = tuple(Finding("unreadable", None, None, "", "").row())
"""Columns of the table of findings."""


class AuditDocument(TypedDict):
    """The JSON of `data audit`; its schema is `audit`."""

    passed: bool
    images: int
    compared: int
    patients: int
    splits: dict[str, int]
    counts: dict[str, dict[str, int]]
    findings: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        inventory: The images that were looked at.
        findings: In order of kind and file.
        compared: Images whose pixels were compared; the others could not be read.
    """

    inventory: Inventory
    findings: tuple[Finding, ...]
    compared: int

    @property
    def passed(self) -> bool:
        """Whether nothing alarming was found."""
        return not any(finding.alarming for finding in self.findings)

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of findings by kind: across splits or folds, and within."""
        across = Counter(f.kind for f in self.findings if f.across)
        within = Counter(f.kind for f in self.findings if not f.across)
        return {kind: {"across": across[kind], "within": within[kind]} for kind in sorted(across | within)}

    def to_dict(self) -> AuditDocument:
        """The audit as a JSON document."""
        entries = self.inventory.entries
        return {
            "passed": self.passed,
            "images": len(entries),
            "compared": self.compared,
            "patients": len({e.patient for e in entries if e.patient}),
            "splits": dict(sorted(Counter(e.split or "" for e in entries).items())),
            "counts": self.counts(),
            "findings": [finding.row() for finding in self.findings],
        }


Progress = Callable[[Iterator["_Look"], int], Iterable["_Look"]]


def audit(inventory: Inventory, *, workers: int = 1, progress: Progress | None = None) -> Audit:
    """Look for everything that makes a data set's figures untrue.

    Args:
        inventory: The images, from `kellgren.data.inventory.take`.
        workers: Images read at once, and pairs laid over each other at once.
        progress: Wraps the images as they are read, given their number.

    Returns:
        The findings.

    Raises:
        KellgrenError: If there are more images than can be compared pair by pair.
    """
    entries = inventory.entries
    if len(entries) > _MANY:
        raise KellgrenError(f"{len(entries)} images are more than the {_MANY} that are compared")
    looks = in_order(_look, entries, workers=workers)
    seen = list(progress(looks, len(entries)) if progress else looks)
    readable = [
        (entry, look) for entry, look in zip(entries, seen, strict=True) if look.thumbnail is not None
    ]
    copies = list(_byte_copies(entries, seen))
    known = {(id(f.first), id(f.second)) for f in copies}
    near = [f for f in _near_copies(readable, workers) if (id(f.first), id(f.second)) not in known]
    findings = [
        *_shared_patients(entries),
        *copies,
        *near,
        *_label_conflicts(inventory, [*copies, *near]),
        *_auto_test(entries, [*copies, *near]),
        *(
            Finding("unreadable", e, None, "", s.reason)
            for e, s in zip(entries, seen, strict=True)
            if s.reason
        ),
    ]
    return Audit(inventory, tuple(f for f in findings if not _expected(f)), len(readable))


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of an image: hash, thumbnail, fingerprint; or why it could not be read."""

    sha256: str
    thumbnail: Thumbnail | None
    print: npt.NDArray[np.float32] | None
    reason: str


def _look(entry: Entry) -> _Look:
    sha256 = ""
    try:
        data = entry.image.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        small = thumbnail(read_bytes(data, Path(entry.file)).pixels)
    except KellgrenError as error:
        return _Look(sha256, None, None, error.reason)
    return _Look(sha256, small, describe(small), "")


def _across(first: Entry, second: Entry) -> str:
    """The splits that two images are in, or their folds; empty where both are in one."""
    sides = [entry.independent_split or "no split" for entry in (first, second)]
    if sides[0] == sides[1]:
        if first.fold is None or second.fold is None or first.fold == second.fold:
            return ""
        sides = [f"fold {first.fold}", f"fold {second.fold}"]
    return " | ".join(sorted(sides))


def _shared_patients(entries: Sequence[Entry]) -> Iterator[Finding]:
    knees: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.patient:
            knees[entry.patient].append(entry)
    for _, mine in sorted(knees.items()):
        told = set()
        for first, second in combinations(mine, 2):
            across = _across(first, second)
            if across and across not in told:
                told.add(across)
                yield Finding(
                    "shared_patient",
                    first,
                    second,
                    across,
                    f"one patient is in {across.replace(' | ', ' and in ')}",
                )


def _byte_copies(entries: Sequence[Entry], looks: Sequence[_Look]) -> Iterator[Finding]:
    same: dict[str, list[Entry]] = defaultdict(list)
    for entry, look in zip(entries, looks, strict=True):
        if look.sha256:
            same[look.sha256].append(entry)
    for group in same.values():
        for first, second in pairwise(group):
            yield Finding("byte_copy", first, second, _across(first, second), "the same file", 1.0)


def _near_copies(readable: Sequence[tuple[Entry, _Look]], workers: int) -> Iterator[Finding]:
    if len(readable) < 2:
        return
    prints = np.stack([look.print for _, look in readable if look.print is not None])
    small = [look.thumbnail for _, look in readable if look.thumbnail is not None]

    def over(candidate: Candidate) -> Overlay:
        return lay_over(small[candidate.first], small[candidate.second], candidate)

    candidates = find_candidates(prints)
    for candidate, overlay in zip(candidates, in_order(over, candidates, workers=workers), strict=True):
        first, second = readable[candidate.first][0], readable[candidate.second][0]
        if overlay.likeness >= _least(first, second, overlay):
            detail = f"{how(overlay)}; {_relation(first, second)}"
            yield Finding("near_copy", first, second, _across(first, second), detail, overlay.likeness)


def _least(first: Entry, second: Entry, overlay: Overlay) -> float:
    """Least likeness of a copy: more where the two may be the knees of one patient."""
    upright = abs(overlay.turn) < _UPRIGHT_TURN and abs(overlay.zoom - 1) < _UPRIGHT_ZOOM
    strangers = first.patient and second.patient and first.patient != second.patient
    return MIRRORED_COPY if overlay.flipped and upright and not strangers else COPY


def how(overlay: Overlay) -> str:
    """In plain words what takes one image to the other."""
    words = []
    upside_down = abs(overlay.turn) > 135
    turn = (overlay.turn + 180) % 360 - 180 - (180 if overlay.turn > 0 else -180) * upside_down
    if overlay.flipped:
        words.append("flipped upside down" if upside_down else "flipped left to right")
    elif upside_down:
        words.append("turned upside down")
    if overlay.inverted:
        words.append("inverted")
    if abs(turn) >= 1.5:
        words.append(f"turned by {abs(turn):.0f} degrees")
    if abs(overlay.zoom - 1) >= 0.03:
        words.append(f"scaled by {overlay.zoom:.2f}")
    if overlay.shift >= 0.03:
        words.append(f"shifted by {overlay.shift:.0%}")
    return ", ".join(words) or "the same picture in other pixels"


def _relation(first: Entry, second: Entry) -> str:
    if first.patient is None or second.patient is None:
        return "patient unknown"
    if first.patient != second.patient:
        return "names say two patients"
    return "one knee" if first.side == second.side else "names say the two knees of one patient"


def _label_conflicts(inventory: Inventory, copies: Iterable[Finding]) -> Iterator[Finding]:
    for entry, words in inventory.contradictions:
        kind: Kind = "side_conflict" if words.startswith("side") else "label_conflict"
        yield Finding(kind, entry, None, "", words)
    for copy in copies:
        first, second = copy.first, copy.second
        if first is None or second is None or None in (first.grade, second.grade):
            continue
        if first.grade != second.grade:
            words = f"copies of one image are graded KL {first.grade} and KL {second.grade}"
            yield Finding("label_conflict", first, second, copy.across, words, copy.likeness)


def _auto_test(entries: Sequence[Entry], copies: Iterable[Finding]) -> Iterator[Finding]:
    """One line on the detector's crops: how many there are, and how many lie over their test image."""
    mine = [entry for entry in entries if entry.split == "auto_test"]
    if not mine:
        return
    tests = {entry.patient for entry in entries if entry.split == "test"}
    of_test = sum(entry.patient in tests for entry in mine)
    seen = {
        id(e) for c in copies for e in (c.first, c.second) if _expected(c) and e and e.split == "auto_test"
    }
    yield Finding(
        "auto_test",
        mine[0],
        None,
        "",
        f"{len(mine)} images are other crops of the test films, {of_test} of patients in test, {len(seen)} "
        "confirmed by their pixels; they count as test, never as further knees",
    )


def _expected(finding: Finding) -> bool:
    """Whether it is a test film's crop by the detector, as published: told once, by `_auto_test`."""
    if finding.kind not in ("byte_copy", "near_copy") or finding.first is None or finding.second is None:
        return False
    splits = {finding.first.split, finding.second.split}
    same = finding.first.patient == finding.second.patient and finding.first.side == finding.second.side
    return splits == {"test", "auto_test"} and same and finding.first.patient is not None


def sentences(result: Audit) -> list[str]:
    """What was found, in plain sentences, the worst first."""
    counts = result.counts()
    told = []
    for kind, (across, within) in _SENTENCES.items():
        number = counts.get(kind, {"across": 0, "within": 0})
        if number["across"] and across:
            told.append(across.format(n=number["across"]))
        if number["within"] and within:
            told.append(within.format(n=number["within"]))
    told += [f.detail for f in result.findings if f.kind == "auto_test"]
    return told or [f"nothing was found among {result.compared} images"]


_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "shared_patient": ("patients are shared between splits or folds, {n} times: split again by patient", ""),
    "byte_copy": (
        "{n} files are in two splits or folds, byte by byte: a test on them measures memory",
        "{n} files are duplicated within a split",
    ),
    "near_copy": (
        "{n} pairs across splits or folds are edited copies of one image: a test on them measures memory",
        "{n} pairs within a split are edited copies of one image: they count as one knee",
    ),
    "label_conflict": (
        "{n} copies across splits or folds have two grades",
        "{n} images have two grades, by copies or by folder and labels.csv",
    ),
    "side_conflict": ("", "{n} images have two sides, by name and by labels.csv"),
    "unreadable": ("", "{n} files cannot be read as images and were not compared"),
}
