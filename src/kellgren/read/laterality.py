"""Which knee a file shows, by its tags, its name and the user's word; a contradiction is never resolved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kellgren.read.radiograph import Laterality
from kellgren.vocabulary import Side

# An OAI identifier with the side written to it, as in 9000099L.
_OAI_NAME: Final = re.compile(r"(?<![0-9A-Za-z])\d{7}([RL])(?![0-9A-Za-z])", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[0-9A-Za-z]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

_WORDS: Final[dict[str, Side]] = {
    "right": "R",
    "rightknee": "R",
    "kneeright": "R",
    "rknee": "R",
    "rt": "R",
    "left": "L",
    "leftknee": "L",
    "kneeleft": "L",
    "lknee": "L",
    "lt": "L",
}
_LETTERS: Final[dict[str, Side]] = {"r": "R", "l": "L"}
_BOTH: Final = frozenset({"both", "bilateral", "bilat"})
# "upper_left" names a corner, not a knee.
_PLACES: Final = frozenset({"top", "upper", "bottom", "lower"})

# View Position of a lateral (PS3.3 C.8.11.5, C.8.1.2), and what is written instead.
_LATERAL_VIEWS: Final = frozenset({"LL", "RL", "LLD", "RLD", "LAT", "LATERAL"})

# Poses of CID 19 in which a knee bears no weight.
_UNLOADED: Final = {"102538003": "lying", "F-10450": "lying", "33586001": "sitting", "F-10310": "sitting"}


def side_from_name(path: Path | str) -> Side | None:
    """Read the side out of a file's name, conservatively.

    Accepted are an OAI identifier with its side (`9000099L`), a separate word (`RIGHT_KNEE`, `knee-left`,
    `LeftKnee`) and a separate single letter that ends the name, follows a number or stands beside `knee`
    (`case_R`, `123_L_crop`, `knee_r_01`). A letter within a word never counts, and neither does a name
    that holds both sides.

    Args:
        path: The file; folders are not looked at.

    Returns:
        The side, or None.
    """
    stem = Path(path).stem
    found: set[Side] = {_LETTERS[match.lower()] for match in _OAI_NAME.findall(stem)}
    tokens = [token.lower() for token in _TOKEN.findall(_CAMEL.sub("_", stem))]
    if _BOTH.intersection(tokens):
        return None
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        after = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token in _WORDS and before not in _PLACES:
            found.add(_WORDS[token])
        elif token in _LETTERS:
            ends_name = i > 0 and not after
            if ends_name or before.isdigit() or "knee" in (before, after):
                found.add(_LETTERS[token])
    return found.pop() if len(found) == 1 else None


def _side_of_tag(value: str | None) -> Side | None:
    """R or L as a tag writes it; B, U and anything else name no single side."""
    word = (value or "").strip().upper()
    if word == "R":
        return "R"
    return "L" if word == "L" else None


def decide_laterality(
    *,
    image_tag: str | None = None,
    series_tag: str | None = None,
    name: Side | None = None,
    user: Side | None = None,
) -> Laterality:
    """Weigh what is known of the side: the user's word, then the tags, then the file's name.

    Args:
        image_tag: Image Laterality (0020,0062), R L U or B, which describes this image (PS3.3 C.7.6.16).
        series_tag: Laterality (0020,0060) of the series (PS3.3 C.7.3.1), weaker than the image's own.
        name: Side by the file's name.
        user: The user's word.

    Returns:
        Side and source. Where two tags, or tag and name, contradict each other the side is None and
        `conflict` says who says what. The user's word decides, but its contradiction with a tag stays
        a conflict. A tag `B` sets `both`, and the name is then not asked.
    """
    of_image, of_series = _side_of_tag(image_tag), _side_of_tag(series_tag)
    says_both = (image_tag or "").strip().upper() == "B" or (
        of_image is None and (series_tag or "").strip().upper() == "B"
    )
    tag = None if says_both else of_image or of_series

    conflict: str | None = None
    if of_image and of_series and of_image != of_series:
        conflict = f"the image's laterality tag says {of_image}, the series' tag says {of_series}"
    elif user and says_both:
        conflict = f"the user says {user}, the laterality tag says that both knees are shown"
    elif user and tag and user != tag:
        conflict = f"the user says {user}, the laterality tag says {tag}"
    elif not user and name and tag and name != tag:
        conflict = f"the laterality tag says {tag}, the file name says {name}"

    if user:
        return Laterality(user, "user", conflict, says_both)
    if conflict or says_both:
        return Laterality(None, None, conflict, says_both)
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
