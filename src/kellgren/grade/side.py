"""The side of each knee, settled before the grade: by file, name and user, else by the image.

On a film shown as usual the patient faces the reader: the right knee lies on the image's left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from kellgren.read.radiograph import Laterality
from kellgren.vocabulary import Side, SideSource

Layout = Literal["auto", "standard", "mirrored"]
"""How two knees lie on a film: `standard`, the right knee on the image's left; `mirrored`, the other way
round; `auto`, as the image shows them."""

Look = Callable[[], Side | None]
"""Asks the image of one knee for its side; None where it is not sure."""

CERTAIN: Final = 0.9
"""Probability from which one look is believed. Chosen on the 1,156 knees that the packaged model held out of
training: it tells the side of 1,126 of them, none wrongly."""

_ORDER: Final[dict[Layout, tuple[Side, Side]]] = {"standard": ("R", "L"), "mirrored": ("L", "R")}


@dataclass(frozen=True, slots=True)
class Orientation:
    """Side of one knee.

    Attributes:
        side: `"R"`, `"L"`, or None where it is unknown.
        source: Where it is known from; None exactly when `side` is None.
        reasons: Why a person must check the side.
    """

    side: Side | None
    source: SideSource | None
    reasons: tuple[str, ...] = ()


def orient(stated: Laterality, looks: Sequence[Look], layout: Layout = "auto") -> tuple[Orientation, ...]:
    """Settle the side of every knee of a film.

    Args:
        stated: What file, name and user say of the film.
        looks: One per knee, from the image's left to right; called only where nothing else settles the side.
        layout: How two knees lie on the film.
    """
    if len(looks) == 1:
        return (_only(stated, looks[0]),)
    return _several(stated, looks, layout)


def shown(right: float | None) -> Side | None:
    """The side that one look at the image shows.

    Args:
        right: Probability of a right knee (`Model.side`); None if the model cannot tell.
    """
    if right is None or 1 - CERTAIN < right < CERTAIN:
        return None
    return "R" if right >= CERTAIN else "L"


def _only(stated: Laterality, look: Look) -> Orientation:
    """Side of the only knee of a film; a contradiction is not settled by the image."""
    if stated.conflict is not None:
        return Orientation(stated.side, stated.source, (stated.conflict,))
    if stated.side is not None:
        return Orientation(stated.side, stated.source)
    shown = look()
    if shown is not None:
        return Orientation(shown, "image")
    return Orientation(None, None, (f"{_UNKNOWN} (give it with --side)",))


def _several(stated: Laterality, looks: Sequence[Look], layout: Layout) -> tuple[Orientation, ...]:
    """Sides of the knees of a film that shows more than one.

    A side stated for the whole film cannot hold for all of them: it is not used, and flagged. If the image
    shows the side of one of two knees, the other is the opposite.
    """
    flags = [stated.conflict] if stated.conflict else []
    if stated.side is not None:
        flags.append(f"side {stated.side} by {stated.source}, but the film shows {len(looks)} knees")
    if len(looks) == 2 and layout != "auto":
        return tuple(Orientation(side, "user", tuple(flags)) for side in _ORDER[layout])
    sides = [look() for look in looks]
    if len(sides) == 2:
        first, second = sides
        if first is None and second is not None:
            sides[0] = _opposite(second)
        elif second is None and first is not None:
            sides[1] = _opposite(first)
        elif first is not None and first == second:
            flags.append(f"both knees look like {'right' if first == 'R' else 'left'} ones")
        if sides == ["L", "R"]:
            flags.append("the left knee is on the image's left: the film is mirrored or seen from behind")
    return tuple(
        Orientation(side, "image" if side else None, (*flags, *(() if side else (_UNKNOWN,))))
        for side in sides
    )


_UNKNOWN: Final = "side unknown: lateral and medial cannot be told apart"


def _opposite(side: Side) -> Side:
    return "L" if side == "R" else "R"
