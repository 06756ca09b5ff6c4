"""What every detector can do, so that they can be compared: the cascade, HOG + SVM, MTCNN.

A comparator is stored as a folder with `detector.json` (its method and thresholds) and its weights: ONNX
graphs or an `.npz` of arrays, never a pickle.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

from kellgren import locate
from kellgren.errors import BadBundle
from kellgren.locate.windows import Pixels
from kellgren.train.localiser.compared.hog import HogSettings, HogSvm
from kellgren.train.localiser.compared.mtcnn import GRAPHS, Mtcnn, MtcnnSettings
from kellgren.writing import write_json

CARD: Final = "detector.json"


class Detector(Protocol):
    """Finds knees; safe to use from several threads at once."""

    def find(self, film: Pixels) -> tuple[locate.Joint, ...]:
        """All knees of an (H, W) film, bone bright, from the image's left to right.

        Key points are NaN where the method has none.
        """


def save(detector: HogSvm | Mtcnn, out: Path) -> Path:
    """Store a comparator.

    Args:
        detector: It.
        out: Folder; made if it is not there.

    Returns:
        The folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(detector, HogSvm):
        detector.save(out / "svm.npz")
        method = "hog_svm"
    else:
        for name, data in zip(GRAPHS, detector.graphs, strict=True):
            (out / name).write_bytes(data)
        method = "mtcnn"
    write_json(out / CARD, {"method": method, "settings": asdict(detector.settings)})
    return out


def load(folder: Path, *, threads: int = 1) -> Detector:
    """A comparator's folder, or the bundle of a cascade.

    Args:
        folder: Where.
        threads: Threads of one network evaluation.

    Raises:
        BadBundle: If the folder holds neither, or lacks a file or a setting.
    """
    if not (folder / CARD).is_file():
        return locate.load(str(folder), threads=threads)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        method = str(card["method"])
        if method == "mtcnn":
            graphs = tuple((folder / name).read_bytes() for name in GRAPHS)
            return Mtcnn(graphs, MtcnnSettings(**card["settings"]), threads=threads)
        if method == "hog_svm":
            return HogSvm.load(folder / "svm.npz", HogSettings(**card["settings"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BadBundle(f"cannot read the detector: {error}", path=folder) from error
    raise BadBundle(f"a detector of unknown method {method!r}", path=folder)
