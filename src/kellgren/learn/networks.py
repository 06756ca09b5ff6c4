"""Networks: backbones from timm, heads and fusions of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.learn.recipe import Recipe
from kellgren.vocabulary import TASKS


class MultiTaskNet(nn.Module):
    """Backbone -> global average pool -> dropout -> one linear head a task.

    Because the heads are linear on pooled features, the class activation map of a task (Zhou 2016),
    map_k = sum_c W_kc feature_c + b_k, is exact: its mean over positions is the logit.

    Args:
        backbone: Maps (N, 1, H, W) to (N, D, h, w).
        width: D.
        tasks: Classes by task name.
        dropout: Probability before the heads.
    """

    def __init__(self, backbone: nn.Module, width: int, tasks: Mapping[str, int], dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({task: nn.Linear(width, classes) for task, classes in tasks.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits by task, (N, C_task)."""
        pooled = self.dropout(self.backbone(x).mean(dim=(2, 3)))
        return {task: head(pooled) for task, head in self.heads.items()}

    def explain(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Logits (N, C), maps (N, C, h, w) whose mean over (h, w) is the logit, and embedding (N, D)."""
        features = self.backbone(x)
        pooled = features.mean(dim=(2, 3))
        logits = {task: head(pooled) for task, head in self.heads.items()}
        maps = {task: _per_position(features, head) for task, head in self.heads.items()}
        return logits, maps, pooled


def _per_position(features: Tensor, head: nn.Module) -> Tensor:
    """The head applied at every position: (N, D, h, w) -> (N, C, h, w)."""
    assert isinstance(head, nn.Linear)  # noqa: S101 - for the type checker; heads are built above
    return nn.functional.conv2d(features, head.weight[:, :, None, None], head.bias)


class Features(nn.Module):
    """A timm model's feature maps, (N, 1, H, W) -> (N, D, h, w), part of it frozen.

    Args:
        model: A timm model.
        freeze: Prefixes of parameter names that are not trained; batch statistics there are kept too.
    """

    def __init__(self, model: nn.Module, freeze: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.model = model
        self.freeze = freeze
        names = dict(model.named_modules())
        for prefix in freeze:
            if prefix not in names:
                raise BadRecipe(f"network.freeze: the backbone has no part {prefix!r}")
        for name, parameter in model.named_parameters():
            if name.startswith(tuple(f"{prefix}." for prefix in freeze)):
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Features:
        """Training mode, except for the frozen parts."""
        super().train(mode)
        for prefix in self.freeze:
            self.model.get_submodule(prefix).eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps."""
        features: Tensor = self.model.forward_features(x)  # type: ignore[operator]
        return features


def build(recipe: Recipe, *, init: str | None) -> MultiTaskNet:
    """The network of a recipe.

    Args:
        recipe: Names backbone, heads and frozen parts.
        init: `"hub"` downloads timm's weights by name; a safetensors file, or a folder that holds
            `BACKBONE.safetensors`, is read offline; None starts from random weights.

    Raises:
        BadRecipe: Unknown backbone or kind, or initial weights that do not fit.
    """
    net = recipe.network
    if net.kind != "multi_task":
        raise BadRecipe(f"network.kind {net.kind!r} is not known", remedy="use multi_task")
    if not timm.is_model(net.backbone):
        raise BadRecipe(f"network.backbone: timm has no model {net.backbone!r}")
    backbone = timm.create_model(
        net.backbone,
        pretrained=init == "hub",
        in_chans=1,
        num_classes=0,
        global_pool="",
        drop_path_rate=net.drop_path,
    )
    if init is not None and init != "hub":
        load_initial(backbone, weights_file(Path(init), net.backbone))
    tasks = {task: TASKS[task].classes for task in recipe.tasks}
    return MultiTaskNet(
        Features(backbone, net.freeze), cast("int", backbone.num_features), tasks, net.dropout
    )


def weights_file(init: Path, backbone: str) -> Path:
    """The safetensors file that `--init` means: itself, or the backbone's in a folder.

    Raises:
        BadRecipe: If there is none.
    """
    path = init / f"{backbone}.safetensors" if init.is_dir() else init
    if not path.is_file():
        raise BadRecipe(
            "no initial weights there",
            path=path,
            remedy="give a safetensors file, a folder of them, or 'hub'",
        )
    return path


def load_initial(backbone: nn.Module, path: Path) -> None:
    """Load ImageNet weights in timm's names; a 3-channel first convolution is summed to one channel.

    Summing is exact for a grey image repeated in three channels. Absent tensors keep their random
    start; tensors that do not fit are an error.

    Raises:
        BadRecipe: If shapes differ or nothing matches.
    """
    stored = {name: tensor.float() for name, tensor in load_file(path).items()}
    own = backbone.state_dict()
    for name, tensor in stored.items():
        if name in own and tensor.ndim == 4 and tensor.shape[1] == 3 and own[name].shape[1] == 1:
            stored[name] = tensor.sum(dim=1, keepdim=True)
    matching = {name: tensor for name, tensor in stored.items() if name in own}
    wrong = [name for name, tensor in matching.items() if tensor.shape != own[name].shape]
    if wrong or not matching:
        raise BadRecipe(
            f"initial weights do not fit this backbone (first: {(wrong or ['none match'])[0]})", path=path
        )
    backbone.load_state_dict(matching, strict=False)


def parameter_groups(
    net: nn.Module, *, lr: float, head_lr: float, weight_decay: float
) -> list[dict[str, object]]:
    """AdamW groups: heads learn faster; biases and normalisation are not decayed."""
    groups: list[dict[str, object]] = []
    for head in (False, True):
        for decayed in (False, True):
            chosen = [
                p
                for name, p in net.named_parameters()
                if p.requires_grad and name.startswith("heads.") == head and (p.ndim > 1) == decayed
            ]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "lr": head_lr if head else lr,
                        "weight_decay": weight_decay if decayed else 0.0,
                    }
                )
    return groups


def count_parameters(net: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(p.numel() for p in net.parameters())
