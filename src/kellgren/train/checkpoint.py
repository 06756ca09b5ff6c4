"""Where a run keeps its weights; known without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

BEST: Final = "best.pt"
"""Weights of a run's best epoch, in the run's folder."""

LAST: Final = "last.pt"
"""Everything that a run needs to go on."""


def of(init: str | None) -> Path | None:
    """The `best.pt` that `--init` means: itself, or a run folder's; None if it means something else."""
    if init is None or init == "hub":
        return None
    path = Path(init) / BEST if Path(init).is_dir() else Path(init)
    return path if path.suffix == ".pt" and path.is_file() else None
