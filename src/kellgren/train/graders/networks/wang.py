"""Wang et al. 2021 (Sci Rep 11:16833), Fig. 2: Siamese SE-ResNeXt50-32x4d with adaptive gated fusion.

    left patch   --- SE-ResNeXt50-32x4d --- f_left  --+
                       shared weights                 +-- g f_left + (1 - g) f_right --- eight FC heads
    right patch, --- SE-ResNeXt50-32x4d --- f_right --+
    mirrored

Full size: patches (N, 1, 240, 224) -> feature maps (N, 2048, 8, 7) -> f_left, f_right (N, 2048).
Dropout 0.5 stands before each FC layer. The ablation's rows are recipes: `wang-baseline` (whole joint, seven
tasks), `wang-siamese` (patches without a gate), `wang-siamese-oa` (with the OA task) and `wang` (with the
gate); `wang-whole` is the ensemble's other member.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train.documents import parse
from kellgren.train.graders.networks.backbone import features
from kellgren.train.graders.networks.siamese import Concatenation, Fusion, Mean, SiameseNet
from kellgren.train.graders.recipe import Recipe, WangOptions


class GatedFusion(Fusion):
    """Adaptive gated feature fusion, equation 6.

        g = sigmoid(W_g (f_left ++ f_right)),    f = g f_left + (1 - g) f_right

    Args:
        width: D, the length of f_left, f_right and f.
        gates: Length of g: D, or 1.
    """

    def __init__(self, width: int, gates: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Linear(2 * width, gates, bias=False)

    def gate(self, left: Tensor, right: Tensor) -> Tensor:
        """The left patch's weight g (N, gates), of f_left and f_right (N, D)."""
        return torch.sigmoid(self.weight(torch.cat([left, right], dim=1)))

    def contributions(
        self, pooled: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The terms g f_left and (1 - g) f_right."""
        left, right = features
        g = self.gate(*pooled)
        g = g[:, :, None, None] if left.ndim == 4 else g
        return g * left, (1 - g) * right


def build(recipe: Recipe, init: str | None) -> SiameseNet:
    """The network of a recipe with two views; see `kellgren.train.graders.networks.build`."""
    options = parse(WangOptions, recipe.network.options, where="network.options")
    net = recipe.network
    channels = {view.channels for view in recipe.views.values()}
    if len(channels) != 1:
        raise BadRecipe("views: both patches pass through one backbone and have the same channels")
    backbone = features(net.backbone, net, channels=channels.pop(), init=init, arguments=options.model)
    if not backbone.spatial:
        raise BadRecipe(f"network.backbone: {net.backbone!r} has hidden layers behind its feature maps")
    fusions: dict[str, Fusion] = {
        "gate": GatedFusion(backbone.width, backbone.width if options.gates == "feature" else 1),
        "concatenate": Concatenation(backbone.width),
        "mean": Mean(backbone.width),
    }
    return SiameseNet(recipe, backbone, fusions[options.fusion])
