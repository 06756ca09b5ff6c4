"""Feature maps of ImageNet networks: from timm by name, parts of them frozen."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, cast

import timm
import torchvision
from timm.models.vgg import VGG
from torch import Tensor, nn

from kellgren.errors import BadRecipe, closest, nearest
from kellgren.train.documents import Document
from kellgren.train.graders.networks.initial import load_initial, weights_file
from kellgren.train.graders.recipe import Network

TORCHVISION: Final = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0")
"""Backbones that timm lacks and torchvision has."""


class Features(nn.Module):
    """A model's last feature maps, (N, C, H, W) -> (N, D, h, w), part of it frozen.

    Args:
        model: A timm model, or another with `forward_features` and `num_features`. VGG's two hidden fully
            connected layers belong to the features; timm writes them as convolutions over 7 x 7 positions.
        freeze: Prefixes of parameter names that are not trained; batch statistics there are kept too.

    Attributes:
        width: D.
        spatial: Whether positions of the maps are places in the image; not so behind VGG's hidden layers.
    """

    def __init__(self, model: nn.Module, freeze: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.model = model
        self.freeze = freeze
        self.spatial = not isinstance(model, VGG)
        self.width = cast("int", model.num_features if self.spatial else model.head_hidden_size)
        names = dict(model.named_modules())
        for prefix in freeze:
            if prefix not in names:
                raise BadRecipe(
                    f"network.freeze: the backbone has no part {prefix!r}",
                    remedy=nearest(prefix, tuple(names)),
                )
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
        """Feature maps, (N, C, H, W) -> (N, D, h, w)."""
        features: Tensor = self.model.forward_features(x)  # type: ignore[operator]
        return features if self.spatial else self.model.pre_logits(features)  # type: ignore[operator]

    @property
    def stage_widths(self) -> list[int]:
        """Channels of the model's stages, shallow to deep."""
        return [stage["num_chs"] for stage in cast("Any", self.model.feature_info)]

    def stages(self, x: Tensor) -> list[Tensor]:
        """Feature maps after each stage, shallow to deep, (N, D_i, h_i, w_i)."""
        maps: list[Tensor] = self.model.forward_intermediates(x, intermediates_only=True)  # type: ignore[operator]
        return maps


def features(
    name: str, network: Network, *, channels: int, init: str | None, arguments: Document | None = None
) -> Features:
    """A backbone by name, started and frozen as the recipe says.

    Args:
        name: Of timm, or one of `TORCHVISION`.
        network: Gives `freeze` and `drop_path`.
        channels: C of its input.
        init: See `kellgren.train.graders.networks.build`.
        arguments: Further arguments of the model's constructor in timm, such as a narrower `growth_rate`.

    Raises:
        BadRecipe: Unknown name or argument, or initial weights that are absent or do not fit.
    """
    pretrained = init == "hub"
    if name in TORCHVISION:
        model: nn.Module = _Trunk(name, channels, pretrained=pretrained)
    elif timm.is_model(name):
        given: Any = dict(arguments or {})  # what timm's many constructors take has no one type
        if network.drop_path:
            given["drop_path_rate"] = network.drop_path
        try:
            model = timm.create_model(
                name, pretrained=pretrained, in_chans=channels, num_classes=0, global_pool="", **given
            )
        except TypeError as error:
            raise BadRecipe(f"backbone {name!r}: {error}") from error
    else:
        known = (*timm.list_models(), *TORCHVISION)
        raise BadRecipe(f"network.backbone: timm has no model {name!r}", remedy=_likely(name, known))
    if init is not None and not pretrained:
        load_initial(model, weights_file(init, name))
    return Features(model, network.freeze)


def _likely(name: str, known: tuple[str, ...]) -> str:
    likely = closest(name, known)
    return f"did you mean {likely!r}?" if likely else "timm.list_models() lists the known ones"


class _Trunk(nn.Sequential):
    """A torchvision ShuffleNetV2 without its classifier, under its own parameter names."""

    def __init__(self, name: str, channels: int, *, pretrained: bool) -> None:
        model = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None)
        model.conv1[0] = with_channels(model.conv1[0], channels)
        super().__init__(OrderedDict(list(model.named_children())[:-1]))
        self.num_features = model.fc.in_features

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H / 32, W / 32)."""
        features: Tensor = self(x)
        return features


def with_channels(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    """The same convolution for 1 channel, with the weights of the three summed; as it is for 3."""
    if convolution.in_channels == channels:
        return convolution
    single = nn.Conv2d(
        channels,
        convolution.out_channels,
        kernel_size=cast("tuple[int, int]", convolution.kernel_size),
        stride=cast("tuple[int, int]", convolution.stride),
        padding=cast("tuple[int, int]", convolution.padding),
        bias=False,
    )
    single.weight.data = convolution.weight.data.sum(dim=1, keepdim=True)
    return single
