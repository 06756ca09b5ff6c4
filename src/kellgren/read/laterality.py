"""Which knee a file shows, by its tags, its name and the user; a contradiction is never resolved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from kellgren.errors import WrongUse
from kellgren.read.names import image_stem
from kellgren.read.radiograph import Laterality
from kellgren.vocabulary import Side

# An identifier of the OAI or of MOST with the side written to it, as in 9000099L and MB00123L.
_COHORT_NAME: Final = re.compile(r"(?<![0-9A-Za-z])(?:\d{7}|MB\d{5})([RL])(?![0-9A-Za-z])", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[0-9A-Za-z]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

SideWord = Literal["R", "L", "B"]
"""Right, left, or both knees."""

_WORDS: Final[dict[str, SideWord]] = {
    **dict.fromkeys(("r", "rt", "right", "rightknee", "kneeright", "rknee", "right knee", "1"), "R"),
    **dict.fromkeys(("l", "lt", "left", "leftknee", "kneeleft", "lknee", "left knee", "2"), "L"),
    **dict.fromkeys(("b", "both", "bilateral", "bilat", "both knees"), "B"),
}  # fmt: skip
"""By lower case; 1 and 2 are the OAI's SIDE."""

_LETTERS: Final = frozenset({"r", "l"})
# "upper_left" names a corner, not a knee.
_PLACES: Final = frozenset({"top", "upper", "bottom", "lower"})

# View Position of a lateral (PS3.3 C.8.11.5, C.8.1.2), and what is written instead.
_LATERAL_VIEWS: Final = frozenset({"LL", "RL", "LLD", "RLD", "LAT", "LATERAL"})

# Poses of CID 19 in which a knee bears no weight.
_UNLOADED: Final = {"102538003": "lying", "F-10450": "lying", "33586001": "sitting", "F-10310": "sitting"}


def side_word(text: str | None) -> SideWord | None:
    """Read one word for a side, however it is written; tags, names, tables and calls are read by this.

    Args:
        text: `R`, `Left`, `LT`, `both`, `1` (the OAI's code for right), `2.0` (for left, after a table
            program made a number of it), `1: Right`.

    Returns:
        The side, or None for anything else.
    """
    word = (text or "").partition(":")[0].strip().casefold()
    return _WORDS.get(word.removesuffix(".0"))


def stated_side(text: str | None) -> Side | None:
    """Read the side that a caller states for one knee.

    Raises:
        WrongUse: It is neither right nor left.
    """
    if text is None:
        return None
    side = side_word(text)
    if side is None or side == "B":
        raise WrongUse(f"the side {text!r} is neither right nor left", remedy="use R or L")
    return side


def side_from_name(path: Path | str) -> Side | None:
    """Read the side out of a file's name, conservatively.

    Accepted are an identifier of the OAI or MOST with its side (`9000099L`, `MB00123R`), a separate word
    (`RIGHT_KNEE`, `knee-left`, `LeftKnee`) and a separate single letter that ends the name, follows a number
    or stands beside `knee` (`case_R`, `123_L_crop`, `knee_r_01`). A letter within a word never counts, and
    neither does a name that holds both sides.

    Args:
        path: The file; folders are not looked at.

    Returns:
        The side, or None.
    """
    stem = image_stem(Path(path).name)
    sides: set[SideWord | None] = {side_word(letter) for letter in _COHORT_NAME.findall(stem)}
    tokens = [token.lower() for token in _TOKEN.findall(_CAMEL.sub("_", stem))]
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        after = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token in _LETTERS:
            ends_name = i > 0 and not after
            counts = ends_name or before.isdigit() or "knee" in (before, after)
        else:
            counts = len(token) > 1 and before not in _PLACES
        if counts and (side := side_word(token)):
            sides.add(side)
    side = sides.pop() if len(sides) == 1 else None
    return None if side == "B" else side


def decide_laterality(
    *,
    image_tag: str | None = None,
    series_tag: str | None = None,
    name: Side | None = None,
    user: Side | None = None,
) -> Laterality:
    """Weigh what is known of the side: what the user states, then the tags, then the file's name.

    Args:
        image_tag: Image Laterality (0020,0062), R L U or B, or a word for one of them; it
            describes this image (PS3.3 C.7.6.16).
        series_tag: Laterality (0020,0060) of the series (PS3.3 C.7.3.1), weaker than the image's own.
        name: Side by the file's name.
        user: What the user states.

    Returns:
        Side and source. Where two tags, or tag and name, contradict each other the side is None and
        `conflict` says who says what. What the user states decides, but its contradiction with a tag stays
        a conflict. A tag `B` sets `both`, and the name is then not asked.
    """
    of_image, of_series = side_word(image_tag), side_word(series_tag)
    both = "B" in (of_image, of_image or of_series)
    tag = of_image or of_series

    conflict: str | None = None
    if of_image and of_series and "B" not in (of_image, of_series) and of_image != of_series:
        conflict = f"the image's laterality tag says {of_image}, the series' tag says {of_series}"
    elif user and both:
        conflict = f"the user says {user}, the laterality tag says that both knees are shown"
    elif user and tag and user != tag:
        conflict = f"the user says {user}, the laterality tag says {tag}"
    elif not user and not both and name and tag and name != tag:
        conflict = f"the laterality tag says {tag}, the file name says {name}"

    if user:
        return Laterality(user, "user", conflict, both)
    if conflict or tag == "B":
        return Laterality(None, None, conflict, both)
    if tag:
        return Laterality(tag, "tag")
    return Laterality(name, "name") if name else Laterality()


def view_flags(orientation: Sequence[str], view: str | None) -> list[str]:
    """Say what a header tells of the view that a grade of a front view in its usual pose cannot stand.

    Films are shown as if facing the patient: rows run to the patient's left, columns to the feet. A header
    that says otherwise may be right or wrong; the image is not turned, since a wrong turn exchanges lateral
    and medial unseen.

    Args:
        orientation: Patient Orientation (0020,0020): where rows and columns run to, each by the letters A P
            R L H F, the main direction first (PS3.3 C.7.6.1.1.1).
        view: View Position (0018,5101).

    Returns:
        Reasons for a person to read the film.
    """
    flags = []
    rows, columns = (orientation[0], orientation[1]) if len(orientation) == 2 else ("", "")
    if rows.startswith(("A", "P")) or (view or "") in _LATERAL_VIEWS:
        flags.append("the header says that this is a lateral view")
    if rows.startswith("R"):
        flags.append("the header says that the image is mirrored: it runs to the patient's right")
    if columns.startswith("H"):
        flags.append("the header says that the image is upside down")
    elif rows.startswith(("H", "F")):
        flags.append("the header says that the image lies on its side")
    return flags


def pose_flags(codes: Sequence[str]) -> list[str]:
    """Say where a header tells that the patient bore no weight on the knee.

    Unloaded joint spaces are wider than those of a standing film: their widths are not comparable, and
    narrowing may be missed.

    Args:
        codes: Code values of Patient Orientation Code Sequence (0054,0410), of CID 19, SNOMED CT or its
            older form.

    Returns:
        Reasons for a person to read the film.
    """
    words = [_UNLOADED[code] for code in codes if code in _UNLOADED]
    return [
        f"the header says that the patient was {word}: the joint space may look too wide" for word in words
    ]
