"""The architecture page: its functions exist and are called in its order, its rooms are the package's."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
WAY = re.findall(r"^\| `([\w/]+\.py)` \| `(kellgren[\w.]+)` \|", PAGE, re.M)
DATA = {"recipes", "schemas", "bundles"}


def resolve(name: str):
    """The function that a dotted name means."""
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[split:]:
            thing = getattr(thing, attribute)
        return thing
    raise AssertionError(f"{name} does not exist")


def test_at_most_seven_files_and_each_function_is_in_the_file_named():
    assert 5 <= len(WAY) <= 7
    for file, name in WAY:
        assert Path(resolve(name).__code__.co_filename) == ROOT / "src" / "kellgren" / file


def test_a_film_passes_the_functions_in_the_order_of_the_page(grader, examples):
    names = {resolve(name).__code__: name for _, name in WAY}
    calls: list[str] = []

    def record(frame, event, _):
        name = names.get(frame.f_code) if event == "call" else None
        if name is not None and name not in calls:
            calls.append(name)

    sys.setprofile(record)
    try:
        grader.grade(examples / "knee-kl2-left.png", input="crop")
    finally:
        sys.setprofile(None)
    assert calls == [name for _, name in WAY]


def test_the_rooms_of_the_page_are_those_of_the_package():
    table = PAGE.split("## Follow one film")[0]
    named = {
        room
        for row in re.findall(r"^\|[^|]*\|([^|]*)\|", table, re.M)
        for room in re.findall(r"`(\w+)`", row)
    }
    package = ROOT / "src" / "kellgren"
    rooms = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert named == {room for room in rooms if not room.startswith("_")} - DATA
