"""What this machine computes fastest with: device, number format, threads."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from kellgren.errors import BadRecipe


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where and how a network is trained.

    Attributes:
        device: Torch device.
        bf16: Whether dense layers compute in bfloat16.
        threads: CPU threads.
        name: What goes into the card, e.g. `"2 x AMD EPYC, fp32"`.
    """

    device: torch.device
    bf16: bool
    threads: int
    name: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Context in which the network runs forward."""
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def choose(device: str = "auto") -> Hardware:
    """Pick device and number format; sets torch's thread count to the processors this process may use.

    bfloat16 is used on CUDA devices that have it and on CPUs with AMX tiles; on other CPUs it is slower
    than float32.

    Args:
        device: `auto`, or any torch device name.

    Raises:
        BadRecipe: If the named device does not exist.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BadRecipe(f"device {name!r} cannot be used: {error}") from error
    if chosen.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported()
        title = torch.cuda.get_device_name(chosen)
    else:
        model, flags = _cpu()
        bf16 = chosen.type == "cpu" and "amx_bf16" in flags
        title = f"{threads} x {model}"
    return Hardware(chosen, bf16, threads, f"{title}, {'bf16' if bf16 else 'fp32'}")


def _cpu() -> tuple[str, frozenset[str]]:
    """Model name and feature flags; the flags are known on Linux only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.machine()), frozenset(facts.get("flags", "").split())
