"""An epoch's figures for TensorBoard, beside `log.jsonl`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


def open_writer(folder: Path, *, epoch: int) -> SummaryWriter | None:
    """Where to write an epoch's numbers; None, and a notice, where TensorBoard is not installed.

    Args:
        folder: The run folder; `tensorboard --logdir` is given this or one above it.
        epoch: The first that will be written: what an interrupted run wrote from there on does not count.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("tensorboard is not installed: the figures of the epochs are in log.jsonl alone")
        return None
    return SummaryWriter(str(folder), purge_step=epoch)


def write(writer: SummaryWriter, entry: Mapping[str, Any]) -> None:
    """Write the numbers of a line of `log.jsonl` at once; words and switches in it are left out."""
    for name, value in entry.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            writer.add_scalar(name, value, int(entry["epoch"]))
    writer.flush()
