"""`run.json`: what one run of `kellgren grade` did, enough to repeat it and to continue it."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import onnxruntime as ort
import pydantic
import pydicom

from kellgren._version import __version__
from kellgren.errors import WrongUse
from kellgren.grade.grader import Version
from kellgren.report.table import Row
from kellgren.writing import write_text

Status = Literal["graded", "refer", "failed"]

RUN: Final = "run.json"

Key = tuple[str, str]
"""`root` and `file`: together unique in a run."""

_WORST: Final[tuple[Status, ...]] = ("failed", "refer", "graded")


class Document(pydantic.BaseModel):
    """A part of `run.json`; keys that a later version adds are skipped."""

    model_config = pydantic.ConfigDict(frozen=True)


class BundleIdentity(Document):
    """A bundle that was at work.

    Attributes:
        id: `name@version`.
        sha256: By path inside the bundle, of the card and of each graph.
    """

    id: str
    sha256: dict[str, str]


class Options(Document):
    """Options of the command, after defaults; `metadata_sha256` is of the table's bytes."""

    paths: tuple[str, ...]
    model: str
    input: str
    side: str | None
    layout: str
    metadata: str | None
    metadata_sha256: str | None
    explain: bool
    isolate: bool
    workers: int


class FileOutcome(Document):
    """What became of one file.

    Attributes:
        root: The argument that it came from; empty when there is one.
        file: As in `grades.csv`.
        image_sha256: Of its bytes; None where they could not be read.
        knee_rows: Its rows in `grades.csv`.
        status: The worst of its rows: failed before refer before graded.
        reason: Why it is not `graded`, or None.
        notes: What was assumed or dropped without changing the status.
        seconds: From opening the file to the last grade; None for a row taken over from a killed run.
    """

    root: str
    file: str
    image_sha256: str | None
    knee_rows: int
    status: Status
    reason: str | None
    notes: str | None = None
    seconds: float | None


class Counts(Document):
    """Rows of `grades.csv` by status."""

    graded: int = 0
    refer: int = 0
    failed: int = 0


class Timings(Document):
    """Seconds of the run, and the sum over its files, which with several workers exceeds the run's."""

    total_s: float
    files_s: float


class RunRecord(Document):
    """The whole of `run.json`; `finished` and `exit_code` are None until a run has ended."""

    versions: dict[str, str]
    model: BundleIdentity
    localiser: BundleIdentity
    contour: BundleIdentity
    options: Options
    started: datetime
    finished: datetime | None = None
    files: tuple[FileOutcome, ...] = ()
    skipped: dict[str, int] = {}
    counts: Counts = Counts()
    timings: Timings = Timings(total_s=0.0, files_s=0.0)
    exit_code: int | None = None

    @classmethod
    def begin(
        cls, networks: Mapping[str, Version], options: Options, skipped: Mapping[str, int]
    ) -> RunRecord:
        """The record of a run that begins now, with the networks of `Grader.versions`."""
        identities = {
            name: BundleIdentity(id=version.id, sha256=dict(version.sha256))
            for name, version in networks.items()
        }
        return cls(
            versions=versions(),
            model=identities["model"],
            localiser=identities["localiser"],
            contour=identities["contour"],
            options=options,
            skipped=dict(skipped),
            started=datetime.now(UTC),
        )

    def end(self, files: Sequence[FileOutcome], counts: Counts, exit_code: int) -> RunRecord:
        """The record of the same run, now that it has ended."""
        finished = datetime.now(UTC)
        timings = Timings(
            total_s=round((finished - self.started).total_seconds(), 3),
            files_s=round(sum(file.seconds or 0.0 for file in files), 3),
        )
        return self.model_copy(
            update={
                "finished": finished,
                "files": tuple(files),
                "counts": counts,
                "timings": timings,
                "exit_code": exit_code,
            }
        )

    def difference(self, other: RunRecord) -> str | None:
        """What makes another run a different one, in words; None if it would give the same rows."""
        for name in ("model", "localiser", "contour"):
            if getattr(self, name) != getattr(other, name):
                return f"another {name}: {getattr(self, name).id}"
        for name, version in self.versions.items():
            if other.versions.get(name) != version:
                return f"another version of {name}: {version}"
        free = {"isolate", "workers", "metadata"}
        mine, theirs = (record.options.model_dump(exclude=free) for record in (self, other))
        return next((f"other options: {name}" for name in mine if mine[name] != theirs[name]), None)

    def save(self, folder: Path) -> None:
        """Write `run.json` whole or not at all.

        Raises:
            CannotWrite: If the system does not let it be written.
        """
        write_text(folder / RUN, self.model_dump_json(indent=2) + "\n")


class Ledger:
    """Collects what a run's record says about its files.

    Args:
        record: The record of the run that began.
    """

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._outcomes: dict[Key, FileOutcome] = {}
        self._statuses: Counter[str] = Counter()

    def note(self, key: Key, rows: Sequence[Row], seconds: float | None) -> None:
        """Note one file by its rows, of which there is at least one."""
        statuses = [str(row["status"]) for row in rows]
        reasons = [str(row["reason"]) for row in rows if row.get("reason")]
        notes = dict.fromkeys(str(row["notes"]) for row in rows if row.get("notes"))
        digest = rows[0].get("image_sha256")
        self._statuses.update(statuses)
        self._outcomes[key] = FileOutcome(
            root=key[0],
            file=key[1],
            image_sha256=str(digest) if digest else None,
            knee_rows=len(rows),
            status=next(status for status in _WORST if status in statuses),
            reason="; ".join(reasons) or None,
            notes="; ".join(notes) or None,
            seconds=None if seconds is None else round(seconds, 4),
        )

    def end(self, order: Sequence[Key], exit_code: int) -> RunRecord:
        """The run's record, now that it has ended, its files in this order."""
        outcomes = [self._outcomes[key] for key in order if key in self._outcomes]
        return self._record.end(outcomes, Counts(**self._statuses), exit_code)


def read_record(folder: Path) -> RunRecord | None:
    """The record in an output folder, None where there is none.

    Raises:
        WrongUse: If `run.json` is not one of `kellgren grade`.
    """
    path = folder / RUN
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, pydantic.ValidationError) as error:
        raise WrongUse(
            "this is not the record of a run of kellgren grade", path=path, remedy="choose another --out"
        ) from error


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
