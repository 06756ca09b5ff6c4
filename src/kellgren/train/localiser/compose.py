"""Whole films composed from crops: limbs continued beyond the crop, placed, turned, collimated, exposed.

A published crop ends 0.6 joint widths above and below the joint line. `leg` continues its bones up and down
and its soft tissue sideways with the crop's own grey levels and texture; `film` puts one or two legs on a
detector. Films of the same make but without a joint (`Scene.joint = False`) are the control that nobody
learns the seam instead of the knee.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.train.localiser.boxed_film import BoxedFilm
from kellgren.vocabulary import FloatArray, Image


@dataclass(frozen=True, slots=True)
class Knee:
    """A crop to compose from.

    Attributes:
        name: Knee.
        pixels: (S, S) uint8, bone bright.
        points: (6, 2) key points in crop pixels, from the image's left to right.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    points: FloatArray


@dataclass(frozen=True, slots=True)
class Scene:
    """What varies between films. `draw` gives ordinary ones.

    Attributes:
        box: Side of a knee's box, pixels.
        above: Film above the joint, boxes.
        below: Film below the joint, boxes.
        limb: Half width of the limb at the joint, boxes.
        taper: Width of the femoral shaft against the condyles.
        margin: Free film beside the limb, boxes.
        tilts: Rotation of each limb, degrees.
        offsets: Height of each joint against the middle one, boxes.
        joint: False cuts the joint out and continues the shafts through it.
    """

    box: float
    above: float
    below: float
    limb: float
    taper: float
    margin: float
    tilts: tuple[float, float]
    offsets: tuple[float, float]
    joint: bool = True


def draw(rng: np.random.Generator, *, box: tuple[float, float] = (84.0, 132.0), joint: bool = True) -> Scene:
    """An ordinary scene: from tight films of the joint alone to long ones with most of both shafts."""
    reach = rng.choice([0.0, 0.5, 1.0, 2.0], p=[0.15, 0.3, 0.35, 0.2])
    return Scene(
        box=float(rng.uniform(*box)),
        above=float(rng.uniform(0.55, 1.3) + reach * rng.uniform(0.3, 1.0)),
        below=float(rng.uniform(0.55, 1.3) + reach * rng.uniform(0.3, 1.0)),
        limb=float(rng.uniform(0.56, 0.85)),
        taper=float(rng.uniform(0.42, 0.6)),
        margin=float(rng.uniform(-0.02, 0.5)),
        tilts=(float(rng.normal(0, 4)), float(rng.normal(0, 4))),
        offsets=(float(rng.normal(0, 0.08)), float(rng.normal(0, 0.08))),
        joint=joint,
    )


def film(knees: list[Knee], scene: Scene, rng: np.random.Generator) -> BoxedFilm:
    """Compose a film of one or two knees.

    Args:
        knees: One or two crops, from the image's left to right.
        scene: What it looks like.
        rng: Decides everything else: collimation, markers, exposure, noise.

    Returns:
        The film, with boxes and points; without any where the scene has no joint.
    """
    height = round(scene.box * (scene.above + scene.below))
    half = scene.box * (scene.limb + scene.margin)
    width = round(2 * half * len(knees))
    canvas = np.zeros((height, width), np.float32)
    boxes, points = [], []
    for i, knee in enumerate(knees):
        centre = (half * (2 * i + 1), scene.box * (scene.above + scene.offsets[i]))
        placed, turn = leg(knee, scene, centre, scene.tilts[i], (height, width), rng)
        np.maximum(canvas, placed, out=canvas)
        scale = scene.box / knee.pixels.shape[0]
        middle = _moved(np.array([[scene.box / 2, scene.box / 2]]), turn)[0]
        boxes.append([*(middle - scene.box / 2), *(middle + scene.box / 2)])
        points.append(_moved((knee.points + 0.5) * scale, turn) - 0.5)
    shown = exposed(with_furniture(canvas, scene, rng), rng)
    known = scene.joint
    return BoxedFilm(
        "+".join(knee.name for knee in knees),
        shown,
        np.array(boxes).reshape(-1, 4) if known else np.empty((0, 4)),
        np.array(points).reshape(-1, 6, 2) if known else np.empty((0, 6, 2)),
    )


def leg(
    knee: Knee,
    scene: Scene,
    centre: tuple[float, float],
    tilt: float,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Image, FloatArray]:
    """One limb on an empty film.

    Args:
        knee: The crop at its middle.
        scene: Widths and the size of the box.
        centre: x, y of the box's centre on the film, pixels.
        tilt: Rotation about that centre, degrees.
        shape: (H, W) of the film.
        rng: Draws the limb's outline.

    Returns:
        (H, W) grey levels 0..255, and the (2, 3) matrix from box pixels to film pixels.
    """
    size = round(scene.box)
    crop = cv2.resize(knee.pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    turn: FloatArray = np.asarray(cv2.getRotationMatrix2D((scene.box / 2, scene.box / 2), tilt, 1.0))
    turn[:, 2] += np.array(centre) - scene.box / 2
    back = cv2.invertAffineTransform(turn)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    u = (back[0, 0] * x + back[0, 1] * y + back[0, 2]).astype(np.float32)
    v = (back[1, 0] * x + back[1, 1] * y + back[1, 2]).astype(np.float32)

    beyond = np.maximum(np.maximum(-v, v - (size - 1)), 0) / size
    shaft = np.where(v < 0, scene.taper, min(0.95, scene.taper + float(rng.uniform(0.15, 0.35))))
    narrow = shaft + (1 - shaft) * np.exp(-beyond / float(rng.uniform(0.15, 0.3)))
    u = (u - size / 2) / narrow.astype(np.float32) + size / 2

    # the outline of the limb, in boxes from its axis: wider towards the thigh than towards the calf
    grow = np.where(v < size / 2, rng.uniform(0.0, 0.25), rng.uniform(-0.12, 0.05))
    outline = np.clip(scene.limb + grow * np.abs(v / size - 0.5), 0.52, 1.2) / narrow
    over = np.clip(np.abs(u / size - 0.5) - 0.5, 0, None)
    thickness = np.clip(1 - (over / np.maximum(outline - 0.5, 0.03)) ** 2, 0, 1) ** float(
        rng.uniform(0.5, 0.9)
    )
    blurred = cv2.GaussianBlur(crop, (0, 0), sigmaX=size * 0.01 + 0.3, sigmaY=size * 0.05)
    smooth = np.asarray(blurred, np.float32)
    texture = np.asarray(crop - cv2.GaussianBlur(crop, (0, 0), size * 0.03), np.float32)
    edge = np.clip(v, size * 0.03, size * 0.97).astype(np.float32)
    folded = _reflected(v, size * 0.22, size)
    limb = _looked_up(smooth, u, edge) + _looked_up(texture, u, folded, cv2.BORDER_REFLECT) * np.float32(0.8)
    if scene.joint:
        inside = np.minimum(np.minimum(u, size - 1 - u), np.minimum(v, size - 1 - v)) / (0.03 * size)
        weight = np.clip(inside, 0, 1)
        limb = limb * (1 - weight) + _looked_up(crop, u, v) * weight
    else:
        limb = _without_joint(smooth, texture, u, v, size)
    return np.asarray(np.clip(limb, 0, 255) * thickness, np.float32), np.asarray(turn)


def _without_joint(smooth: Image, texture: Image, u: Image, v: Image, size: int) -> Image:
    """Femur and tibia continued into each other: the same grey levels, texture and seams, but no joint."""
    top = _looked_up(smooth, u, np.full_like(v, 0.03 * size))
    low = _looked_up(smooth, u, np.full_like(v, 0.97 * size))
    share = np.clip(v / size, 0, 1)
    grain = _looked_up(texture, u, _reflected(v, size * 0.2, size), cv2.BORDER_REFLECT)
    return np.asarray(top * (1 - share) + low * share + grain * 0.8, np.float32)


def _looked_up(image: Image, u: Image, v: Image, border: int = cv2.BORDER_REPLICATE) -> Image:
    """Grey levels of the image at columns `u` and rows `v`."""
    return np.asarray(cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=border), np.float32)


def _reflected(v: Image, depth: float, size: int) -> Image:
    """Rows of the crop that lend their texture to rows `v`: folded to and fro within `depth` of an edge."""
    from_top = np.abs(np.mod(v, 2 * depth) - depth)
    return np.where(v < size / 2, from_top, size - 1 - from_top).astype(np.float32)


def _moved(points: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def with_furniture(canvas: Image, scene: Scene, rng: np.random.Generator) -> Image:
    """What else is on a film: scatter, markers, a calibration ball, metal, collimation."""
    height, width = canvas.shape
    canvas = canvas + cv2.GaussianBlur(canvas, (0, 0), scene.box * 0.4) * float(rng.uniform(0, 0.25))
    lead = np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.integers(0, 3)):
        place = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        if rng.random() < 0.25:
            radius = round(scene.box * rng.uniform(0.04, 0.1))
            cv2.circle(lead, place, radius, float(rng.uniform(180, 255)), -1)
        else:
            text = str(rng.choice(["R", "L", "WB", "R AP", "STANDING", "12"]))
            size = float(scene.box / 100 * rng.uniform(0.3, 0.9))
            shade = float(rng.uniform(150, 255))
            cv2.putText(lead, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, shade, 1 + int(size * 2))
    if rng.random() < 0.06:
        ends = rng.uniform(0, 1, (2, 2)) * (width, height)
        start, stop = (tuple(int(c) for c in end) for end in ends)
        cv2.line(lead, start, stop, 255.0, max(1, round(scene.box * rng.uniform(0.01, 0.04))))
    canvas = np.maximum(canvas, lead)
    if rng.random() < 0.45:
        canvas = _collimated(canvas, rng)
    return np.asarray(np.clip(canvas, 0, 255), np.float32)


def _collimated(canvas: Image, rng: np.random.Generator) -> Image:
    height, width = canvas.shape
    edges = rng.uniform(0, 0.06, 4) * (rng.random(4) < 0.5)
    corners = np.array(
        [
            (edges[0] * width, edges[1] * height),
            ((1 - edges[2]) * width, edges[1] * height),
            ((1 - edges[2]) * width, (1 - edges[3]) * height),
            (edges[0] * width, (1 - edges[3]) * height),
        ]
    )
    corners += rng.normal(0, 0.006, corners.shape) * (width, height)
    sharp = np.zeros(canvas.shape, np.float32)
    cv2.fillConvexPoly(sharp, corners.round().astype(np.int32), 1.0)
    field = cv2.GaussianBlur(sharp, (0, 0), 1.0)
    shutter = 255.0 if rng.random() < 0.12 else float(rng.uniform(0, 15))
    return np.asarray(canvas * field + shutter * (1 - field), np.float32)


def exposed(canvas: Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Exposure, blur and noise, on 8 bit."""
    base = float(rng.uniform(0, 30))
    shade = np.linspace(-1, 1, canvas.shape[1], dtype=np.float32)[None] * float(rng.normal(0, 0.06))
    image = (canvas / 255) ** float(np.exp(rng.normal(0, 0.25))) * (1 + shade)
    image = base + image * (255 - base) * float(rng.uniform(0.75, 1.05))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.0)))
    grain = rng.standard_normal(image.shape, dtype=np.float32) * float(rng.uniform(0, 5))
    return np.asarray(np.clip(image + grain, 0, 255).astype(np.uint8))
