"""Random changes of crops in training: geometry, exposure, blur and noise, a batch at once.

All views of a knee are changed alike. The numbers are drawn on the CPU from one generator, so that a batch is
the same on every device; the images are changed where they lie. Geometry is one resampling, whatever it is
made of: mirror, rotation, scale, shift, crop and grid distortion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.train.graders.recipe import Augment

CELLS: Final = 5
"""Cells of the grid distortion along each side, as Albumentations' GridDistortion has by default."""

_TRANSFORMS: Final = 6  # each with its own chance, see `Augment.chance`
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
    moved, bent, lit, curved, blurred, grained = _coins(each("chance"), generator)
    zoom = 1 + moved * uniform() * each("scale")
    # A crop of side c enlarges by 1 / c, and may lie anywhere that it fits.
    side = 1 - (uniform() + 1) / 2 * (1 - each("crop"))
    room = (1 - side) / 2
    shift = moved[:, None] * uniform(2) * each("shift")[:, None] + uniform(2) * room[:, None] / side[:, None]
    exponent = curved * uniform()
    half = (torch.rand(count, 2, generator=generator) < 0.5).float()
    return _Draw(
        flip=flip,
        angle=moved * uniform() * each("rotate") * (math.pi / 180),
        zoom=zoom / side,
        shift=shift,
        grid=bent[:, None, None] * uniform(2, CELLS) * each("grid")[:, None, None],
        contrast=1 + lit * uniform() * each("contrast"),
        brightness=lit * uniform() * each("brightness"),
        gamma=each("gamma") ** exponent,
        blur=blurred * half[:, 0] * (uniform() + 1) / 2 * each("blur"),
        noise=grained * half[:, 1] * (uniform() + 1) / 2 * each("noise"),
    )


def _coins(chance: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Which transforms act on each knee: (N,) of 0 and 1 for each; where all do, one number each is drawn."""
    drawn = torch.rand(len(chance), generator=generator)[:, None].expand(-1, _TRANSFORMS)
    if (chance < 1).any():
        others = torch.rand(len(chance), _TRANSFORMS - 1, generator=generator)
        drawn = torch.cat([drawn[:, :1], others], dim=1)
    return (drawn < chance[:, None]).float().unbind(1)


def _change(images: Tensor, draw: _Draw, seed: int) -> Tensor:
    images = _geometry(images, draw)
    before = images
    images = _blurred(_exposed(images, draw), draw.blur)

    def grained(some: Tensor, noise: Tensor) -> Tensor:
        generator = torch.Generator(some.device).manual_seed(seed)
        return torch.randn(some.shape, device=some.device, generator=generator).mul_(noise).add_(some)

    images = _of(images, draw.noise > 0, lambda some, rows: grained(some, _by_knee(draw.noise[rows], some)))
    return images if images is before else images.clamp(0, 1)


def _of(images: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A change of the chosen knees; the others stay as they are, bit for bit.

    Args:
        images: (N, 1, H, W).
        chosen: (N,) bool, on the CPU.
        change: Gives the new images of (M, 1, H, W) chosen ones and (M,) their places in the batch.
    """
    rows = chosen.nonzero()[:, 0]
    if len(rows) in (0, len(images)):
        return change(images, rows) if len(rows) else images
    there = rows.to(images.device)
    return images.index_copy(0, there, change(images.index_select(0, there), rows))


def _by_knee(values: Tensor, images: Tensor) -> Tensor:
    """(N,) values beside (N, 1, H, W) images, on their device."""
    return values.to(images.device)[:, None, None, None]


def _geometry(images: Tensor, draw: _Draw) -> Tensor:
    """Mirror, and for those that need it one resampling."""
    moved = (
        (draw.angle != 0) | (draw.zoom != 1) | (draw.shift != 0).any(1) | (draw.grid != 0).flatten(1).any(1)
    )

    def resampled(some: Tensor, rows: Tensor) -> Tensor:
        places = _places(draw, rows, some)
        return F.grid_sample(some, places, mode="bilinear", padding_mode="border", align_corners=False)

    images = _of(images, draw.flip & ~moved, lambda some, _: some.flip(3))
    return _of(images, moved, resampled)


def _places(draw: _Draw, rows: Tensor, images: Tensor) -> Tensor:
    """Where each pixel comes from: (M, H, W, 2) x, y in -1..1 of the image's extent.

    Args:
        draw: Of the whole batch.
        rows: (M,) which knees of it.
        images: (M, 1, H, W) theirs.
    """
    height, width = images.shape[2:]
    device = images.device
    # Pixel to place: out of the distorted grid, then back through shift, zoom, rotation and mirror.
    x, y = (_distorted(draw.grid[rows, axis], n, device) for axis, n in ((0, width), (1, height)))
    shift = draw.shift[rows].to(device) * 2
    x, y = x - shift[:, :1], y - shift[:, 1:]
    zoom = draw.zoom[rows].to(device)
    cos = (torch.cos(draw.angle[rows].to(device)) / zoom)[:, None]
    sin = (torch.sin(draw.angle[rows].to(device)) / zoom)[:, None]
    ratio = height / width  # rotate in pixels, not in shares of unequal sides
    mirror = torch.where(draw.flip[rows].to(device), -1.0, 1.0)[:, None]
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

    def curved(some: Tensor, rows: Tensor) -> Tensor:
        # as exp(gamma log x), in half the time of a power; log 0 is -inf, whose exp is 0 again
        return some.clamp(min=0).log_().mul_(_by_knee(draw.gamma[rows], some)).exp_()

    def stretched(some: Tensor, rows: Tensor) -> Tensor:
        contrast, brightness = (_by_knee(v[rows], some) for v in (draw.contrast, draw.brightness))
        return (some - 0.5).mul_(contrast).add_(0.5 + brightness).clamp_(0, 1)

    images = _of(images, draw.gamma != 1, curved)
    return _of(images, (draw.contrast != 1) | (draw.brightness != 0), stretched)


def _blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian blur of those with a sigma, pixels: rows, then columns, each knee with a kernel of its own."""

    def blurred(some: Tensor, rows: Tensor) -> Tensor:
        sigma = sigmas[rows].to(some.device).clamp(min=1e-3)
        reach = max(1, math.ceil(_SIGMAS * float(sigmas.max())))
        offsets = torch.arange(-reach, reach + 1, device=some.device)
        kernel = torch.exp(-(offsets[None, :] ** 2) / (2 * sigma[:, None] ** 2))
        kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]
        knees = some.transpose(0, 1)  # as channels, each convolved by itself
        knees = F.pad(knees, (reach, reach, reach, reach), mode="replicate")
        knees = F.conv2d(knees, kernel[:, :, None, :], groups=len(rows))
        knees = F.conv2d(knees, kernel[:, :, :, None], groups=len(rows))
        return knees.transpose(0, 1)

    return _of(images, sigmas > 0, blurred)
