"""From bundles to an ensemble: one that holds them, calibrated as a whole on the folds that they left out.

Nothing is trained and nothing here needs torch: members are graphs, calibration is arithmetic. As in an
export, nothing looks at the validation split except the last step, which reports on it.

Members of a cross-validation left out different folds. No knee is then new to all of them, and each is
answered by those to whom it is: fewer voices than a new knee gets, so that what is fitted promises rather
too little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from kellgren._version import __version__
from kellgren.calibrate import publish
from kellgren.calibrate.held_out import HeldOut, fit_calibration, observe, together
from kellgren.data import DataSet
from kellgren.errors import BadBundle, BadDataset
from kellgren.grade import golden
from kellgren.model import bundle as bundles
from kellgren.model import card as cards
from kellgren.model.bundle import Bundle
from kellgren.model.calibrators import Method
from kellgren.model.card import Calibration, Card, Member, MemberTraining, Parity, Training, Vote
from kellgren.model.predict import Model
from kellgren.parallel import Track
from kellgren.vocabulary import TASKS

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOLD: Final = (
    "held_out_fold",
    "recipe",
    "size",
    "backbone",
    "initial_weights",
    "seeds",
    "epochs",
    "best_epoch",
    "commit",
)
"""What an ensemble's card repeats of each member's training; the rest is in the member's own card."""


def make_ensemble(
    members: Sequence[Bundle],
    dataset: DataSet,
    out: Path,
    *,
    name: str,
    version: str = "0.1.0",
    vote: Vote = "soft",
    weights: Sequence[float] | None = None,
    calibration: Method = "best",
    track: Track,
) -> Path:
    """Make a bundle in which others vote.

    It grades every task that a member grades: each is voted on by the members that grade it, by one alone
    if there is one. Members keep their own inputs, side convention, test-time looks and calibrators. On top
    of them the vote's own calibrators, decision rules, conformal thresholds, refer rule and thresholds of
    side and strangeness are fitted on the fold that every member left out. Where they left out different
    ones, all of these are taken, and each knee is answered by the members that left it out.

    Args:
        members: Graders' bundles, two or more.
        dataset: The data set that all of them were trained on.
        out: Folder for the bundle; replaced if it holds a bundle already.
        name: Name of the bundle.
        version: Version of the bundle.
        vote: How members are joined, see `kellgren.model.vote.join`.
        weights: One positive weight per member; equal ones by default.
        calibration: How the vote is calibrated.
        track: Progress display.

    Returns:
        The bundle's folder.

    Raises:
        BadBundle: If members cannot vote together, if one of them left out no fold, or if the name cannot be
            a bundle's.
        BadDataset: If the data set is another one, or has no such fold.
    """
    weights = [1.0] * len(members) if weights is None else list(weights)
    _check_members(members, weights, out)
    groups = left_out(members)
    _check_groups(members, groups, vote)
    if dataset.sha256() != _training_of(members[0]).data_sha256:
        raise BadDataset("the data set is not the one that the members were trained on", path=dataset.root)
    held_out = {fold: dataset.select(split="train", folds={fold}) for fold in groups}
    paths = _paths(members, name)
    for member in members:
        _check_graphs(member)
    with publish.replacing(out) as folder:
        for path, member in zip(paths, members, strict=True):
            _copy(member, folder / path)
        card = _first_card(members, paths, weights, vote, name, version)
        cards.write(card, folder / bundles.CARD)
        observed = _observe(bundles.load(folder), groups, held_out, track)
        rules, fitted = fit_calibration(observed, {}, groups, method=calibration, remark=_remark(groups))
        card = card.changed(decision=rules, calibration=fitted)
        cards.write(card, folder / bundles.CARD)
        golden.write(bundles.load(folder), folder, publish.golden_images())
        card = card.changed(validation=publish.validate(bundles.load(folder), dataset, track))
        cards.write(card, folder / bundles.CARD)
    return out


def left_out(members: Sequence[Bundle]) -> dict[int, tuple[int, ...]]:
    """Which members left out a fold of their training, all of the same data.

    Returns:
        By fold, in their order, places of the members that left it out. Every member is in one.

    Raises:
        BadBundle: If a member does not say what it learned from, learned from other data than the first, or
            left out no fold: it is surer of every knee than of a new one, and a calibration on them would
            promise too much.
    """
    groups: dict[int, tuple[int, ...]] = {}
    first: str | None = None
    for place, member in enumerate(members):
        training, title = _training_of(member), member.card.title
        fold = training.held_out_fold
        if fold is None or fold in training.folds:
            raise _dishonest(f"{title} was trained on all folds", "train it with --fold")
        first = first or training.data_sha256
        if training.data_sha256 != first:
            raise _dishonest(
                f"{title} was trained on other data than {members[0].card.title}",
                "train the members on the same data",
            )
        groups[fold] = (*groups.get(fold, ()), place)
    return dict(sorted(groups.items()))


def _training_of(member: Bundle) -> Training:
    """What a member's card says of its training, which names the data.

    Raises:
        BadBundle: If it does not.
    """
    training = member.card.training
    if training is None or training.data_sha256 is None:
        raise BadBundle(f"{member.card.title} does not say what it was trained on", path=str(member.root))
    return training


def _dishonest(what: str, remedy: str) -> BadBundle:
    return BadBundle(
        f"{what}: calibrating on knees that a member learned from would be dishonest", remedy=remedy
    )


def _check_groups(members: Sequence[Bundle], groups: Mapping[int, Sequence[int]], vote: Vote) -> None:
    """Where folds differ, some members must be able to answer for all of them."""
    if len(groups) == 1:
        return
    folds = ", ".join(map(str, groups))
    if vote != "soft":
        raise BadBundle(
            f"the members left out folds {folds}, and a {vote} vote of those that left out one says nothing"
            " about the vote of all",
            remedy="use the soft vote, or members that left out the same fold",
        )
    tasks = {task for member in members for task in member.card.tasks}
    for fold, places in groups.items():
        missing = tasks - {task for place in places for task in members[place].card.tasks}
        if missing:
            raise BadBundle(
                f"no member that left out fold {fold} grades {', '.join(sorted(missing))}",
                remedy="use members that left out the same fold, or grade the same tasks",
            )


def _observe(
    ensemble: Bundle, groups: Mapping[int, Sequence[int]], held_out: Mapping[int, DataSet], track: Track
) -> HeldOut:
    """What the members say together of knees that they did not learn from, fold by fold."""
    parts = []
    for fold, places in groups.items():
        card = ensemble.card.changed(members=tuple(ensemble.card.members[place] for place in places))
        some = replace(ensemble, card=card, members=tuple(ensemble.members[place] for place in places))
        parts.append(observe(Model(some), held_out[fold], track))
    return together(parts)


def _remark(groups: Mapping[int, Sequence[int]]) -> str:
    if len(groups) == 1:
        return "; the members' own calibrators are of the same fold, as a whole"
    return (
        "; each knee is answered by the members that left out its fold, whose own calibrators are of that"
        " fold, as a whole"
    )


def _check_members(members: Sequence[Bundle], weights: Sequence[float], out: Path) -> None:
    if len(members) < 2:
        raise BadBundle(f"{len(members)} member(s) cannot vote", remedy="give two bundles or more")
    if len(weights) != len(members):
        raise BadBundle(f"{len(weights)} weights for {len(members)} members", remedy="give one per member")
    for member, weight in zip(members, weights, strict=True):
        if member.card.kind != "grader":
            raise BadBundle(
                f"{member.card.title} is a {member.card.kind}, not a grader", path=str(member.root)
            )
        if not 0.0 < weight < float("inf"):
            raise BadBundle(f"{member.card.title} has weight {weight:g}, not a positive one")
        if Path(str(member.root)).resolve().is_relative_to(out.resolve()):
            raise BadBundle(
                "a member lies in the folder that is to be replaced",
                path=str(member.root),
                remedy="use another --out",
            )


def _check_graphs(bundle: Bundle) -> None:
    """Read every graph once, so that a damaged member is refused before anything is written."""
    if not bundle.members:
        bundle.graph()
    for inner in bundle.members:
        _check_graphs(inner)


def _paths(members: Sequence[Bundle], name: str) -> list[str]:
    """A folder for each member, by its name; names come from cards and must not lead elsewhere."""
    for title in (name, *(member.card.name for member in members)):
        if not _NAME.fullmatch(title):
            raise BadBundle(f"{title!r} is no name for a bundle", remedy="letters, digits, '.', '_' and '-'")
    paths: list[str] = []
    names = [member.card.name for member in members]
    for i, title in enumerate(names):
        once = names.count(title) == 1
        paths.append(f"members/{title}" if once else f"members/{i + 1}-{title}")
    return paths


def _copy(bundle: Bundle, folder: Path) -> None:
    """Copy what belongs to a bundle, its graph checked against its hash, and nothing else that lies there."""
    folder.mkdir(parents=True)
    (folder / bundles.CARD).write_bytes(bundle.root.joinpath(bundles.CARD).read_bytes())
    if not bundle.members:
        (folder / bundles.GRAPH).write_bytes(bundle.graph())
        _copy_file(bundle.root.joinpath(bundles.TYPICAL), folder / bundles.TYPICAL)
    for member, inner in zip(bundle.card.members, bundle.members, strict=True):
        _copy(inner, folder.joinpath(*member.bundle.split("/")))
    images = bundle.root.joinpath(golden.FOLDER)
    if images.is_dir():
        (folder / golden.FOLDER).mkdir()
        for file in images.iterdir():
            if _NAME.fullmatch(file.name):  # of a zip, a name may be anything
                _copy_file(file, folder / golden.FOLDER / file.name)


def _copy_file(source: Traversable, target: Path) -> None:
    if source.is_file():
        target.write_bytes(source.read_bytes())


def _first_card(
    members: Sequence[Bundle],
    paths: Sequence[str],
    weights: Sequence[float],
    vote: Vote,
    name: str,
    version: str,
) -> Card:
    """The card before anything has been measured."""
    inner = [member.card for member in members]
    tasks = {task: TASKS[task].classes for task in TASKS if any(task in card.tasks for card in inner)}
    titles = ", ".join(card.title for card in inner)
    return Card(
        name=name,
        version=version,
        licence=" AND ".join(dict.fromkeys(card.licence for card in inner)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        kellgren_version=__version__,
        sha256={},
        description=f"Ensemble by {vote} vote of {titles}",
        citation="; ".join(dict.fromkeys(card.citation for card in inner)),
        tasks=tasks,
        oa_from="head" if "OA" in tasks else "sum",
        members=tuple(
            Member(bundle=path, weight=weight) for path, weight in zip(paths, weights, strict=True)
        ),
        vote=vote,
        side_convention="as_right" if any(c.side_convention == "as_right" for c in inner) else "none",
        tta=(),
        decision={},
        calibration=Calibration(),
        training=_training(members, paths),
        validation=None,
        parity=_parity(inner),
    )


def _training(members: Sequence[Bundle], paths: Sequence[str]) -> Training:
    """What the ensemble is made of: the data that all members share, and how each was trained."""
    trainings = [_training_of(member) for member in members]
    first = trainings[0]
    made_of = tuple(
        MemberTraining.model_validate(
            {key: getattr(training, key) for key in _TOLD if key in training.model_fields_set}
            | {"bundle": path, "model": member.card.title, "sha256": member.sha256()}
        )
        for path, member, training in zip(paths, members, trainings, strict=True)
    )
    minutes = [training.minutes for training in trainings if training.minutes is not None]
    return Training(
        data=first.data,
        data_sha256=first.data_sha256,
        split=first.split or "train",
        folds=tuple(sorted({fold for training in trainings for fold in training.folds})),
        held_out_fold=first.held_out_fold if len({t.held_out_fold for t in trainings}) == 1 else None,
        minutes=round(sum(minutes), 1) if len(minutes) == len(members) else None,
        members=made_of,
    )


def _parity(inner: Sequence[Card]) -> Parity | None:
    """The members' proofs in one: the largest difference, the fewest knees, all parameters."""
    proofs = [card.parity for card in inner if card.parity is not None]
    differences = [proof.largest_probability_difference for proof in proofs]
    knees = [proof.knees for proof in proofs]
    if len(proofs) < len(inner) or None in differences or None in knees:
        return None
    return Parity(
        largest_probability_difference=max(value for value in differences if value is not None),
        knees=min(value for value in knees if value is not None),
        parameters=sum(proof.parameters for proof in proofs),
    )
