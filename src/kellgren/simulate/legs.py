"""How legs stand on a film: its size and spacing, and the place, turn and side of each leg."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kellgren.vocabulary import Side


@dataclass(frozen=True, slots=True)
class Leg:
    """Where a knee is on the film.

    Attributes:
        side: The patient's right or left leg.
        place: x and y of the middle of the plateau from the film's top left corner, mm.
        rotation: Turn of the leg on the film, degrees.
    """

    side: Side
    place: tuple[float, float]
    rotation: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A film before anything is drawn on it.

    Attributes:
        shape: (H, W) pixels.
        spacing: Pixel spacing in the detector's plane, mm.
        magnification: Size on the detector over size in the leg.
        legs: From the image's left to right. The film is viewed as one faces the patient.
    """

    shape: tuple[int, int]
    spacing: float
    magnification: float
    legs: tuple[Leg, ...]

    @property
    def height(self) -> float:
        """Height of the film, mm."""
        return self.shape[0] * self.spacing

    @property
    def width(self) -> float:
        """Width of the film, mm."""
        return self.shape[1] * self.spacing


FilmView = Literal["ap", "lateral", "shaft"]
"""What a film shows: the front view, the side view of one knee, or a part of one leg without the joint."""


def draw_layout(
    rng: np.random.Generator, view: FilmView = "ap", knees: Literal[1, 2] | None = None
) -> Layout:
    """Draw the size of a film and how the legs stand on it.

    Knees stand near the middle of the film's height; about one film in six is shifted so far that much of
    the thigh or of the lower leg is missing. A film of a shaft has the joint well above or below its edge.
    """
    if view != "ap":
        knees = 1
    number = knees or (2 if rng.random() < 0.6 else 1)
    spacing = round(float(rng.uniform(0.1, 0.2)), 3)
    tall = 430 if view == "ap" else 330 if view == "lateral" else 260
    height = float(np.clip(rng.uniform(220, tall), 1200 * spacing, 3000 * spacing))
    width = float(rng.uniform(300, 430)) if number == 2 else float(height * rng.uniform(0.55, 0.95))
    shape = (round(height / spacing), round(max(width, 150.0) / spacing))
    height, width = shape[0] * spacing, shape[1] * spacing
    down = float(rng.uniform(0.40, 0.62)) if rng.random() < 0.85 else float(rng.choice([0.24, 0.78]))
    down = float(np.clip(down * height, 75, height - 55))
    if view == "shaft":
        away = float(rng.uniform(80, 130))
        down = -away if rng.random() < 0.5 else height + away
    magnification = round(float(rng.uniform(1.04, 1.20)), 3)
    rotations = np.clip(rng.normal(0, 2.5, 2), -7, 7)
    if number == 1:
        side: Side = "R" if rng.random() < 0.5 else "L"
        across = width / 2 + float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)) * width
        legs: tuple[Leg, ...] = (Leg(side, (across, down), float(rotations[0])),)
    else:
        apart = min(float(rng.uniform(135, 240)), width - 110)
        middle = width / 2 + float(rng.normal(0, 8))
        lower = float(rng.normal(0, 6))
        legs = (
            Leg("R", (middle - apart / 2, down + lower), float(rotations[0])),
            Leg("L", (middle + apart / 2, down - lower), float(rotations[1])),
        )
    return Layout(shape, spacing, magnification, legs)
