"""`run.json`: what one run of `kellgren grade` did, enough to repeat it and to find what it could not do."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import cv2
import numpy as np
import onnxruntime as ort
import pydicom

from kellgren._version import __version__
from kellgren.grade.grader import Version

Status = Literal["graded", "refer", "failed"]
_WORST: tuple[Status, ...] = ("failed", "refer", "graded")


def versions() -> dict[str, str]:
    """Version of each part that can change a grade."""
    return {
        "kellgren": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
        "opencv": cv2.__version__,
        "pydicom": pydicom.__version__,
    }


@dataclass(slots=True)
class RunRecord:
    """Collects what `run.json` says while a run goes on.

    Attributes:
        networks: The networks at work (`Grader.versions`).
        options: Options of the command by name.
        files: Outcome of each file so far.
        started: When the run began.
    """

    networks: Mapping[str, Version]
    options: Mapping[str, Any]
    files: list[dict[str, Any]] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(
        self,
        file: str,
        statuses: Sequence[Status],
        reason: str | None,
        seconds: float,
        *,
        notes: str | None = None,
    ) -> None:
        """Note one file: the status of each of its rows, the reasons, how long it took, and the notes."""
        worst = next(status for status in _WORST if status in statuses)
        self.files.append(
            {
                "file": file,
                "knee_rows": len(statuses),
                "status": worst,
                "reason": reason,
                "notes": notes,
                "seconds": round(seconds, 4),
                "rows": dict(Counter(statuses)),
            }
        )

    def counts(self) -> dict[str, int]:
        """Rows by status."""
        total: Counter[str] = Counter()
        for entry in self.files:
            total.update(entry["rows"])
        return {status: total[status] for status in ("graded", "refer", "failed")}

    def to_dict(self, exit_code: int) -> dict[str, Any]:
        """The whole document."""
        finished = datetime.now(UTC)
        return {
            "versions": versions(),
            **{name: asdict(version) for name, version in self.networks.items()},
            "options": dict(self.options),
            "started": self.started.isoformat(timespec="milliseconds"),
            "finished": finished.isoformat(timespec="milliseconds"),
            "files": [{k: v for k, v in entry.items() if k != "rows"} for entry in self.files],
            "counts": self.counts(),
            "timings": {
                "total_s": round((finished - self.started).total_seconds(), 3),
                "files_s": round(sum(entry["seconds"] for entry in self.files), 3),
            },
            "exit_code": exit_code,
        }
