"""Weights in files: a run's own (`*.pt`) and initial ones (`*.safetensors`), from anybody's hand.

Nothing in a file is executed, and what a file says of its size is checked before anything is read: a damaged
or hostile one is a `BadRecipe` that names it.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kellgren.errors import BadRecipe
from kellgren.writing import whole

_ENTRIES: Final = 20_000
"""Most members of a checkpoint, a member being a tensor; the largest network of timm has some 2,000."""

_PICKLE: Final = 8 * 2**20
"""Largest pickle in a checkpoint, bytes: names and shapes of some 2,000 tensors take 300 kB."""

_HEADER: Final = 4 * 2**20
"""Largest header of a safetensors file, bytes."""

_DAMAGED: Final = (
    OSError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
"""What torch, zipfile and safetensors raise on files that are not theirs, by where the damage is."""


def save(path: Path, state: Mapping[str, object]) -> None:
    """Write whole or not at all."""
    with whole(path) as file:
        torch.save(dict(state), file)


def load(path: Path, *, device: torch.device | str = "cpu") -> dict[str, object]:
    """What `save` wrote.

    Raises:
        BadRecipe: If the file is damaged, none of ours, or larger inside than outside.
    """
    try:
        _check_zip(path)
        state = torch.load(path, weights_only=True, map_location=device)
    except _DAMAGED as error:
        raise BadRecipe(f"not a checkpoint of a run: {_first_line(error)}", path=path) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise BadRecipe("not a checkpoint of a run: no mapping", path=path)
    return state


def load_weights(path: Path) -> tuple[dict[str, Tensor], int]:
    """The network's tensors by name, and its epoch (from 1), of a `best.pt`.

    Raises:
        BadRecipe: As `load`; also if something that is no plain finite tensor stands among the weights.
    """
    state = load(path)
    weights, epoch = state.get("model"), state.get("epoch")
    if not isinstance(weights, dict) or not isinstance(epoch, int) or isinstance(epoch, bool):
        raise BadRecipe("no weights of a trained network: `model` or `epoch` is missing", path=path)
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise BadRecipe(f"no weights of a trained network: {name!r:.80} is no tensor", path=path)
        _check_tensor(name, tensor, path)
    return weights, epoch


def load_initial(path: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file that a network has as well.

    Args:
        path: The file.
        own: The network's tensors by name. A kernel (D, 3, h, w) in the file serves one of (D, 1, h, w): its
            three channels are summed, which is exact for a grey image repeated in three.

    Returns:
        Float32 tensors by name, in the network's shapes.

    Raises:
        BadRecipe: If the file is damaged, has no tensor of the network, or one of another shape.
    """
    try:
        _check_header(path)
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys() if name in own}  # noqa: SIM118 - not a mapping
            wrong = [name for name, shape in shapes.items() if not _fits(shape, tuple(own[name].shape))]
            tensors = {} if wrong else {name: file.get_tensor(name).float() for name in shapes}
    except _DAMAGED as error:
        raise BadRecipe(f"no readable safetensors file: {_first_line(error)}", path=path) from error
    if wrong or not tensors:
        raise BadRecipe(
            f"initial weights do not fit this backbone (first: {wrong[0] if wrong else 'none match'})",
            path=path,
        )
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, path)
        if tensor.shape != own[name].shape:
            tensors[name] = tensor.sum(dim=1, keepdim=True)
    return tensors


def _fits(stored: tuple[int, ...], own: tuple[int, ...]) -> bool:
    summed = (*stored[:1], 1, *stored[2:]) if len(stored) == 4 and stored[1] == 3 else stored
    return own in (stored, summed)


def _check_zip(path: Path) -> None:
    """A checkpoint is a zip of uncompressed members, which therefore cannot be larger than the file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > _ENTRIES:
        raise ValueError(f"{len(members)} members")
    if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
        raise ValueError("compressed members")
    if sum(m.file_size for m in members) > path.stat().st_size:
        raise ValueError("members overlap")
    if any(m.file_size > _PICKLE for m in members if m.filename.endswith(".pkl")):
        raise ValueError("too large a pickle")


def _check_header(path: Path) -> None:
    """The first eight bytes give the header's length: it is read only if it is in the file and bearable."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(_HEADER, size - 8):
        raise ValueError(f"a header of {length} bytes in a file of {size}")


def _check_tensor(name: str, tensor: Tensor, path: Path) -> None:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.is_complex():
        raise BadRecipe(f"weights: {name:.80} is no plain tensor", path=path)
    if tensor.numel() > tensor.untyped_storage().nbytes():
        raise BadRecipe(f"weights: {name:.80} says it is larger than what is stored of it", path=path)
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
        raise BadRecipe(f"weights: {name:.80} holds values that are no finite numbers", path=path)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
