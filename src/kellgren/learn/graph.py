"""From a trained network to `model.onnx`: folding, fp16 storage, export, proof of parity."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kellgren.learn.networks import MultiTaskNet

OPSET = 18
INPUT = "joint"


class _Outputs(nn.Module):
    """The network as a graph: logits and maps by task in order, then the embedding."""

    def __init__(self, net: MultiTaskNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        logits, maps, embedding = self.net.explain(x)
        return (*logits.values(), *maps.values(), embedding)


def fold_normalisation(net: nn.Module, example: Tensor) -> int:
    """Fold every batch normalisation into the convolution that feeds it, in place.

    For inference y = gamma (conv(x) - mean) / sqrt(var + eps) + beta is a convolution itself. Doing this
    before weights are rounded makes the network that is measured and the graph that is shipped the same.

    Args:
        net: In evaluation mode; works for any network of `Conv2d` and `BatchNorm2d` modules.
        example: An input, to see which convolution feeds which normalisation.

    Returns:
        Number of normalisations folded.
    """
    produced: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Module, _: object, output: Tensor) -> None:
        produced[id(output)] = (cast("nn.Conv2d", module), output)  # holding the tensor keeps its id its own

    def before_normalisation(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in produced:
            pairs.append((produced[id(inputs[0])][0], cast("nn.BatchNorm2d", module)))

    hooks = [m.register_forward_hook(after_convolution) for m in net.modules() if isinstance(m, nn.Conv2d)]
    hooks += [
        m.register_forward_pre_hook(before_normalisation)
        for m in net.modules()
        if isinstance(m, nn.BatchNorm2d)
    ]
    try:
        with torch.no_grad():
            net(example)
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in net.named_modules()}
    for convolution, normalisation in pairs:
        fused = fuse_conv_bn_eval(convolution, normalisation)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        rest = [
            m for name, m in normalisation.named_children() if name in ("drop", "act")
        ]  # timm's BatchNormAct2d
        parent, _, child = names[normalisation].rpartition(".")
        setattr(net.get_submodule(parent), child, nn.Sequential(*rest))
    return len(pairs)


def round_weights(net: nn.Module) -> None:
    """Round weight matrices and kernels to the nearest fp16 value in place: what the graph will store.

    Biases keep fp32: they are small.
    """
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())


def export(net: MultiTaskNet, size: tuple[int, int], path: Path) -> None:
    """Write the graph.

    Args:
        net: Network after `fold_normalisation` and `round_weights`.
        size: (height, width) of its input.
        path: Where to; overwritten. Outputs are `logits_TASK`, `maps_TASK` and `embedding`; the batch
            dimension is free. Weights that are exact in fp16 are stored so and cast when loaded.
    """
    tasks = list(net.heads)
    names = [*(f"logits_{t}" for t in tasks), *(f"maps_{t}" for t in tasks), "embedding"]
    free = {0: torch.export.Dim("n")}
    model = traced(_Outputs(net), torch.zeros(2, 1, *size), INPUT, names, free)
    path.write_bytes(model.SerializeToString())


def traced(
    net: nn.Module, example: Tensor, input_name: str, outputs: list[str], free: dict[int, Any]
) -> onnx.ModelProto:
    """Any network of one input as an ONNX graph.

    Args:
        net: The network.
        example: An input.
        input_name: What the graph calls it.
        outputs: What the graph calls the outputs, in order.
        free: Dimensions of the input that may differ from the example's, as `torch.export.Dim`.

    Returns:
        The graph, without the exporter's traces; weights that are exact in fp16 are stored so and cast when
        loaded.
    """
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            program = torch.onnx.export(
                net.eval(),
                (example,),
                dynamo=True,
                optimize=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=outputs,
                dynamic_shapes=(free,),
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


def largest_difference(net: MultiTaskNet, path: Path, images: Tensor) -> float:
    """Largest difference in any task's probability between torch and onnxruntime.

    Args:
        net: The network with the same rounded weights.
        path: The graph.
        images: (N, 1, h, w).
    """
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    with torch.inference_mode():
        for chunk in torch.split(images, 16):
            logits = net.eval()(chunk)
            graph = session.run([f"logits_{task}" for task in logits], {INPUT: chunk.numpy()})
            for values, other in zip(logits.values(), graph, strict=True):
                difference = values.softmax(1) - torch.from_numpy(other).softmax(1)
                largest = max(largest, float(difference.abs().max()))
    return largest
