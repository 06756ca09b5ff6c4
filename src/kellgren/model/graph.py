"""What an ONNX file holds, checked before onnxruntime sees it by a walk over the protobuf.

onnxruntime trusts its graphs: a loop may never end, an attribute of zero divides by it and ends the process,
a small file may ask for terabytes. Operators are therefore listed by name, attributes and sizes have bounds,
and weights lie in the file itself. Field numbers are those of `onnx.proto` (onnx 1.17).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kellgren.errors import BadBundle

_OPERATORS: Final = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Celu Clip Concat Constant Conv
    ConvInteger ConvTranspose CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear
    Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul
    MatMulInteger Max MaxPool Mean Min Mish Mul Neg Not Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize Round Selu Shape Sigmoid Sign Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where
"""
OPERATORS: Final = frozenset(_OPERATORS.split())
"""Operators of ONNX's own domain that a graph may use: none that loops, branches or draws numbers."""

LARGEST: Final = 1 << 29
"""Most bytes of a graph: 512 MiB, twice the largest of the recipes."""

_MOST_FIELDS: Final = 1_000_000
_MOST_NODES: Final = 20_000
_MOST_ELEMENTS: Final = 1 << 26
_MOST_SIZE: Final = 1 << 16
_MOST_DIMENSIONS: Final = 8
_POSITIVE: Final = frozenset(
    ("strides", "dilations", "group", "kernel_shape", "blocksize", "num_groups", "num_outputs", "block_size")
)
_NOT_NEGATIVE: Final = frozenset(("pads", "output_padding", "output_shape"))
_MOST_ATTRIBUTE: Final = 4096
_GROWING: Final = ("Expand", "Pad", "Resize")
"""Operators whose result may be larger than anything that they are given."""

_ITEM: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of a number by `TensorProto.DataType`."""

_FORMATS: Final = {1: "f", 6: "i", 7: "q"}
_BYTES: Final = 2

Value = int | memoryview


@dataclass(slots=True)
class _Walk:
    """What has been met so far: fields, nodes with their inputs, and the numbers of small tensors."""

    fields: int = 0
    nodes: list[tuple[str, list[str]]] = field(default_factory=list)
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)


def check(content: bytes) -> None:
    """Refuse a graph that onnxruntime should not be given.

    Args:
        content: Of an ONNX file.

    Raises:
        BadBundle: If it is no ONNX file, uses an operator, subgraph, function or external file that no grader
            needs, or holds a size beyond all bounds.
    """
    if len(content) > LARGEST:
        raise BadBundle(f"the graph has {len(content):,} bytes, more than {LARGEST:,}")
    walk = _Walk()
    graphs = 0
    for number, value in _fields(memoryview(content), walk):
        if number == 7:
            graphs += 1
            _graph(_bytes(value), walk)
        elif number in (20, 25):
            raise BadBundle("the graph has functions of its own, which no grader needs")
    if not graphs:
        raise BadBundle("not an ONNX file: it holds no graph")
    for operator, inputs in walk.nodes:
        _check_numbers(operator, [walk.numbers[name] for name in inputs if name in walk.numbers])


def _check_numbers(operator: str, numbers: list[tuple[float, ...]]) -> None:
    """Bounds of small constants that say how large a result becomes, or by what is divided."""
    if operator == "Div" and any(0 in values and isinstance(values[0], int) for values in numbers[-1:]):
        raise BadBundle("the graph divides whole numbers by zero")
    if operator not in _GROWING:
        return
    for values in numbers:
        sizes = [abs(value) for value in values if isinstance(value, int) or operator == "Resize"]
        if not all(size <= _MOST_SIZE for size in sizes) or math.prod(sizes) > _MOST_ELEMENTS:
            raise BadBundle(f"the graph's {operator} makes an array that is too large")


def _graph(data: memoryview, walk: _Walk) -> None:
    for number, value in _fields(data, walk):
        if number == 1:
            _node(_bytes(value), walk)
        elif number == 5:
            _tensor(_bytes(value), walk, "")
        elif number == 15:
            raise BadBundle("the graph has sparse weights, which no grader needs")


def _node(data: memoryview, walk: _Walk) -> None:
    operators: list[str] = []
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: list[memoryview] = []
    for number, value in _fields(data, walk):
        if number in (1, 2, 4, 7):
            text = _text(value)
            if number == 7 and text not in ("", "ai.onnx"):
                raise BadBundle(f"the graph uses operators of {text[:40]!r}, which are not known")
            {1: inputs, 2: outputs, 4: operators, 7: []}[number].append(text)
        elif number == 5:
            attributes.append(_bytes(value))
    if len(operators) != 1 or operators[0] not in OPERATORS:
        raise BadBundle(f"the graph uses the operator {', '.join(operators)[:40]!r}, which no grader needs")
    for attribute in attributes:
        _attribute(attribute, walk, outputs[0] if operators[0] == "Constant" and outputs else "")
    walk.nodes.append((operators[0], inputs))
    if len(walk.nodes) > _MOST_NODES:
        raise BadBundle(f"the graph has more than {_MOST_NODES:,} nodes")


def _attribute(data: memoryview, walk: _Walk, constant: str) -> None:
    names, integers = set(), []
    for number, value in _fields(data, walk):
        if number == 1:
            names.add(_text(value))
        elif number in (3, 8):
            integers += _integers(value)
        elif number in (5, 10):
            _tensor(_bytes(value), walk, constant)
        elif number in (6, 11):
            raise BadBundle("the graph holds a graph inside a node, which no grader needs")
        elif number in (14, 15, 22, 23):
            raise BadBundle("the graph has an attribute of a kind that no grader needs")
    for bounded, low in ((_POSITIVE, 1), (_NOT_NEGATIVE, 0)):
        for name in names & bounded:
            if not all(low <= value <= _MOST_ATTRIBUTE for value in integers):
                raise BadBundle(f"the graph's {name} is {integers}, not {low} to {_MOST_ATTRIBUTE}")


def _tensor(data: memoryview, walk: _Walk, constant: str) -> None:
    """Check that a tensor's numbers are in the file, and note those of a small one."""
    dims: list[int] = []
    kind, raw, name, integers = 0, None, constant, []
    for number, value in _fields(data, walk):
        if number == 1:
            dims += _integers(value)
        elif number == 2:
            kind = value if isinstance(value, int) else 0
        elif number == 7:
            integers += _integers(value)
        elif number == 8 and not constant:
            name = _text(value)
        elif number == 9:
            raw = _bytes(value)
        elif number in (13, 14) and value != 0:
            raise BadBundle("the graph's weights lie in another file")
    if kind not in _ITEM or len(dims) > _MOST_DIMENSIONS or any(dim < 0 for dim in dims):
        raise BadBundle(f"the graph's weights {name[:40]!r} are of a kind that no grader needs")
    count = math.prod(dims)
    if (count * _ITEM[kind] != len(raw)) if raw is not None else count > len(data):
        raise BadBundle(f"the graph's weights {name[:40]!r} are of another size than they say")
    if raw is not None and count <= _MOST_DIMENSIONS and kind in _FORMATS:
        walk.numbers[name] = struct.unpack(f"<{count}{_FORMATS[kind]}", raw)
    elif integers and count <= _MOST_DIMENSIONS:
        walk.numbers[name] = tuple(integers)


def _fields(data: memoryview, walk: _Walk) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message: whole numbers, and bytes of all else."""
    at = 0
    while at < len(data):
        walk.fields += 1
        if walk.fields > _MOST_FIELDS:
            raise BadBundle(f"the graph has more than {_MOST_FIELDS:,} fields")
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(kind, -1)
        if length < 0 or at + length > len(data):
            raise BadBundle("not an ONNX file, or a damaged one")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise BadBundle("not an ONNX file, or a damaged one")


def _integers(value: Value) -> list[int]:
    """Signed numbers of 64 bits: one, or several that are packed."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers: list[int] = []
    at = 0
    while at < len(value):
        if len(numbers) > _MOST_FIELDS:
            raise BadBundle("the graph has an array of numbers that is too long")
        number, at = _varint(value, at)
        numbers.append(_signed(number))
    return numbers


def _signed(number: int) -> int:
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise BadBundle("not an ONNX file, or a damaged one")
    return value


def _text(value: Value) -> str:
    return bytes(_bytes(value)).decode("utf-8", "backslashreplace")
