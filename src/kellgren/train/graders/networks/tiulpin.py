"""Tiulpin et al. 2018 (Sci Rep 8:1727): the Siamese network trained from scratch on two patches.

Layers as in the authors' published code; every convolution is 3 x 3 without padding, followed by batch
normalisation and ReLU. Per patch, with base width 64:

    patch                        1 x 128 x 128
    conv 64, stride 2           64 x  63 x  63
    conv 64                     64 x  61 x  61
    conv 64, max pool 2         64 x  59 x  59  ->  29 x 29
    conv 128                   128 x  27 x  27
    conv 128, max pool 2       128 x  25 x  25  ->  12 x 12
    conv 256                   256 x  10 x  10
    average pool 10            256

Both patches pass through the same six convolutions; their features are concatenated (512), and behind
dropout 0.2 one fully connected layer, the seventh, grades the knee. Published are three such networks from
three seeds, their outputs joined.
"""

from __future__ import annotations

from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train.documents import parse
from kellgren.train.graders.networks.siamese import Concatenation, SiameseNet
from kellgren.train.graders.recipe import Recipe, TiulpinOptions


class Branch(nn.Module):
    """Six convolutions in three blocks, (N, 1, h, w) -> (N, 4 width, h', w'); 128 pixels leave 10.

    Args:
        channels: Of the patch.
        width: Channels of the first block.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.block1 = nn.Sequential(
            *_convolution(channels, width, stride=2), *_convolution(width, width), *_convolution(width, width)
        )
        self.block2 = nn.Sequential(*_convolution(width, 2 * width), *_convolution(2 * width, 2 * width))
        self.block3 = nn.Sequential(*_convolution(2 * width, 4 * width))
        self.pool = nn.MaxPool2d(2)

    def forward(self, patch: Tensor) -> Tensor:
        """Feature maps; averaging them over positions is the paper's last pooling."""
        features: Tensor = self.block3(self.pool(self.block2(self.pool(self.block1(patch)))))
        return features


def _convolution(channels_in: int, channels: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels, 3, stride=stride),
        nn.BatchNorm2d(channels, eps=1e-3),
        nn.ReLU(inplace=True),
    )


def _start(module: nn.Module) -> None:
    """Uniform Kaiming start of every weight and zero biases, as published."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(recipe: Recipe, init: str | None) -> SiameseNet:
    """The network of a recipe with two views; there are no initial weights for it.

    Raises:
        BadRecipe: If initial weights are given.
    """
    if init is not None:
        raise BadRecipe("tiulpin starts from random weights", remedy="leave --init away")
    options = parse(TiulpinOptions, recipe.network.options, where="network.options")
    branch = Branch(next(iter(recipe.views.values())).channels, options.width)
    net = SiameseNet(recipe, branch, Concatenation(4 * options.width))
    net.apply(_start)
    return net
