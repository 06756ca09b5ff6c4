"""A picture of why: where the knee was found, what was measured, what the network saw and what it rests on.

Drawn with Pillow alone. Reds mark places that speak for the decided KL grade, relative to the mean of
the other grades; the scale is absolute (`FULL` of a logit), so weak evidence stays pale.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from kellgren.errors import KellgrenError
from kellgren.grade.assessment import Assessment, Grading
from kellgren.grade.explanation import Explanation
from kellgren.measure import JointSpace, outline
from kellgren.vocabulary import FEATURES, TASKS

FULL: Final = 32.0
"""Logits at which the overlay is strongest: about the 95th percentile of the maxima of validation knees."""

_WIDTH: Final = 640
_PANEL: Final = 300
_EVIDENCE: Final = (235, 64, 32)
_FOUND: Final = 420
_PAPER, _INK, _QUIET, _BAR, _MARK = "#ffffff", "#1c2430", "#8a94a3", "#4a7fb5", "#c0392b"
_BOX, _POINT = "#f2c230", "#35c4a0"


def draw(assessment: Assessment) -> Image.Image:
    """Draw one knee: film with its box, crop with what was measured, view, evidence, bars for every task.

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
    found = _found(assessment, shown)
    top = 50 + found.height + 10
    page = Image.new("RGB", (2 * _WIDTH + 30, top + height + _PANEL + 10), _PAPER)
    page.paste(found, (10, 50))
    page.paste(Image.fromarray(plain), (10, top))
    page.paste(Image.fromarray(_overlay(plain, heat)), (_WIDTH + 20, top))
    pen = ImageDraw.Draw(page)
    share = shown.share.get("KL", 1.0)
    if share < 1.0:
        note = f"Members with {100 * share:.0f} % of the vote; the others have no maps."
        at = (_WIDTH + 26, top + 6)
        pen.rectangle(pen.textbbox(at, note, font=_font(14)), fill=_PAPER, outline=_PAPER, width=3)
        pen.text(at, note, fill=_INK, font=_font(14))
    pen.text((10, 12), _headline(assessment), fill=_MARK if assessment.refer else _INK, font=_font(18))
    _bars(pen, assessment, top=top + height + 20)
    return page


def _found(assessment: Assessment, shown: Explanation) -> Image.Image:
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
    if assessment.joint_space is not None:
        ImageDraw.Draw(panel).text(
            (_WIDTH + 10 + _FOUND + 12, 4), _widths(assessment.joint_space), fill=_INK, font=_font(14)
        )
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
    alpha = (0.55 * strength)[:, :, None]
    return np.asarray(plain * (1 - alpha) + np.array(_EVIDENCE) * alpha, dtype=np.uint8)


def _headline(assessment: Assessment) -> str:
    kl = assessment["KL"]
    span = ""
    if kl.interval is not None:
        span = (
            f" (plausible {kl.interval[0]} to {kl.interval[1]})" if kl.interval[0] != kl.interval[1] else ""
        )
    side = {"R": "right knee", "L": "left knee", None: "side unknown"}[assessment.side]
    verdict = f"  -  read by a person: {assessment.reason}" if assessment.refer else ""
    return f"{side}: KL {kl.grade}{span}{verdict}"


def _bars(pen: ImageDraw.ImageDraw, assessment: Assessment, *, top: int) -> None:
    """One group of bars a task: KL and OA on the left, the features on the right in two columns."""
    tasks = [task for task in ("KL", "OA", *(feature.name for feature in FEATURES)) if task in assessment]
    columns = 4
    width = (2 * _WIDTH + 10) // columns
    for index, task in enumerate(tasks):
        x, y = 10 + (index % columns) * width, top + (index // columns) * 140
        _group(pen, assessment[task], TASKS[task].title, (x, y), width - 30)


def _group(pen: ImageDraw.ImageDraw, grading: Grading, title: str, at: tuple[int, int], width: int) -> None:
    x, y = at
    pen.text((x, y), title, fill=_INK, font=_font(13))
    for grade, probability in enumerate(grading.probabilities):
        line = y + 20 + grade * 19
        decided = grade == grading.grade
        pen.text((x, line), str(grade), fill=_INK, font=_font(12))
        length = round((width - 70) * probability)
        pen.rectangle((x + 16, line + 3, x + 16 + max(length, 1), line + 13), fill=_MARK if decided else _BAR)
        pen.text(
            (x + 22 + length, line),
            f"{100 * probability:.0f} %",
            fill=_INK if decided else _QUIET,
            font=_font(12),
        )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
