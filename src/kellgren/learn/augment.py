"""Random changes of crops in training: geometry, exposure, blur and noise, a batch at once.

All views of a knee are changed alike. The numbers are drawn on the CPU from one generator, so that a batch is
the same on every device; the images are changed where they lie. Geometry is one resampling, whatever it is
made of: mirror, rotation, scale, shift, crop and grid distortion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.learn.recipe import Augment

CELLS: Final = 5
"""Cells of the grid distortion along each side, as Albumentations' GridDistortion has by default."""

_SIGMAS: Final = 3.0  # how far a blur reaches


@dataclass(frozen=True, slots=True)
class _Draw:
    """What happens to each knee of a batch; every tensor is (N,) or (N, 2) but for `grid`."""

    flip: Tensor
    angle: Tensor
    zoom: Tensor
    shift: Tensor
    grid: Tensor
    contrast: Tensor
    brightness: Tensor
    gamma: Tensor
    blur: Tensor
    noise: Tensor


def augment(
    views: Mapping[str, Tensor], ranges: Sequence[Augment], generator: torch.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """One random variant of each knee.

    Args:
        views: By name, (N, 1, H, W) float32 in [0, 1]; sizes may differ between views.
        ranges: How far each change of each knee may go, N of them; all zero returns the knee unchanged, bit
            for bit.
        generator: Source of every random number, on the CPU.

    Returns:
        The same views changed, and (N,) bool on the CPU: which knees were mirrored, so that their lateral
        and medial have changed places.
    """
    draw = _draw(ranges, generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    changed = {name: _change(images, draw, seed) for name, images in views.items()}
    return changed, draw.flip


def _draw(ranges: Sequence[Augment], generator: torch.Generator) -> _Draw:
    count = len(ranges)

    def uniform(*shape: int) -> Tensor:
        """In -1..1."""
        return torch.rand(count, *shape, generator=generator) * 2 - 1

    def each(name: str) -> Tensor:
        return torch.tensor([getattr(r, name) for r in ranges], dtype=torch.float32)

    flip = torch.rand(count, generator=generator) < each("flip")
    at_all = (torch.rand(count, generator=generator) < each("chance")).float()
    zoom = 1 + at_all * uniform() * each("scale")
    # A crop of side c enlarges by 1 / c, and may lie anywhere that it fits.
    side = 1 - at_all * (uniform() + 1) / 2 * (1 - each("crop"))
    room = (1 - side) / 2
    shift = at_all[:, None] * uniform(2) * each("shift")[:, None] + uniform(2) * room[:, None] / side[:, None]
    exponent = at_all * uniform()
    half = (torch.rand(count, 2, generator=generator) < 0.5).float() * at_all[:, None]
    return _Draw(
        flip=flip,
        angle=at_all * uniform() * each("rotate") * (math.pi / 180),
        zoom=zoom / side,
        shift=shift,
        grid=at_all[:, None, None] * uniform(2, CELLS) * each("grid")[:, None, None],
        contrast=1 + at_all * uniform() * each("contrast"),
        brightness=at_all * uniform() * each("brightness"),
        gamma=each("gamma") ** exponent,
        blur=half[:, 0] * (uniform() + 1) / 2 * each("blur"),
        noise=half[:, 1] * (uniform() + 1) / 2 * each("noise"),
    )


def _change(images: Tensor, draw: _Draw, seed: int) -> Tensor:
    images = _geometry(images, draw)
    before = images
    images = _blurred(_exposed(images, draw), draw.blur)
    if (draw.noise > 0).any():
        generator = torch.Generator(images.device).manual_seed(seed)
        grain = torch.randn(images.shape, device=images.device, generator=generator)
        images = images + _by_knee(draw.noise, images) * grain
    return images if images is before else images.clamp(0, 1)


def _by_knee(values: Tensor, images: Tensor) -> Tensor:
    """(N,) values beside (N, 1, H, W) images, on their device."""
    return values.to(images.device)[:, None, None, None]


def _geometry(images: Tensor, draw: _Draw) -> Tensor:
    """Mirror, and for those that need it one resampling."""
    moved = (
        (draw.angle != 0) | (draw.zoom != 1) | (draw.shift != 0).any(1) | (draw.grid != 0).flatten(1).any(1)
    )
    only_flipped = draw.flip & ~moved
    if not (moved.any() or only_flipped.any()):
        return images
    images = images.clone()
    if only_flipped.any():
        rows = only_flipped.nonzero()[:, 0].to(images.device)
        images[rows] = images[rows].flip(3)
    if moved.any():
        rows = moved.nonzero()[:, 0].to(images.device)
        places = _places(draw, moved, images)
        images[rows] = F.grid_sample(
            images[rows], places, mode="bilinear", padding_mode="border", align_corners=False
        )
    return images


def _places(draw: _Draw, chosen: Tensor, images: Tensor) -> Tensor:
    """Where each pixel of the chosen knees comes from: (M, H, W, 2) x, y in -1..1 of the image's extent."""
    height, width = images.shape[2:]
    device = images.device
    # Pixel to place: out of the distorted grid, then back through shift, zoom, rotation and mirror.
    x, y = (_distorted(draw.grid[chosen, axis], n, device) for axis, n in ((0, width), (1, height)))
    shift = draw.shift[chosen].to(device) * 2
    x, y = x - shift[:, :1], y - shift[:, 1:]
    zoom = draw.zoom[chosen].to(device)
    cos = (torch.cos(draw.angle[chosen].to(device)) / zoom)[:, None]
    sin = (torch.sin(draw.angle[chosen].to(device)) / zoom)[:, None]
    ratio = height / width  # rotate in pixels, not in shares of unequal sides
    mirror = torch.where(draw.flip[chosen].to(device), -1.0, 1.0)[:, None]
    # sums of a row's part and a column's part: all else is done on these short vectors
    places = torch.empty(len(x), height, width, 2, device=device)
    torch.add((mirror * cos * x)[:, None, :], (mirror * sin * ratio * y)[:, :, None], out=places[..., 0])
    torch.add((-sin / ratio * x)[:, None, :], (cos * y)[:, :, None], out=places[..., 1])
    return places


def _distorted(changes: Tensor, size: int, device: torch.device) -> Tensor:
    """Centres of `size` pixels in -1..1, on an axis whose cells are stretched: (M, CELLS) -> (M, size).

    Each of the cells shows a part of the image that is 1 + change times as long; together they show it all.
    """
    changes = changes.to(device)
    lengths = 1 + changes
    edges = F.pad(lengths.cumsum(1) / lengths.sum(1, keepdim=True), (1, 0))
    at = (torch.arange(size, device=device) + 0.5) / size
    even = (changes == 0).all(1, keepdim=True)
    cell = (at * CELLS).long().clamp(max=CELLS - 1)
    within = at * CELLS - cell
    stretched = edges[:, cell] * (1 - within) + edges[:, cell + 1] * within
    return torch.where(even, at.expand(len(changes), -1), stretched) * 2 - 1


def _exposed(images: Tensor, draw: _Draw) -> Tensor:
    """x^gamma, then contrast around the middle and brightness."""
    if (draw.gamma != 1).any():
        images = images ** _by_knee(draw.gamma, images)
    if (draw.contrast != 1).any() or (draw.brightness != 0).any():
        contrast, brightness = _by_knee(draw.contrast, images), _by_knee(draw.brightness, images)
        still = (contrast == 1) & (brightness == 0)
        images = torch.where(still, images, ((images - 0.5) * contrast + (0.5 + brightness)).clamp(0, 1))
    return images


def _blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian blur of those with a sigma, pixels: rows, then columns, each knee with a kernel of its own."""
    chosen = sigmas > 0
    if not chosen.any():
        return images
    rows = chosen.nonzero()[:, 0].to(images.device)
    sigma = sigmas[chosen].to(images.device).clamp(min=1e-3)
    reach = max(1, math.ceil(_SIGMAS * float(sigmas.max())))
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-(offsets[None, :] ** 2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]
    some = images[rows].transpose(0, 1)  # knees as channels, each convolved by itself
    some = F.pad(some, (reach, reach, reach, reach), mode="replicate")
    some = F.conv2d(some, kernel[:, :, None, :], groups=len(rows))
    some = F.conv2d(some, kernel[:, :, :, None], groups=len(rows))
    images = images.clone()
    images[rows] = some.transpose(0, 1)
    return images
