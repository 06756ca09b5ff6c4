"""Antony et al. 2017 (MLDM, LNCS 10358:376): a small network from scratch, two losses at once.

Layers of the jointly trained network, as the authors wrote them again in 2019 (Gorriz, Antony et al., MIDL),
for a joint region of 200 x 300 pixels. Convolutions are padded, and batch normalisation and ReLU follow each:

    conv1     32, 11 x 11, stride 2        32 x 100 x 150
    max pool  3 x 3, stride 2              32 x  49 x  74
    conv2     64, 3 x 3, twice             64 x  49 x  74
    max pool  3 x 3, stride 2              64 x  24 x  36
    conv3     96, 3 x 3, twice             96 x  24 x  36
    max pool  3 x 3, stride 2              96 x  11 x  17
    conv4    128, 3 x 3, twice            128 x  11 x  17
    max pool  3 x 3, stride 2             128 x   5 x   8
    fc5      512, ReLU, dropout
    fc6      5 grades (softmax, cross-entropy) and 1 number (squared error)

Six layers by the paper's count of stages. The five logits and the number are one head of six outputs; the
loss `cross_entropy_mse` gives each its part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.model import steps
from kellgren.train.documents import parse
from kellgren.train.graders.networks.heads import Explained, KneeNet, Outputs, heads_of
from kellgren.train.graders.recipe import AntonyOptions, Recipe


class AntonyNet(KneeNet):
    """Four convolution stages, fc5, fc6.

    fc5 sees all positions at once and is not linear, so there are no class activation maps.

    Args:
        recipe: Gives tasks and dropout.
        options: Widths.
        channels: Of the input.
        size: Height and width of the input, pixels.
    """

    def __init__(self, recipe: Recipe, options: AntonyOptions, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.tasks = tuple(recipe.tasks)
        first, *others = options.widths
        stages = [*_convolution(channels, first, kernel=11, stride=2), nn.MaxPool2d(3, 2)]
        for before, width in zip(options.widths, others, strict=False):
            stages += [*_convolution(before, width), *_convolution(width, width), nn.MaxPool2d(3, 2)]
        self.stages = nn.Sequential(*stages)
        with torch.no_grad():
            positions = self.stages.eval()(torch.zeros(1, channels, *size)).flatten(1).shape[1]
        self.stages.train()
        self.fc5 = nn.Sequential(nn.Linear(positions, options.hidden), nn.ReLU())
        self.dropout = nn.Dropout(recipe.network.dropout)
        self.heads = heads_of(recipe, options.hidden)

    @property
    def backbones(self) -> tuple[nn.Module, ...]:
        """The convolutions."""
        return (self.stages,)

    def forward(self, *views: Tensor) -> Outputs:
        """Raw outputs, (N, outputs) a task, of one view (N, C, H, W)."""
        (x,) = views
        hidden = self.dropout(self.fc5(self.stages(x).flatten(1)))
        return {name: head(hidden) for name, head in self.heads.items()}

    def explain(self, *views: Tensor) -> Explained:
        """Raw outputs, no maps, and fc5's output (N, hidden)."""
        (x,) = views
        hidden = self.fc5(self.stages(x).flatten(1))
        return {task: self.heads[task](hidden) for task in self.tasks}, {}, hidden


def _convolution(channels_in: int, channels: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def build(recipe: Recipe, init: str | None) -> AntonyNet:
    """The network of a recipe with one view; there are no initial weights for it.

    Raises:
        BadRecipe: If initial weights are given, or the recipe has another number of views.
    """
    if init is not None:
        raise BadRecipe("antony starts from random weights", remedy="leave --init away")
    if len(recipe.views) != 1:
        raise BadRecipe(f"antony looks at one view, the recipe has {len(recipe.views)}")
    options = parse(AntonyOptions, recipe.network.options, where="network.options")
    (view,) = recipe.views.values()
    return AntonyNet(recipe, options, view.channels, steps.output_size((*view.prepare, *view.finish)))
