"""From any trained network to an ONNX graph: folding, fp16 storage, tracing; and what a graph computes."""

from __future__ import annotations

import copy
import inspect
import logging
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

OPSET: Final = 18

INPUT: Final = "joint"
"""The input of a graph that has one, for networks that know no views."""

_SAME: Final = 1e-3
"""Largest relative change of an output by folding: far above rounding, far below a wrong network."""

Net = TypeVar("Net", bound=nn.Module)


def folded(net: Net, examples: Sequence[Tensor]) -> Net:
    """A copy of a network with normalisations folded into convolutions, if it then says the same.

    Where the output of a convolution is used besides being normalised, folding would change the network: such
    a network is returned as it is, and onnxruntime folds what it can.

    Args:
        net: In evaluation mode.
        examples: Its inputs.
    """
    changed = copy.deepcopy(net)
    fold_normalisation(changed, *examples)
    with torch.inference_mode():
        before, after = _flat(net(*examples)), _flat(changed(*examples))
    scale = max(float(values.abs().max()) for values in before) or 1.0
    same = all(float((a - b).abs().max()) <= _SAME * scale for a, b in zip(before, after, strict=True))
    return changed if same else copy.deepcopy(net)


def _flat(outputs: object) -> list[Tensor]:
    """The tensors in what a network returns: one, several, or several by name."""
    if isinstance(outputs, Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, Mapping) else cast("Iterable[object]", outputs)
    return [tensor for part in parts for tensor in _flat(part)]


def fold_normalisation(net: nn.Module, *examples: Tensor) -> int:
    """Fold every batch normalisation into the convolution that feeds it, in place.

    For inference y = gamma (conv(x) - mean) / sqrt(var + eps) + beta is a convolution itself. Doing this
    before weights are rounded makes the network that is measured and the graph that is shipped the same.

    Args:
        net: In evaluation mode; works for any network of `Conv2d` and `BatchNorm2d` modules, each used any
            number of times, in which each convolution feeds one normalisation and nothing else.
        examples: Its inputs, to see which convolution feeds which normalisation.

    Returns:
        Number of normalisations folded.
    """
    produced: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    feeds: dict[nn.Conv2d, set[nn.BatchNorm2d]] = {}
    fed_by: dict[nn.BatchNorm2d, set[nn.Conv2d | None]] = {}

    def after_convolution(module: nn.Module, _: object, output: Tensor) -> None:
        produced[id(output)] = (cast("nn.Conv2d", module), output)  # holding the tensor keeps its id its own

    def before_normalisation(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        normalisation = cast("nn.BatchNorm2d", module)
        convolution = produced[id(inputs[0])][0] if id(inputs[0]) in produced else None
        fed_by.setdefault(normalisation, set()).add(convolution)
        if convolution is not None:
            feeds.setdefault(convolution, set()).add(normalisation)

    hooks = [m.register_forward_hook(after_convolution) for m in net.modules() if isinstance(m, nn.Conv2d)]
    hooks += [
        m.register_forward_pre_hook(before_normalisation)
        for m in net.modules()
        if isinstance(m, nn.BatchNorm2d)
    ]
    try:
        with torch.no_grad():
            net(*examples)
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in net.named_modules()}
    count = 0
    for convolution, normalisations in feeds.items():
        (normalisation, *others) = normalisations
        if others or fed_by[normalisation] != {convolution}:
            continue
        fused = fuse_conv_bn_eval(convolution, normalisation)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        rest = [
            m for name, m in normalisation.named_children() if name in ("drop", "act")
        ]  # timm's BatchNormAct2d
        parent, _, child = names[normalisation].rpartition(".")
        setattr(net.get_submodule(parent), child, nn.Sequential(*rest))
        count += 1
    return count


def round_weights(net: nn.Module) -> None:
    """Round weight matrices and kernels to the nearest fp16 value in place: what the graph will store.

    Biases keep fp32: they are small.
    """
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())


def traced(
    net: nn.Module,
    examples: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    free: dict[int, Any],
) -> onnx.ModelProto:
    """Any network as an ONNX graph.

    Args:
        net: The network.
        examples: Its inputs.
        inputs: What the graph calls them.
        outputs: What the graph calls the outputs, in order.
        free: Dimensions that may differ from the examples', as `torch.export.Dim`, the same for all inputs.

    Returns:
        The graph, without the exporter's traces; weights that are exact in fp16 are stored so and cast when
        loaded.
    """
    shapes = tuple(free for _ in examples)
    several = any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(net.forward).parameters.values())
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            program = torch.onnx.export(
                net.eval(),
                tuple(examples),
                dynamo=True,
                optimize=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(shapes,) if several else shapes,
            )
    finally:
        quiet.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _store_as_fp16(model)
    _drop_traces(model)
    onnx.checker.check_model(model)
    return model


def _store_as_fp16(model: onnx.ModelProto) -> None:
    """Replace initializers that are exact in fp16 by fp16 ones with a cast in front of their users."""
    graph = model.graph
    casts = []
    for initializer in graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or len(initializer.dims) < 2:
            continue
        values = numpy_helper.to_array(initializer)
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(half, f"{name}_fp16"))
        casts.append(
            helper.make_node("Cast", [f"{name}_fp16"], [name], name=f"cast_{name}", to=TensorProto.FLOAT)
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's stack traces and value notes: they name files of the machine that trained."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]


def operations(content: bytes) -> int:
    """MACs of a graph for one knee: of convolutions and matrix products, all that counts in these networks.

    Args:
        content: Of `model.onnx`, with inputs (N, C, H, W) of known size.
    """
    model = onnx.load_model_from_string(content)
    for given in model.graph.input:
        given.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            summed = math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            across = any(given.name == "transA" and given.i for given in node.attribute)
            summed = shapes[node.input[0]][0 if across else -1]
        else:
            continue
        total += math.prod(shapes[node.output[0]]) * summed
    return total
