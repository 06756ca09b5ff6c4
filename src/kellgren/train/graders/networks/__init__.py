"""Networks: backbones from timm; fusions, attention and heads of the published systems and our own.

One module a network, each to be read beside its paper's figure. `KINDS` names them; a recipe's
`network.kind` chooses, and `network.options` sets what only that kind has. A network of your own is a
`KneeNet` and a function that builds it, which a recipe names `module:function`; `features`, `heads_of` and
`maps_of` are there to build it from.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Final

from torch import nn

from kellgren.errors import BadRecipe, nearest
from kellgren.train import folder
from kellgren.train.graders.networks import antony, dual_stream, multi_task, oa_men, tiulpin, wang
from kellgren.train.graders.networks.backbone import Features, features
from kellgren.train.graders.networks.heads import Explained, KneeNet, Outputs, heads_of, maps_of
from kellgren.train.graders.networks.initial import load_initial, load_trained, weights_file
from kellgren.train.graders.recipe import Recipe

__all__ = [
    "KINDS",
    "Constructor",
    "Explained",
    "Features",
    "KneeNet",
    "Outputs",
    "build",
    "count_parameters",
    "features",
    "heads_of",
    "load_initial",
    "load_trained",
    "maps_of",
    "weights_file",
]

log = logging.getLogger(__name__)

Constructor = Callable[[Recipe, str | None], KneeNet]
"""Builds a network from a recipe and initial weights, see `build`."""

KINDS: Final[dict[str, Constructor]] = {
    "multi_task": multi_task.build,
    "wang": wang.build,
    "tiulpin": tiulpin.build,
    "antony": antony.build,
    "oa_men": oa_men.build,
    "dual_stream": dual_stream.build,
}
"""Constructors by `network.kind`."""


def build(recipe: Recipe, *, init: str | None) -> KneeNet:
    """The network of a recipe.

    Args:
        recipe: Names kind, backbones, heads and frozen parts.
        init: Where backbones start from: `"hub"` downloads timm's ImageNet weights by name; a safetensors
            file, or a folder that holds `BACKBONE.safetensors` for each, is read offline; a run's folder, or
            its `best.pt`, continues from that network, heads included; None starts from random weights.

    Raises:
        BadRecipe: Unknown kind, backbone or option, views that do not fit the network, or initial weights
            that are absent or do not fit.
    """
    construct = _constructor(recipe.network.kind)
    trained = folder.trained(init)
    if trained is None:
        return construct(recipe, init)
    net = construct(recipe, None)
    fresh = load_trained(net, trained)
    if fresh:
        log.warning("%s: %d tensors start from random weights, first %s", trained, len(fresh), fresh[0])
    return net


def _constructor(kind: str) -> Constructor:
    """One of `KINDS`, or what `module:function` names."""
    if kind in KINDS:
        return KINDS[kind]
    module, _, function = kind.partition(":")
    if not function:
        raise BadRecipe(f"network.kind: no network {kind!r}", remedy=nearest(kind, tuple(KINDS)))
    try:
        constructor: Constructor = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise BadRecipe(
            f"network.kind: cannot import {module!r}: {error}", remedy="put its folder into PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise BadRecipe(f"network.kind: {module!r} has no {function!r}") from error
    return constructor


def count_parameters(net: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in net.parameters())
