"""Predicting while training: what a network answers on held-out knees, and metrics of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kellgren.evaluate import metrics as measures
from kellgren.model.calibrators import softmax
from kellgren.model.decision import decide
from kellgren.train.graders import batches, losses
from kellgren.train.graders.networks import KneeNet
from kellgren.train.graders.recipe import Recipe
from kellgren.train.hardware import Hardware
from kellgren.vocabulary import MISSING, TASKS


@torch.inference_mode()
def predict_logits(
    net: KneeNet, crops: batches.Crops, recipe: Recipe, hardware: Hardware
) -> dict[str, npt.NDArray[np.float64]]:
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


def metrics(net: KneeNet, crops: batches.Crops, recipe: Recipe, hardware: Hardware) -> dict[str, float]:
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
