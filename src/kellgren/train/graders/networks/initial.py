"""Where a network starts from: ImageNet weights of its backbones, or a trained network of the same kind."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from kellgren.errors import BadRecipe
from kellgren.train import checkpoint
from kellgren.train.graders.networks.heads import KneeNet


def weights_file(init: Path | str, backbone: str) -> Path:
    """The safetensors file that `--init` means: itself, or the backbone's in a folder.

    Args:
        init: File, or folder of `BACKBONE.safetensors`.
        backbone: A name as in timm; a tag behind a dot (`resnet101.tv_in1k`) does not count.

    Raises:
        BadRecipe: If there is none.
    """
    path = Path(init)
    if os.path.isdir(path):  # noqa: PTH112 - a name that cannot be is not a folder, instead of an OSError
        path = path / f"{backbone.partition('.')[0]}.safetensors"
    if not os.path.isfile(path):  # noqa: PTH113
        raise BadRecipe(
            "no initial weights there",
            path=path,
            remedy="give a safetensors file, a folder of them, or 'hub'",
        )
    return path


def load_initial(backbone: nn.Module, path: Path) -> None:
    """Load ImageNet weights in timm's names; a 3-channel first convolution is summed to one channel.

    Absent tensors keep their random start.

    Raises:
        BadRecipe: See `checkpoint.load_initial`.
    """
    backbone.load_state_dict(checkpoint.load_initial(path, backbone.state_dict()), strict=False)


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
        BadRecipe: See `checkpoint.load_weights`; also if a backbone differs.
    """
    stored, _ = checkpoint.load_weights(path)
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
