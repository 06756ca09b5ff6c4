"""Check a wheel and an sdist: all that the program reads, no tests, no data, at most 30 MB of bundles.

python .ci/package.py dist/kellgren-*.whl dist/kellgren-*.tar.gz
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "kellgren"
MOST_BUNDLES = 30_000_000
DATA = (".jpg", ".jpeg", ".zip", ".dcm", ".pt", ".safetensors", ".npy")


def wheel(path: Path) -> list[str]:
    """What is wrong with the wheel."""
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    files = [file for file in PACKAGE.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    wanted = {f"kellgren/{file.relative_to(PACKAGE).as_posix()}" for file in files}
    faults = [f"wheel: {name} is missing" for name in sorted(wanted - sizes.keys())]
    inside = {name for name in sizes if not name.split("/")[0].endswith(".dist-info")}
    faults += [f"wheel: {name} does not belong in it" for name in sorted(inside - wanted)]
    faults += [f"wheel: {name} looks like data" for name in sorted(inside) if name.endswith(DATA)]
    needed = ("kellgren/py.typed", "kellgren/recipes/joint.yaml", "kellgren/schemas/grades.schema.json")
    needed += ("kellgren/bundles/joint/card.json", "kellgren/bundles/joint/model.onnx")
    faults += [f"wheel: {name} is missing" for name in needed if name not in sizes]
    bundles = sum(size for name, size in sizes.items() if name.startswith("kellgren/bundles/"))
    if bundles > MOST_BUNDLES:
        faults.append(f"wheel: the bundles take {bundles / 1e6:.1f} MB, more than {MOST_BUNDLES / 1e6:.0f}")
    print(f"wheel: {len(sizes)} files, {path.stat().st_size / 1e6:.1f} MB; bundles {bundles / 1e6:.1f} MB")
    return faults


def sdist(path: Path) -> list[str]:
    """What is wrong with the sdist."""
    with tarfile.open(path) as archive:
        names = {entry.name.partition("/")[2] for entry in archive.getmembers() if entry.isfile()}
    needed = ("pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "docs/README.md")
    faults = [f"sdist: {name} is missing" for name in needed if name not in names]
    faults += [
        f"sdist: {name} looks like data"
        for name in sorted(names)
        if name.endswith(DATA) and not name.startswith("examples/")
    ]
    print(f"sdist: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")
    return faults


if __name__ == "__main__":
    faults = wheel(Path(sys.argv[1])) + sdist(Path(sys.argv[2]))
    sys.exit("\n".join(faults) or None)
