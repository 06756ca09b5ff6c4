"""Several processes that train one network (`torchrun`): every batch is split, the result is as of one.

Each process computes its share of a batch. The raw outputs of all shares are gathered before the loss, so
that means over the knees that were read are means over the whole batch, and gradients are summed: what comes
out is what one process would compute, but for the order of sums. Batch normalisation sees the whole batch on
CUDA devices; on CPUs, for which torch has no such thing, each process normalises by its own share, and the
running statistics of the first process are kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from kellgren.train.hardware import Hardware

Net = TypeVar("Net", bound=nn.Module)


@contextlib.contextmanager
def joined(hardware: Hardware) -> Iterator[None]:
    """Be one of the processes while the context lasts; nothing where there is only one."""
    if hardware.world == 1:
        yield
        return
    dist.init_process_group("nccl" if hardware.device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def shared_statistics(net: Net, hardware: Hardware) -> Net:
    """The network with batch normalisation over all processes, where the device can do that."""
    if hardware.world == 1 or hardware.device.type != "cuda":
        return net
    return cast("Net", convert_sync_batchnorm(net))  # type: ignore[no-untyped-call]


def in_parallel(net: nn.Module, hardware: Hardware) -> nn.Module:
    """The network to call in training: gradients are averaged over processes while they are computed.

    To be wrapped again when other parameters are trained.
    """
    if hardware.world == 1 or not any(parameter.requires_grad for parameter in net.parameters()):
        return net
    devices = [hardware.device.index] if hardware.device.type == "cuda" else None
    return DistributedDataParallel(
        net,
        device_ids=devices,
        gradient_as_bucket_view=True,
        find_unused_parameters=True,  # backbones have some that follow their last feature map
    )


def gathered(outputs: dict[str, Tensor], hardware: Hardware) -> dict[str, Tensor]:
    """Raw outputs of the whole batch from those of this process's share.

    Args:
        outputs: By head, (n, outputs).
        hardware: Says which process this is of how many.

    Returns:
        By head, (processes * n, outputs); gradients reach this process's own rows alone.
    """
    if hardware.world == 1:
        return outputs
    own = torch.cat(list(outputs.values()), dim=1)
    parts = [torch.empty_like(own) for _ in range(hardware.world)]
    dist.all_gather(parts, own.detach().contiguous())
    parts[hardware.rank] = own
    widths = [values.shape[1] for values in outputs.values()]
    return dict(zip(outputs, torch.split(torch.cat(parts), widths, dim=1), strict=True))


def from_first(value: dict[str, float], hardware: Hardware) -> dict[str, float]:
    """What the first process knows, in all of them."""
    if hardware.world == 1:
        return value
    held: list[dict[str, float]] = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def wait(hardware: Hardware) -> None:
    """Until every process has come here."""
    if hardware.world > 1:
        dist.barrier()
