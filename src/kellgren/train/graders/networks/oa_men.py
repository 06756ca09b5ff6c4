"""OA-MEN 2024 (Front Bioeng Biotechnol), Fig. 3: ResNet with multi-scale feature fusion beside MobileNet.

The paper's text names the parts: a ResNet, "multi-scale feature fusion" within it that combines "the
high-level semantic expression capabilities of the upper network layers with the geometric information
representation of the lower layers" without losing "large feature maps", a MobileNet in parallel, fusion of
both, a fully connected layer. Depths, widths and wiring below are ours; a feature pyramid (Lin 2017) is the
plainest thing that the words describe.

    x -+- ResNet-50   stage 1  256 x 56 x 56 --1x1-- (+) --3x3-- mean --+
       |              stage 2  512 x 28 x 28 --1x1-- (+) --3x3-- mean --+
       |              stage 3 1024 x 14 x 14 --1x1-- (+) --3x3-- mean --+-- concatenate -- FC -- 5 grades
       |              stage 4 2048 x  7 x  7 --1x1------- --3x3-- mean --+
       |                        (+): the level below, enlarged twice     |
       +- MobileNet           1024 x  7 x  7 ------------------- mean --+
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kellgren.errors import BadRecipe
from kellgren.train.documents import parse
from kellgren.train.graders.networks.backbone import Features, features
from kellgren.train.graders.networks.heads import Explained, KneeNet, Outputs, heads_of, maps_of
from kellgren.train.graders.recipe import OaMenOptions, Recipe


class Pyramid(nn.Module):
    """Multi-scale feature fusion: deep meaning carried up to the large maps of the shallow stages.

        p_4 = L_4 c_4,    p_i = L_i c_i + enlarge(p_i+1),    answer_i = S_i p_i

    with L a 1 x 1 and S a 3 x 3 convolution.

    Args:
        widths: Channels of the stages, shallow to deep; each half as large as the one before.
        channels: Of every level of the pyramid.
    """

    def __init__(self, widths: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """Levels (N, channels, h_i, w_i), shallow to deep, of the stages' maps (N, widths_i, h_i, w_i)."""
        levels = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + functional.interpolate(levels[i + 1], scale_factor=2, mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class OaMen(KneeNet):
    """ResNet with its pyramid, MobileNet in parallel, everything concatenated, a linear head per task.

    Args:
        recipe: Gives tasks, auxiliary questions and dropout.
        resnet: With four stages at strides 4, 8, 16, 32.
        mobilenet: Maps (N, C, H, W) to (N, D, H / 32, W / 32); None leaves it out, for an ablation.
        pyramid: Channels of each level.
    """

    def __init__(self, recipe: Recipe, resnet: Features, mobilenet: Features | None, pyramid: int) -> None:
        super().__init__()
        self.tasks = tuple(recipe.tasks)
        self.resnet = resnet
        self.pyramid = Pyramid(resnet.stage_widths[-4:], pyramid)
        self.mobilenet = mobilenet
        self.dropout = nn.Dropout(recipe.network.dropout)
        self.heads = heads_of(recipe, 4 * pyramid + (mobilenet.width if mobilenet else 0))

    @property
    def backbones(self) -> tuple[nn.Module, ...]:
        """ResNet and MobileNet; the pyramid starts from random weights."""
        return (self.resnet, self.mobilenet) if self.mobilenet else (self.resnet,)

    def forward(self, *views: Tensor) -> Outputs:
        """Raw outputs, (N, outputs) a task, of one view (N, C, H, W)."""
        fused = self.dropout(torch.cat([level.mean(dim=(2, 3)) for level in self._levels(*views)], dim=1))
        return {name: head(fused) for name, head in self.heads.items()}

    def explain(self, *views: Tensor) -> Explained:
        """Raw outputs; maps (N, outputs, H / 32, W / 32), to which larger levels are averaged; fused."""
        levels = self._levels(*views)
        size = levels[-1].shape[2:]
        small = [
            functional.avg_pool2d(level, (level.shape[2] // size[0], level.shape[3] // size[1]))
            for level in levels
        ]
        together = torch.cat(small, dim=1)
        fused = together.mean(dim=(2, 3))
        return {task: self.heads[task](fused) for task in self.tasks}, maps_of(self, together), fused

    def _levels(self, *views: Tensor) -> list[Tensor]:
        (x,) = views
        if x.shape[2] % 32 or x.shape[3] % 32:
            raise BadRecipe(f"oa_men needs sides that 32 divides, not {x.shape[2]} x {x.shape[3]}")
        levels = self.pyramid(self.resnet.stages(x)[-4:])
        return [*levels, self.mobilenet(x)] if self.mobilenet else levels


def build(recipe: Recipe, init: str | None) -> OaMen:
    """The network of a recipe with one view; see `kellgren.train.graders.networks.build`."""
    options = parse(OaMenOptions, recipe.network.options, where="network.options")
    if len(recipe.views) != 1:
        raise BadRecipe(f"oa_men looks at one view, the recipe has {len(recipe.views)}")
    (view,) = recipe.views.values()
    net, channels = recipe.network, view.channels
    resnet = features(net.backbone, net, channels=channels, init=init, arguments=options.model)
    parallel = features(options.parallel, net, channels=channels, init=init) if options.parallel else None
    return OaMen(recipe, resnet, parallel, options.pyramid)
