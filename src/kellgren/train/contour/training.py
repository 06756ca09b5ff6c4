"""`kellgren train contour`: one stage, whose network sees reframed crops with their points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kellgren.measure import FEMUR_POINTS, POINTS
from kellgren.train import session
from kellgren.train.contour import crops as pointed_crops
from kellgren.train.contour import network
from kellgren.train.contour.crops import Batch, Crops
from kellgren.train.contour.network import ContourNet
from kellgren.train.contour.recipe import ContourRecipe
from kellgren.train.run import Run, Track, check, create_folder, silent
from kellgren.train.session import Data, Stage


def train(run: Run[ContourRecipe], *, resume: bool = False, track: Track = silent) -> ContourNet:
    """Train until the recipe's last epoch.

    Args:
        run: What and where.
        resume: Continue from `last.pt`; without it a run folder that holds one is refused.
        track: Progress display.

    Returns:
        The network with the weights of the last epoch (averaged), on the CPU, in evaluation mode.

    Raises:
        BadRecipe: See `run.check`; also if the loss diverges.
        BadDataset: If the data set has no points.
    """
    check(run, resume=resume)
    hardware, recipe = run.hardware, run.recipe
    torch.manual_seed(run.seed)
    net = ContourNet(POINTS, recipe.width)

    def loss(_: nn.Module, batch: Batch) -> Tensor:
        with hardware.autocast():
            heat = net.heat(*hardware.place([batch.images])).float()
        return network.contour(
            heat, batch.points.to(hardware.device), batch.scores.to(hardware.device), recipe.loss
        )

    stage = Stage(net, recipe.optimise, loss, lambda: _data(run))
    create_folder(run)
    return session.train(run, stage, track=track)


def _data(run: Run[ContourRecipe]) -> Data[ContourNet, Batch]:
    """Read all crops with points."""
    recipe, threads, held_out = run.recipe, run.hardware.threads, run.held_out()
    crops = pointed_crops.preload(run.training(), recipe, threads=threads)
    judged = crops if held_out is None else pointed_crops.preload(held_out, recipe, threads=threads)
    return Data(
        max(1, len(crops) // recipe.optimise.batch),
        lambda epoch: pointed_crops.training_batches(
            crops, recipe, seed=run.seed, epoch=epoch, threads=threads
        ),
        None if held_out is None else lambda net: metrics(net, judged, run),
        images=len(crops),
    )


@torch.inference_mode()
def metrics(net: ContourNet, crops: Crops, run: Run[ContourRecipe]) -> dict[str, float]:
    """Errors on the held-out fold, in per cent of the joint's width (the distance of the plateau's ends).

    `across` is the mean distance from the true curve, `point` the mean distance from the true point.
    """
    net.eval()
    across, point = [], []
    for batch in pointed_crops.evaluation_batches(crops, run.recipe):
        answers = net(*run.hardware.place([batch.images]))[0].float().cpu()
        width = (batch.points[:, FEMUR_POINTS] - batch.points[:, -1]).norm(dim=1)[:, None]
        beside, along = network.split(answers, batch.points)
        across.append(beside / width)
        point.append(torch.hypot(beside, along) / width)
    errors = {"across": torch.cat(across), "point": torch.cat(point)}
    return {name: round(100 * float(values.mean()), 3) for name, values in errors.items()}
