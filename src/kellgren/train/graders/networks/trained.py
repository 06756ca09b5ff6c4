"""Going on from a trained network: with another schedule, other data, or other tasks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kellgren.errors import BadRecipe
from kellgren.train.graders.networks.heads import KneeNet


def read(path: Path) -> dict[str, Any]:
    """A run's `best.pt`: `model`, the network's tensors by name, and `epoch`, counted from 1.

    Raises:
        BadRecipe: If the file is none of ours.
    """
    try:
        stored: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return {"model": dict(stored["model"]), "epoch": int(stored["epoch"])}
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise BadRecipe(f"no weights of a trained network: {error}", path=path) from error


def load_trained(net: KneeNet, path: Path) -> tuple[str, ...]:
    """Load the weights of a trained network of the same kind.

    Backbones must fit whole. Of the heads, and of what lies between, tensors that are new or have another
    shape keep their random start: other tasks may be asked for.

    Args:
        net: The network with random weights.
        path: A run's `best.pt`.

    Returns:
        Names of the tensors that keep their random start.

    Raises:
        BadRecipe: If the file is none of ours, or a backbone differs.
    """
    stored: dict[str, Tensor] = read(path)["model"]
    own = net.state_dict()
    fitting = {
        name: tensor for name, tensor in stored.items() if name in own and tensor.shape == own[name].shape
    }
    fresh = tuple(name for name in own if name not in fitting)
    backbones = tuple(f"{name}." for name, module in net.named_modules() if module in net.backbones)
    wrong = [name for name in fresh if name.startswith(backbones)]
    if wrong or not fitting:
        raise BadRecipe(
            f"the trained network has another backbone (first difference: {(wrong or fresh)[0]})",
            path=path,
            remedy="go on with the recipe that it was trained by, or change its heads alone",
        )
    net.load_state_dict(fitting, strict=False)
    return fresh
