"""`kellgren train` of graders: one stage, whose network sees augmented batches of crops."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from kellgren.errors import BadDataset, BadRecipe
from kellgren.evaluate import metrics as measures
from kellgren.model.calibrators import softmax
from kellgren.model.decision import decide
from kellgren.train import distributed, session
from kellgren.train.graders import batches, losses, networks
from kellgren.train.graders.batches import Batch, Crops
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.recipe import Recipe
from kellgren.train.hardware import Hardware
from kellgren.train.run import Run, Track, check, create_folder, silent
from kellgren.train.session import Data, Stage
from kellgren.vocabulary import MISSING, TASKS, FloatArray


def train(run: Run[Recipe], *, resume: bool = False, track: Track = silent) -> KneeNet:
    """Train until the recipe's last epoch, or until patience ends.

    Args:
        run: What and where.
        resume: Continue from `last.pt`; without it a run folder that holds one is refused.
        track: Progress display.

    Returns:
        The network with the weights of the best epoch (by held-out score; the last epoch when nothing is held
        out), on the CPU, in evaluation mode.

    Raises:
        BadRecipe: See `run.check`; also if the recipe freezes what would start from random weights, or the
            loss diverges.
        BadDataset: If there are too few knees.
    """
    _check(run)
    check(run, resume=resume)
    torch.manual_seed(run.seed)
    net = networks.build(run.recipe, init=run.init)
    create_folder(run)
    with distributed.joined(run.hardware):
        distributed.wait(run.hardware)
        session.train(run, stage(run, net), track=silent if run.hardware.rank else track)
        distributed.wait(run.hardware)
    return net


def _check(run: Run[Recipe]) -> None:
    recipe, world = run.recipe, run.hardware.world
    heads_only = all(phase.train == "heads" for phase in recipe.optimise.phases)
    if run.init is None and (recipe.network.freeze or heads_only):
        raise BadRecipe(
            f"the recipe {recipe.name!r} freezes stages, which random weights would make useless",
            remedy="name initial weights: --init FILE, a folder of them, or --init hub to download",
        )
    if recipe.optimise.batch % world:
        raise BadRecipe(f"optimise.batch is {recipe.optimise.batch}, which {world} processes cannot share")


def stage(run: Run[Recipe], net: KneeNet) -> Stage[KneeNet, Batch]:
    """The one stage of a grader's run."""
    hardware, recipe = run.hardware, run.recipe

    def loss(callable_net: nn.Module, batch: Batch) -> Tensor:
        with hardware.autocast():
            raw: dict[str, Tensor] = callable_net(*hardware.place(batch.views))
        raw = {head: values.float() for head, values in raw.items()}  # losses are no place for bfloat16
        return losses.multi_task(distributed.gathered(raw, hardware), batch.grades, recipe)

    return Stage(net, recipe.optimise, loss, functools.partial(_data, run), backbones=net.backbones)


def _data(run: Run[Recipe]) -> Data[KneeNet, Batch]:
    """Read all crops; of several processes only the first judges, and reads what is held out."""
    hardware, held = run.hardware, run.held_out()
    learned = batches.preload(run.training(), run.recipe, threads=hardware.threads)
    if len(learned) < 2:
        raise BadDataset("fewer than two knees to train on", path=run.dataset.root)
    judged = learned
    if held is not None and not hardware.rank:
        judged = batches.preload(held, run.recipe, threads=hardware.threads).to(hardware.device)

    def judge(net: KneeNet) -> dict[str, float]:
        return metrics(net, judged, run.recipe, hardware)

    return data(run, learned.to(hardware.device), None if held is None else judge)


def data(
    run: Run[Recipe], crops: Crops, metrics: Callable[[KneeNet], dict[str, float]] | None = None
) -> Data[KneeNet, Batch]:
    """Crops in the device's memory as epochs of augmented batches."""
    part = (run.hardware.rank, run.hardware.world)
    return Data(
        batches.steps_per_epoch(crops, run.recipe),
        lambda epoch: batches.training_batches(crops, run.recipe, seed=run.seed, epoch=epoch, part=part),
        metrics,
        images=len(crops),
    )


@torch.inference_mode()
def predict_logits(net: KneeNet, crops: Crops, recipe: Recipe, hardware: Hardware) -> dict[str, FloatArray]:
    """Logits of every crop by task, (N, classes), without test-time looks."""
    net.eval()
    collected: dict[str, list[Tensor]] = {task: [] for task in recipe.tasks}
    objectives = {task: losses.build(recipe.loss_of(task), recipe.classes_of(task)) for task in recipe.tasks}
    size = 16 if hardware.device.type == "cpu" else 64
    for batch in batches.evaluation_batches(crops, recipe, size=size):
        with hardware.autocast():
            raw = net(*hardware.place(batch.views))
        for task, objective in objectives.items():
            collected[task].append(objective.logits(raw[task].float()))
    return {task: torch.cat(values).cpu().double().numpy() for task, values in collected.items()}


def metrics(net: KneeNet, crops: Crops, recipe: Recipe, hardware: Hardware) -> dict[str, float]:
    """Metrics on the held-out fold, by which the epoch is chosen.

    `score` is the mean of accuracy and quadratic weighted kappa of the task with the largest weight.
    """
    logits = predict_logits(net, crops, recipe, hardware)
    values: dict[str, float] = {}
    for task in recipe.tasks:
        truth = crops.grades[task]
        read = truth != MISSING
        if not read.any():
            continue
        probabilities = softmax(logits[task][read])
        decided = decide(probabilities, recipe.decision.get(task, "argmax"))
        confusion = measures.confusion_matrix(truth[read], decided, TASKS[task].classes)
        values[f"{task}_accuracy"] = float(measures.accuracy(confusion))
        values[f"{task}_qwk"] = float(measures.qwk(confusion))
        if task == "KL":
            values["KL_accuracy_pm1"] = float(measures.accuracy_pm1(confusion))
            values["KL_nll"] = measures.nll(probabilities, truth[read])
    main = max(recipe.tasks, key=lambda task: recipe.tasks[task])
    score = (values.get(f"{main}_accuracy", 0.0) + values.get(f"{main}_qwk", 0.0)) / 2
    values["score"] = float(np.nan_to_num(score))  # kappa of a single grade is not a number
    return {name: round(value, 4) for name, value in values.items()}
