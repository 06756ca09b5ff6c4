"""One backbone, one linear head per task: the whole joint as input, as most published systems have it.

x (N, C, H, W) -> backbone -> (N, D, h, w) -> mean over positions -> dropout -> a linear head per task
"""

from __future__ import annotations

from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train.documents import parse
from kellgren.train.graders.networks.backbone import Features, features
from kellgren.train.graders.networks.heads import Explained, KneeNet, Outputs, heads_of, maps_of
from kellgren.train.graders.recipe import BackboneOptions, Recipe


class MultiTaskNet(KneeNet):
    """Backbone -> global average pool -> dropout -> one linear head per task.

    Because the heads are linear on pooled features, the class activation map of a task (Zhou 2016),
    map_k = sum_c W_kc feature_c + b_k, is exact: its mean over positions is the logit.

    Args:
        recipe: Gives tasks, auxiliary questions and dropout.
        backbone: Maps (N, C, H, W) to (N, D, h, w).
    """

    def __init__(self, recipe: Recipe, backbone: Features) -> None:
        super().__init__()
        self.tasks = tuple(recipe.tasks)
        self.backbone = backbone
        self.dropout = nn.Dropout(recipe.network.dropout)
        self.heads = heads_of(recipe, backbone.width)

    @property
    def backbones(self) -> tuple[nn.Module, ...]:
        """The one."""
        return (self.backbone,)

    def forward(self, *views: Tensor) -> Outputs:
        """Raw outputs, (N, outputs) a task, of one view (N, C, H, W)."""
        (x,) = views
        pooled = self.dropout(self.backbone(x).mean(dim=(2, 3)))
        return {name: head(pooled) for name, head in self.heads.items()}

    def explain(self, *views: Tensor) -> Explained:
        """Raw outputs; maps (N, outputs, h, w), none behind VGG's hidden layers; pooled features (N, D)."""
        (x,) = views
        found = self.backbone(x)
        pooled = found.mean(dim=(2, 3))
        outputs = {task: self.heads[task](pooled) for task in self.tasks}
        return outputs, maps_of(self, found) if self.backbone.spatial else {}, pooled


def build(recipe: Recipe, init: str | None) -> MultiTaskNet:
    """The network of a recipe with one view; see `kellgren.train.graders.networks.build`."""
    options = parse(BackboneOptions, recipe.network.options, where="network.options")
    if len(recipe.views) != 1:
        raise BadRecipe(f"multi_task looks at one view, the recipe has {len(recipe.views)}")
    (view,) = recipe.views.values()
    net = recipe.network
    backbone = features(net.backbone, net, channels=view.channels, init=init, arguments=options.model)
    return MultiTaskNet(recipe, backbone)
