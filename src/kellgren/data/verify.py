"""Is a download the published data set? File by file, against the manifest in the package."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from kellgren.data.folder import iter_images
from kellgren.data.inventory import Entry, from_path
from kellgren.data.manifest import SIZE, SMALL_SIZE, Published, published
from kellgren.errors import BadDataset, UnreadableImage
from kellgren.parallel import in_order
from kellgren.read import Source
from kellgren.read.signatures import sniff
from kellgren.read.silence import without_warnings

State = Literal[
    "published", "re-encoded", "224", "resized", "wrong place", "renamed", "auto_test", "extra", "unreadable"
]

_EXPLAINED: Final[dict[State, str]] = {
    "published": "are the published files, byte by byte",
    "re-encoded": "have the published name, place and size, re-encoded: their pixels may differ",
    "224": "are of the 224-pixel copy (kneeKL224, Kaggle): the same knees, known by name and size only",
    "resized": "have a published name and place in a size that was not published",
    "wrong place": "have a published name in the folder of another split or grade",
    "renamed": "are published files under another name",
    "auto_test": "are the detector's crops of test knees: never further knees",
    "extra": "have no published name",
    "unreadable": "cannot be read as images",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """One image of the folder.

    Attributes:
        file: Path relative to the folder; inside a zip `ARCHIVE/MEMBER`.
        state: What it is.
        detail: What differs, in plain words, or empty.
        name: Published name that it stands for, or None.
    """

    file: str
    state: State
    detail: str = ""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a folder holds of the published data set.

    Attributes:
        images: In order of their paths.
        missing: Published images that nothing in the folder stands for.
        twice: Published names that more than one file stands for, `auto_test` apart.
    """

    images: tuple[Checked, ...]
    missing: tuple[Published, ...]
    twice: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every published image is there, as published, and nothing else but `auto_test`."""
        as_published = all(image.state in ("published", "auto_test") for image in self.images)
        return as_published and not self.missing and not self.twice

    def counts(self) -> dict[str, int]:
        """Number of images by state, those of no image left out."""
        counts = Counter(image.state for image in self.images)
        return {state: counts[state] for state in _EXPLAINED if counts[state]}

    def to_dict(self) -> dict[str, bool | list[str] | dict[str, int] | list[dict[str, str]]]:
        """The verification as a JSON document."""
        plain = ("published", "re-encoded", "224", "auto_test")
        return {
            "complete": self.complete,
            "summary": sentences(self),
            "counts": self.counts(),
            "missing": [f"{image.split}/{image.grade}/{image.name}.png" for image in self.missing],
            "twice": list(self.twice),
            "odd": [
                {"file": image.file, "state": image.state, "detail": image.detail}
                for image in self.images
                if image.state not in plain
            ],
        }


Progress = Callable[[Iterator[Checked], int], Iterable[Checked]]


def verify(root: Path | str, *, workers: int = 1, progress: Progress | None = None) -> Verification:
    """Compare a folder with the published data set.

    Args:
        root: The folder, with the images anywhere below it, plain or in zips: the archive's own
            `kneeKL299`, Kaggle's `train`, `val`, `test`, `auto_test`, or a folder around these.
        workers: Files hashed at once.
        progress: Wraps the images as they are checked, given their number.

    Raises:
        BadDataset: If there is no such folder, no image in it, or a zip file cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadDataset("not a folder", path=root)
    manifest = published()
    by_hash = {image.sha256: image for image in manifest.values()}
    found = list(iter_images(root))
    if not found:
        raise BadDataset("no images found", path=root)

    def check(image: Source) -> Checked:
        return _check(from_path(image), manifest, by_hash)

    checked = in_order(check, found, workers=workers)
    images = tuple(progress(checked, len(found)) if progress else checked)
    standing = Counter(i.name for i in images if i.name is not None and i.state != "auto_test")
    missing = tuple(image for name, image in manifest.items() if name not in standing)
    return Verification(images, missing, tuple(sorted(name for name, n in standing.items() if n > 1)))


def _check(entry: Entry, manifest: Mapping[str, Published], by_hash: Mapping[str, Published]) -> Checked:
    try:
        data = entry.image.read_bytes()
    except UnreadableImage as error:
        return Checked(entry.file, "unreadable", error.reason, None)
    known = by_hash.get(hashlib.sha256(data).hexdigest())
    mine = manifest.get(entry.image.stem)
    if known is not None and known is not mine:
        return Checked(entry.file, "renamed", f"it is {known.name}", known.name)
    if entry.split == "auto_test":
        is_test = entry.patient in {image.name[:7] for image in manifest.values() if image.split == "test"}
        return Checked(entry.file, "auto_test" if is_test else "extra")
    if mine is None:
        return Checked(entry.file, "extra")
    if (entry.split, entry.grade) != (mine.split, mine.grade) and None not in (entry.split, entry.grade):
        detail = f"published in {mine.split}/{mine.grade}, here in {entry.split}/{entry.grade}"
        return Checked(entry.file, "wrong place", detail, mine.name)
    if known is mine:
        return Checked(entry.file, "published", "", mine.name)
    return _sized(entry, data, mine)


def _sized(entry: Entry, data: bytes, mine: Published) -> Checked:
    """A file of a published name and other bytes: what its header says."""
    kind = sniff(data[:256])
    try:
        with without_warnings(), Image.open(BytesIO(data), formats=[kind] if kind else []) as image:
            size = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Checked(entry.file, "unreadable", "", None)
    words = f"{kind}, {size[0]} x {size[1]} pixels"
    if size == (SIZE, SIZE):
        return Checked(entry.file, "re-encoded", words, mine.name)
    state: State = "224" if size == (SMALL_SIZE, SMALL_SIZE) else "resized"
    return Checked(entry.file, state, words, mine.name)


def sentences(result: Verification) -> list[str]:
    """What the folder is, in plain sentences."""
    counts, total = result.counts(), len(published())
    told = [f"{number} images {_EXPLAINED[state]}" for state, number in counts.items()]  # type: ignore[index]
    encodings = Counter(i.detail for i in result.images if i.state == "re-encoded")
    told += [f"  {number} of the re-encoded are {words}" for words, number in encodings.most_common(3)]
    if result.missing:
        whole = Counter(image.split for image in published().values())
        absent = Counter(image.split for image in result.missing)
        where = ", ".join(f"{'all ' if n == whole[s] else ''}{n} of {s}" for s, n in sorted(absent.items()))
        told.append(f"{len(result.missing)} of the {total} published images are missing: {where}")
    if result.twice:
        told.append(f"{len(result.twice)} published images are there more than once, first {result.twice[0]}")
    if counts.get("auto_test"):
        told.append("this is the layout with auto_test: leave it out, or evaluate it by itself")
    if result.complete:
        told.append(f"all {total} published images are there, unchanged")
    return told
