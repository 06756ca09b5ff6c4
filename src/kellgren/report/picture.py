"""A picture of why: where the knee was found, what was measured, and what speaks for the grade.

Drawn with Pillow alone. Red marks places that speak for the decided KL grade, relative to the mean of the
other grades; the scale is absolute (`FULL` of a logit), so weak evidence stays pale. It is shown on tissue
only: a map's cells are coarser than the skin line, and air speaks for nothing.
"""

from __future__ import annotations

from datetime import date
from textwrap import shorten
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from kellgren.errors import KellgrenError, printable
from kellgren.grade.assessment import Assessment, Grading
from kellgren.grade.explanation import Explanation
from kellgren.measure import JointSpace, outline
from kellgren.vocabulary import FEATURES, TASKS, Side

FULL: Final = 32.0
"""Logits at which the overlay is strongest: about the 95th percentile of the maxima of validation knees."""

_WIDTH: Final = 640
_PANEL: Final = 340
_AIR: Final = 16
"""Grey level of 255 below which the network's view shows air; evidence is drawn in full from twice that."""
_HEAD: Final = 84
_CAPTION: Final = 22
_FOUND: Final = 420
_EVIDENCE: Final = (235, 64, 32)
_PAPER, _INK, _QUIET, _BAR, _MARK = "#ffffff", "#1c2430", "#667080", "#4a7fb5", "#c0392b"
_BOX, _POINT = "#f2c230", "#35c4a0"

_SEVERITY: Final = {
    "KL": ("none", "doubtful", "minimal", "moderate", "severe"),
    "OA": ("no", "yes"),
    "F": ("none", "small", "moderate", "large"),
    "T": ("none", "small", "moderate", "large"),
    "JSN": ("none", "mild", "moderate", "severe"),
}
"""Words of the grades, by how a task's name begins: Kellgren and Lawrence 1957; Altman and Gold 2007."""


def draw(assessment: Assessment, *, name: str | None = None, made: date | None = None) -> Image.Image:
    """Draw one knee: film with its box, crop with what was measured, view, evidence, bars for every task.

    Args:
        assessment: The knee, graded with `explain`.
        name: What to call the file; its own name by default.
        made: Date of the run; today by default.

    Raises:
        KellgrenError: The assessment was made without `explain`, or by a bundle without maps.
    """
    shown = assessment.explanation
    if shown is None or shown.view is None or "KL" not in shown.maps:
        raise KellgrenError(
            "no maps to draw", path=assessment.path, remedy="grade with explain, by a bundle with maps"
        )
    heat = shown.evidence("KL", assessment["KL"].grade)
    height = round(_WIDTH * shown.view.shape[0] / shown.view.shape[1])
    grey = cv2.resize(shown.view, (_WIDTH, height), interpolation=cv2.INTER_CUBIC)
    plain = np.repeat(np.clip(grey * 255, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    second = _HEAD + _CAPTION + _FOUND + 10
    top = second + _CAPTION
    page = Image.new("RGB", (2 * _WIDTH + 30, top + height + _PANEL), _PAPER)
    page.paste(_located(assessment, shown), (10, _HEAD + _CAPTION))
    for left, image in ((10, plain), (_WIDTH + 20, _overlay(plain, heat))):
        view = Image.fromarray(image)
        _mark_compartments(view, assessment.side)
        page.paste(view, (left, top))
    pen = ImageDraw.Draw(page)
    _head(
        pen,
        assessment,
        shorten(printable(name or assessment.path.name), 110, placeholder="..."),
        made or date.today(),
    )
    share = shown.share.get("KL", 1.0)
    members = (
        "" if share == 1.0 else f", by members with {100 * share:.0f} % of the vote (the others have no maps)"
    )
    evidence = f"red: what speaks for KL {assessment['KL'].grade} over the other grades{members}"
    for left, line, words in (
        (10, _HEAD, "the image" if shown.is_image else "where the knee was found"),
        (_WIDTH + 20, _HEAD, "what was measured"),
        (10, second, "what the network saw"),
        (_WIDTH + 20, second, evidence),
    ):
        pen.text((left, line + 2), words, fill=_QUIET, font=_font(13))
    _bars(pen, assessment, top=top + height + 12)
    return page


def _head(pen: ImageDraw.ImageDraw, assessment: Assessment, name: str, made: date) -> None:
    """Grade, why it needs a reader, and what the picture is of."""
    pen.text((10, 8), headline(assessment), fill=_INK, font=_font(20))
    if assessment.refer:
        reason = shorten(f"Needs a reader: {assessment.reason}", 170, placeholder=" ...")
        pen.text((10, 36), reason, fill=_MARK, font=_font(15))
    source = f" (side by {assessment.side_source})" if assessment.side_source else ""
    name = shorten(name, 110, placeholder="...")
    about = (f"{name}, knee {assessment.knee}{source}", f"{assessment.model}, {made.isoformat()}")
    pen.text((10, 60), "   |   ".join((*about, "Research use only")), fill=_QUIET, font=_font(13))


def _mark_compartments(image: Image.Image, side: Side | None) -> None:
    """Write L on the lateral and M on the medial edge of a knee's picture, where the side is known."""
    if side is None:
        return
    pen, middle = ImageDraw.Draw(image), image.height // 2
    for letter, left in (("L", side == "R"), ("M", side == "L")):
        at = (8 if left else image.width - 24, middle)
        pen.text(at, letter, fill=_BOX, font=_font(20), stroke_width=2, stroke_fill=_INK)


def _located(assessment: Assessment, shown: Explanation) -> Image.Image:
    """Film with the knee's box on the left, its crop with key points and joint space on the right."""
    panel = Image.new("RGB", (2 * _WIDTH + 10, _FOUND), _PAPER)
    film = Image.fromarray(shown.film).convert("RGB")
    ratio = min(_WIDTH / film.width, _FOUND / film.height)
    film = film.resize((round(film.width * ratio), round(film.height * ratio)))
    scale = shown.film_scale * ratio
    pen = ImageDraw.Draw(film)
    if not shown.is_image:
        pen.rectangle([float(c) * scale for c in shown.crop_box], outline=_BOX, width=2)
        pen.text(
            (float(shown.crop_box[0]) * scale + 4, float(shown.crop_box[1]) * scale + 2),
            f"{assessment.knee} {assessment.side or ''}",
            fill=_BOX,
            font=_font(16),
        )
    panel.paste(film, ((_WIDTH - film.width) // 2, 0))
    panel.paste(_measured(assessment, shown), (_WIDTH + 10, 0))
    beside, pen = _WIDTH + 10 + _FOUND + 12, ImageDraw.Draw(panel)
    keys = [("o", _POINT, "key points")]
    if assessment.joint_space is not None:
        pen.text((beside, 4), _widths(assessment.joint_space), fill=_INK, font=_font(14))
        keys += [("-", _BOX, "edges of the bones"), ("-", _BAR, "where the mean is taken")]
        keys += [("-", _MARK, "smallest width")]
    for line, (kind, colour, words) in enumerate(keys):
        y = _FOUND - 22 * (len(keys) - line)
        if kind == "o":
            pen.ellipse((beside + 4, y + 4, beside + 12, y + 12), outline=colour, width=2)
        else:
            pen.line((beside, y + 8, beside + 16, y + 8), fill=colour, width=3)
        pen.text((beside + 24, y), words, fill=_INK, font=_font(13))
    return panel


def _measured(assessment: Assessment, shown: Explanation) -> Image.Image:
    """The crop, its key points, the edges of the joint and the places of smallest width."""
    crop = Image.fromarray(shown.crop).convert("RGB")
    ratio = _FOUND / max(crop.size)
    crop = crop.resize((round(crop.width * ratio), round(crop.height * ratio)))
    pen = ImageDraw.Draw(crop)

    def placed(line: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (line + 0.5) * ratio]

    if assessment.joint_space is not None:
        lines = outline(assessment.joint_space)
        if assessment.side == "L":
            lines = lines.mirrored(shown.crop.shape[1])
        for area in lines.measured:
            pen.line(placed(area), fill=_BAR, width=1)
        for edge in (lines.femur, lines.tibia):
            pen.line(placed(edge), fill=_BOX, width=2)
        for smallest in lines.minima:
            pen.line(placed(smallest), fill=_MARK, width=3)
    for x, y in placed(assessment.points - shown.crop_box[:2]):
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), outline=_POINT, width=2)
    _mark_compartments(crop, assessment.side)
    return crop


def _widths(space: JointSpace) -> str:
    unit = {"mm": "mm", "width": "of the joint's width"}[space.unit]
    source = {
        "calibrated": "calibrated",
        "detector": "detector plane",
        "user": "spacing by the user",
        None: "no pixel spacing",
    }
    digits = 2 if space.unit == "mm" else 3
    lines = [f"joint space, {unit}", f"({source[space.spacing_source]})", ""]
    for name, part in (("lateral", space.lateral), ("medial", space.medial)):
        lines += [f"{name}", f"  minimum {part.minimum:.{digits}f}", f"  mean {part.mean:.{digits}f}", ""]
    lines += ["Not comparable with", "films without load."]
    return "\n".join(lines)


def _overlay(plain: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    height, width = plain.shape[:2]
    strength = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC) / FULL, 0, 1)
    # One hue, never opaque: the anatomy underneath stays readable where the evidence is strongest.
    tissue = np.clip(cv2.GaussianBlur(plain[:, :, 0].astype(np.float32), (0, 0), 4) / _AIR - 1, 0, 1)
    alpha = (0.55 * strength * tissue)[:, :, None]
    return np.asarray(plain * (1 - alpha) + np.array(_EVIDENCE) * alpha, dtype=np.uint8)


def headline(assessment: Assessment) -> str:
    """Side, KL grade with its word, and the range of plausible grades, in one line."""
    kl = assessment["KL"]
    span = ""
    if kl.interval is not None and kl.interval[0] != kl.interval[1]:
        span = f", plausible {kl.interval[0]} to {kl.interval[1]}"
    side = {"R": "Right knee", "L": "Left knee", None: "Side unknown"}[assessment.side]
    return f"{side}: KL {kl.grade} ({_severity('KL', kl.grade)}){span}"


def _severity(task: str, grade: int) -> str:
    return next(words for begin, words in _SEVERITY.items() if task.startswith(begin))[grade]


def _bars(pen: ImageDraw.ImageDraw, assessment: Assessment, *, top: int) -> None:
    """One group of bars per task, in four columns, and what their colours mean."""
    tasks = [task for task in ("KL", "OA", *(feature.name for feature in FEATURES)) if task in assessment]
    columns = 4
    width = (2 * _WIDTH + 10) // columns
    for index, task in enumerate(tasks):
        x, y = 10 + (index % columns) * width, top + (index // columns) * 150
        _group(pen, assessment[task], (x, y), width - 30)
    x, y = 10, top + 150 * -(-len(tasks) // columns)
    for colour, words in ((_MARK, "decided grade"), (_BAR, "probability of the other grades")):
        pen.rectangle((x, y + 3, x + 14, y + 13), fill=colour)
        pen.text((x + 20, y), words, fill=_INK, font=_font(12))
        x += 140


def _group(pen: ImageDraw.ImageDraw, grading: Grading, at: tuple[int, int], width: int) -> None:
    x, y = at
    pen.text((x, y), TASKS[grading.task].title, fill=_INK, font=_font(13))
    for grade, probability in enumerate(grading.probabilities):
        line = y + 20 + grade * 19
        decided = grade == grading.grade
        pen.text((x, line), f"{grade} {_severity(grading.task, grade)}", fill=_INK, font=_font(12))
        length = round((width - 120) * probability)
        pen.rectangle((x + 74, line + 3, x + 74 + max(length, 1), line + 13), fill=_MARK if decided else _BAR)
        pen.text(
            (x + 80 + length, line),
            f"{100 * probability:.0f} %",
            fill=_INK if decided else _QUIET,
            font=_font(12),
        )
    if grading.grade != grading.most_probable:
        line = y + 20 + len(grading.probabilities) * 19
        pen.text((x, line), "the median of the probabilities decides", fill=_QUIET, font=_font(12))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
