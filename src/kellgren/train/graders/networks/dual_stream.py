"""Dual-stream ResNet-18 with cross-attention (Huong et al.), Fig. 4.

    raw   --- ResNet-18 --- 512 x 7 x 7 --- attends to CLAHE's --- mean --- F_raw ---+
              shared weights                                                         +-- fusion -- heads
    CLAHE --- ResNet-18 --- 512 x 7 x 7 --- attends to raw's ----- mean --- F_clahe -+

Heads: the grade (five classes), and two auxiliary ones on KL 0-1-2 that only training has (the recipe's
`auxiliary`; the readings of other knees are masked). The text gives the parts and F_fused's equation; the
form of the attention (scaled dot products over the 49 positions, heads, a residual connection with layer
normalisation) and the size of the small MLP are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kellgren.errors import BadRecipe
from kellgren.train.documents import parse
from kellgren.train.graders.networks.backbone import Features, features
from kellgren.train.graders.networks.heads import Explained, KneeNet, Outputs, heads_of, maps_of
from kellgren.train.graders.recipe import DualStreamOptions, Recipe


class CrossAttention(nn.Module):
    """One stream looks at the other: LayerNorm(own + W_o softmax(Q K^T / sqrt(d)) V).

    Q comes from the own positions, K and V from the other stream's (Vaswani 2017, equation 1, with heads).

    Args:
        width: D.
        heads: Number of heads; divides D.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def weights(self, own: Tensor, other: Tensor) -> Tensor:
        """How much each own position takes from each of the other's, (N, heads, P, P'); rows sum to 1."""
        query, key = self._split(self.query(own)), self._split(self.key(other))
        scores: Tensor = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return scores.softmax(dim=-1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Refined positions (N, P, D) of own (N, P, D) and other (N, P', D)."""
        taken = self.weights(own, other) @ self._split(self.value(other))
        joined = taken.transpose(1, 2).flatten(2)
        refined: Tensor = self.norm(own + self.out(joined))
        return refined

    def _split(self, positions: Tensor) -> Tensor:
        """(N, P, D) -> (N, heads, P, D / heads)."""
        count, places, width = positions.shape
        return positions.reshape(count, places, self.heads, width // self.heads).transpose(1, 2)


class AttentionFusion(nn.Module):
    """F_fused = w_raw F_raw + w_clahe F_clahe with w_raw + w_clahe = 1, by a softmax of a small MLP.

    Args:
        width: D.
        hidden: Width of the MLP's hidden layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, raw: Tensor, clahe: Tensor) -> Tensor:
        """(N, 2): w_raw and w_clahe, of F_raw and F_clahe (N, D)."""
        weights: Tensor = self.mlp(torch.cat([raw, clahe], dim=1)).softmax(dim=1)
        return weights


class DualStream(KneeNet):
    """Two streams through one backbone, attention between them, attention fusion, linear heads.

    Args:
        recipe: Gives tasks, auxiliary questions and dropout; has two views: raw, CLAHE.
        backbone: Of both streams.
        options: See there.
    """

    def __init__(self, recipe: Recipe, backbone: Features, options: DualStreamOptions) -> None:
        super().__init__()
        width = backbone.width
        if width % options.heads:
            raise BadRecipe(f"network.options.heads: {options.heads} does not divide {width} features")
        self.tasks = tuple(recipe.tasks)
        self.backbone = backbone
        self.attention = options.attention
        if options.attention:
            self.raw_attends = CrossAttention(width, options.heads)
            self.clahe_attends = CrossAttention(width, options.heads)
            self.fusion = AttentionFusion(width, options.hidden)
        self.dropout = nn.Dropout(recipe.network.dropout)
        self.heads = heads_of(recipe, width)

    @property
    def backbones(self) -> tuple[nn.Module, ...]:
        """The one that both streams share."""
        return (self.backbone,)

    def forward(self, *views: Tensor) -> Outputs:
        """Raw outputs, (N, outputs) a head, of the raw image and its CLAHE twin, (N, C, H, W) each."""
        fused = self.dropout(self._fused_maps(*views).mean(dim=(2, 3)))
        return {name: head(fused) for name, head in self.heads.items()}

    def explain(self, *views: Tensor) -> Explained:
        """Raw outputs; maps (N, outputs, h, w) over what attention left at each position; F_fused (N, D)."""
        maps = self._fused_maps(*views)
        fused = maps.mean(dim=(2, 3))
        return {task: self.heads[task](fused) for task in self.tasks}, maps_of(self, maps), fused

    def _fused_maps(self, *views: Tensor) -> Tensor:
        """w_raw A_raw + w_clahe A_clahe, (N, D, h, w), whose mean over positions is F_fused."""
        if self.training:
            # One batch for both: batch normalisation then uses the same mixture here as in evaluation. Stream
            # by stream, it would normalise each by its own statistics first, and by neither's later.
            raw, clahe = self.backbone(torch.cat(views)).chunk(2)
        else:
            raw, clahe = (self.backbone(view) for view in views)
        if not self.attention:
            average: Tensor = (raw + clahe) / 2
            return average
        count, width, *size = raw.shape
        raw, clahe = (stream.flatten(2).transpose(1, 2) for stream in (raw, clahe))  # (N, P, D)
        raw, clahe = self.raw_attends(raw, clahe), self.clahe_attends(clahe, raw)
        weights = self.fusion(raw.mean(dim=1), clahe.mean(dim=1))
        fused: Tensor = weights[:, 0, None, None] * raw + weights[:, 1, None, None] * clahe
        return fused.transpose(1, 2).reshape(count, width, *size)


def build(recipe: Recipe, init: str | None) -> DualStream:
    """The network of a recipe with two views; see `kellgren.train.graders.networks.build`."""
    options = parse(DualStreamOptions, recipe.network.options, where="network.options")
    if len(recipe.views) != 2:
        raise BadRecipe(
            f"dual_stream looks at two views, the recipe has {len(recipe.views)}",
            remedy="a single stream is the network multi_task",
        )
    net = recipe.network
    channels = {view.channels for view in recipe.views.values()}
    if len(channels) != 1:
        raise BadRecipe("views: both streams pass through one backbone and have the same channels")
    backbone = features(net.backbone, net, channels=channels.pop(), init=init, arguments=options.model)
    return DualStream(recipe, backbone, options)
