"""What a grade rests on: maps of evidence and the pictures they lie on; made only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren import locate
from kellgren.locate import JointCrop
from kellgren.model.activation_maps import Box
from kellgren.model.predict import Model, Prediction
from kellgren.standardise import Film

_OVERVIEW: Final = 640
"""Longer side of the film in a picture, pixels."""


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """What a reader needs to see why a knee was graded so.

    Attributes:
        maps: By task, (C, h, w) share of each place in the logit, in the crop's own orientation.
        frame: The part of the crop that the maps cover, in shares of its width and height; None without maps.
        share: By task, the share of the vote whose maps these are (`kellgren.model.predict.Prediction`).
        view: (h, w) that part of the crop in 0..1, in the crop's own orientation: as the network saw it, or
            as it was cut where several views or networks saw it; None without maps.
        film: (H, W) uint8, the film, reduced.
        film_scale: Size of `film` relative to the upright image.
        crop: (s, t) uint8, the knee's crop at the film's own resolution.
        crop_box: (4,) x0, y0, x1, y1 of the crop in pixels of the upright image.
        is_image: Whether the image was a crop already.
    """

    maps: Mapping[str, npt.NDArray[np.float32]]
    frame: Box | None
    share: Mapping[str, float]
    view: npt.NDArray[np.float32] | None
    film: npt.NDArray[np.uint8]
    film_scale: float
    crop: npt.NDArray[np.uint8]
    crop_box: npt.NDArray[np.float64]
    is_image: bool

    def __repr__(self) -> str:
        return f"Explanation({', '.join(self.maps) or 'no maps'})"

    def evidence(self, task: str, grade: int) -> npt.NDArray[np.float32]:
        """Evidence for a grade by place: (h, w) logits over the mean of the other grades.

        Raises:
            KeyError: There is no map of the task.
        """
        maps = self.maps[task]
        return np.asarray(maps[grade] - np.delete(maps, grade, axis=0).mean(axis=0), dtype=np.float32)


def explain(film: Film, crop: JointCrop, model: Model, prediction: Prediction) -> Explanation:
    """Gather what a prediction, made with maps, rests on."""
    scale = min(1.0, _OVERVIEW / max(film.pixels.shape))
    small = cv2.resize(film.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Explanation(
        maps=prediction.maps,
        frame=prediction.frame,
        share=prediction.maps_share,
        view=model.view(crop.pixels, prediction),
        film=locate.eight_bit(np.asarray(small, dtype=np.uint16)),
        film_scale=scale,
        crop=locate.eight_bit(crop.pixels),
        crop_box=crop.box,
        is_image=crop.is_image,
    )
