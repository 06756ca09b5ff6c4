"""What a wrong contour costs."""

from __future__ import annotations

import torch
from torch import Tensor

from kellgren.measure import FEMUR_POINTS
from kellgren.train.contour.network import divergence, locate
from kellgren.train.contour.recipe import Loss


def tangents(points: Tensor) -> Tensor:
    """Unit direction (N, 30, 2) of the femoral and the tibial curve at each point, by its neighbours."""
    directions = []
    for curve in (points[:, :FEMUR_POINTS], points[:, FEMUR_POINTS:]):
        ends = (curve[:, 1:2] - curve[:, :1], curve[:, -1:] - curve[:, -2:-1])
        directions.append(torch.cat((ends[0], curve[:, 2:] - curve[:, :-2], ends[1]), dim=1))
    joined = torch.cat(directions, dim=1)
    unit: Tensor = joined / joined.norm(dim=2, keepdim=True).clamp(min=1e-6)
    return unit


def split(answers: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Distance across and along the true curve, each (N, 30), in the unit of the points."""
    error, direction = answers - true, tangents(true)
    along = (error * direction).sum(dim=2)
    across = error[..., 0] * direction[..., 1] - error[..., 1] * direction[..., 0]
    return across.abs(), along.abs()


def contour(heat: Tensor, true: Tensor, scores: Tensor, loss: Loss) -> Tensor:
    """Mean absolute error in cells, across and along, plus the divergence of the maps from Gaussians.

    Points outside of the image cannot be a centre of mass and are left out.

    Args:
        heat: (N, 30, h, w), each map summing to 1.
        true: (N, 30, 2) in fractions of the image.
        scores: (N,) score of each knee's points.
        loss: Weights.

    Returns:
        A scalar.
    """
    points, _ = locate(heat)
    across, along = split(points, true)
    cells = heat.shape[3]
    cost = cells * (across + loss.along * along) + loss.shape * divergence(heat, true, loss.sigma)
    inside = ((true > 0) & (true < 1)).all(dim=2).float()
    trust = (scores / loss.trusted).clamp(loss.least, 1.0)[:, None] * inside
    return (cost * trust).sum() / trust.sum().clamp(min=1e-6)
