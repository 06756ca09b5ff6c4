"""Orient: which side each knee of a film is, from the file's word, the image, and the order of two knees.

On a film shown as usual the patient faces the reader: the right knee lies on the image's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kellgren.read.radiograph import Laterality
from kellgren.vocabulary import Side, SideSource


@dataclass(frozen=True, slots=True)
class Orientation:
    """Side of one knee.

    Attributes:
        side: `"R"`, `"L"`, or None where nobody knows.
        source: Where it is known from; None exactly when `side` is None.
        reasons: Why a person must look at the sides.
    """

    side: Side | None
    source: SideSource | None
    reasons: tuple[str, ...] = ()


def one(stated: Laterality, image: Side | None) -> Orientation:
    """Side of the only knee of a film.

    Args:
        stated: What file, name and user say.
        image: What the image itself shows, None where it is not sure.
    """
    if stated.conflict is not None:
        return Orientation(stated.side, stated.source, (stated.conflict,))
    if stated.side is not None:
        return Orientation(stated.side, stated.source)
    if image is not None:
        return Orientation(image, "image")
    return Orientation(
        None, None, ("side unknown: lateral and medial cannot be told apart; name it with --side",)
    )


def several(stated: Laterality, images: Sequence[Side | None]) -> tuple[Orientation, ...]:
    """Sides of the knees of a film that shows more than one.

    A side that the file states for the whole film cannot be right for all of them: it is not used, and
    flagged. Of two knees the image need recognise one; the other is the opposite.

    Args:
        stated: What file, name and user say of the film.
        images: What the image shows of each knee, from its left to right.
    """
    flags = [stated.conflict] if stated.conflict else []
    if stated.side is not None:
        flags.append(f"side {stated.side} by {stated.source}, but the film shows {len(images)} knees")
    sides = list(images)
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
    return tuple(Orientation(side, "image" if side else None, (*flags, *_unknown(side))) for side in sides)


def _unknown(side: Side | None) -> tuple[str, ...]:
    return () if side else ("side unknown: lateral and medial cannot be told apart",)


def _opposite(side: Side) -> Side:
    return "L" if side == "R" else "R"
