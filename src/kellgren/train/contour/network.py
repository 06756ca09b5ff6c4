"""The joint-line network: one crop in, 30 points out, by heat maps whose centres of mass are the points."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kellgren.measure import FEMUR_POINTS
from kellgren.train.contour.recipe import Loss

STRIDE = 4
"""Input pixels a heat map cell."""


class ContourNet(nn.Module):
    """A small U-shaped network with a differentiable spatial to numerical layer (DSNT, Nibali 2018).

    Plain 3x3 convolutions go down to a sixteenth of the input and come back up to a quarter. One heat map
    a point is normalised by a softmax over its cells; the point is its centre of mass, so that it is not
    bound to the cells, and the spread around it says how sure the network is of this point.

    Args:
        points: Number of points, P.
        width: Channels at half the input's size; each stage below has more.
    """

    def __init__(self, points: int, width: int) -> None:
        super().__init__()
        w = (width, 2 * width, 4 * width, 6 * width)
        self.stem = nn.Sequential(_conv(1, w[0], stride=2), _conv(w[0], w[1], stride=2), _conv(w[1], w[1]))
        self.down = nn.Sequential(_conv(w[1], w[2], stride=2), _conv(w[2], w[2]), _conv(w[2], w[2]))
        self.bottom = nn.Sequential(_conv(w[2], w[3], stride=2), _conv(w[3], w[3]), _conv(w[3], w[3]))
        self.lift = nn.Conv2d(w[3], w[2], 1)
        self.up = _conv(w[2], w[2])
        self.raise_ = nn.Conv2d(w[2], w[1], 1)
        self.top = nn.Sequential(_conv(w[1], w[1]), _conv(w[1], w[1]))
        self.head = nn.Conv2d(w[1], points, 1)

    def heat(self, x: Tensor) -> Tensor:
        """Heat maps (N, P, h, w) that each sum to 1, of images (N, 1, H, W) with H, W divisible by 16."""
        fine = self.stem(x)
        middle = self.down(fine)
        coarse = self.bottom(middle)
        middle = self.up(middle + F.interpolate(self.lift(coarse), scale_factor=2.0))
        fine = self.top(fine + F.interpolate(self.raise_(middle), scale_factor=2.0))
        logits = cast("Tensor", self.head(fine))
        return F.softmax(logits.flatten(2), dim=2).view_as(logits)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points (N, P, 2) as (x, y) and their spread (N, P), both in fractions of the input's size."""
        return locate(self.heat(x))


def locate(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass and root mean square distance from it.

    Args:
        heat: (N, P, h, w), each map summing to 1.

    Returns:
        Centres (N, P, 2) as (x, y), 0 at the left or upper edge of the image and 1 at the other; spread
        (N, P) in the same unit.
    """
    ys, xs = _axis(heat.shape[2], heat), _axis(heat.shape[3], heat)
    columns, rows = heat.sum(dim=2), heat.sum(dim=3)
    x, y = columns @ xs, rows @ ys
    variance = (columns @ (xs * xs) - x * x) + (rows @ (ys * ys) - y * y)
    return torch.stack((x, y), dim=2), variance.clamp(min=1e-12).sqrt()


def divergence(heat: Tensor, points: Tensor, sigma: float) -> Tensor:
    """Jensen-Shannon divergence of each map from a Gaussian at its true point (Nibali 2018, eq. 9).

    Args:
        heat: (N, P, h, w), each map summing to 1.
        points: (N, P, 2) true points, fractions of the image.
        sigma: Standard deviation of the Gaussian, cells.

    Returns:
        (N, P) in nats, 0 .. ln 2.
    """
    height, width = heat.shape[2:]
    ys, xs = _axis(height, heat), _axis(width, heat)
    dx = ((xs - points[..., :1]) * width / sigma).square()
    dy = ((ys - points[..., 1:]) * height / sigma).square()
    target = torch.exp(-0.5 * (dy[..., :, None] + dx[..., None, :])) + 1e-12
    target = target / target.sum(dim=(2, 3), keepdim=True)
    given = heat + 1e-12
    log_middle = (0.5 * (target + given)).log()
    terms = target * (target.log() - log_middle) + given * (given.log() - log_middle)
    return 0.5 * terms.sum(dim=(2, 3))


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


def _axis(cells: int, like: Tensor) -> Tensor:
    """Centres of the cells in fractions of the image."""
    return (torch.arange(cells, dtype=like.dtype, device=like.device) + 0.5) / cells


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
