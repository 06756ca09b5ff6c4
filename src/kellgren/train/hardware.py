"""What this machine computes fastest with: device, number format, threads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kellgren.errors import BadRecipe
from kellgren.parallel import processors


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where and how a network is trained.

    Attributes:
        device: Torch device.
        bf16: Whether dense layers compute in bfloat16.
        threads: CPU threads.
        name: What goes into the card, e.g. `"2 x AMD EPYC, fp32"`.
        rank: Which process this is.
        world: Of how many that train one network together.
    """

    device: torch.device
    bf16: bool
    threads: int
    name: str
    rank: int = 0
    world: int = 1

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Context in which the network runs forward."""
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def place(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Images (N, C, h, w) on the device, channels last in memory as convolutions like them."""
        return tuple(
            view.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            for view in views
        )


def choose(device: str = "auto") -> Hardware:
    """Pick device and number format; sets torch's thread count to the processors this process may use.

    bfloat16 is used on CUDA devices that have it and on CPUs with AMX tiles; on other CPUs it is slower
    than float32. Of several processes on a machine (`torchrun`) each gets a CUDA device of its own, or its
    share of the processors.

    Args:
        device: `auto`, or any torch device name.

    Raises:
        BadRecipe: If the named device does not exist.
    """
    rank, world, local, local_world = place_of_this_process()
    threads = max(1, processors() // local_world)
    torch.set_num_threads(threads)
    _keep_freed_memory()
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
        if name == "cuda":
            chosen = torch.device("cuda", local)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BadRecipe(f"device {name!r} cannot be used: {error}") from error
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        torch.backends.cudnn.benchmark = True  # inputs keep their size, so the search pays
        torch.set_float32_matmul_precision("high")
        bf16 = torch.cuda.is_bf16_supported()
        title = torch.cuda.get_device_name(chosen)
    else:
        model, flags = _cpu()
        bf16 = chosen.type == "cpu" and "amx_bf16" in flags
        title = f"{threads} x {model}"
    shared = f"{world} processes, each " if world > 1 else ""
    return Hardware(
        chosen, bf16, threads, f"{shared}{title}, {'bf16' if bf16 else 'fp32'}", rank=rank, world=world
    )


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: activations of the same sizes come back at every step.

    By default each large tensor is mapped and unmapped again, and the kernel clears its pages: about a tenth
    of a training step on two processors. Elsewhere than on glibc this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 256 * 2**20)


def _cpu() -> tuple[str, frozenset[str]]:
    """Model name and feature flags; the flags are known on Linux only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.machine()), frozenset(facts.get("flags", "").split())


def place_of_this_process() -> tuple[int, int, int, int]:
    """(rank, processes, rank on this machine, processes on this machine), as torchrun says."""
    known = os.environ
    rank, world = int(known.get("RANK", 0)), int(known.get("WORLD_SIZE", 1))
    return rank, world, int(known.get("LOCAL_RANK", rank)), int(known.get("LOCAL_WORLD_SIZE", world))
