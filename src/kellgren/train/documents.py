"""Recipe files: YAML into plain values, and plain values into frozen dataclasses, every key checked.

An unknown key is an error that names the nearest known one: a typo never becomes a silent default.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from kellgren.errors import BadRecipe, nearest


def available() -> tuple[str, ...]:
    """Names of the packaged recipes."""
    folder = resources.files("kellgren") / "recipes"
    return tuple(sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml")))


def document(name_or_path: str, *, size: str = "full") -> dict[str, Any]:
    """A recipe of any kind as plain values, the given size laid over what is common to all.

    Raises:
        BadRecipe: Unknown name or size, or not a mapping.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadRecipe(f"cannot read the recipe: {error.strerror}", path=path) from error
    elif name_or_path in available():
        resource = resources.files("kellgren") / "recipes" / f"{name_or_path}.yaml"
        text = resource.read_text(encoding="utf-8")
    else:
        raise BadRecipe(f"no recipe {name_or_path!r}", remedy=nearest(name_or_path, available()))
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadRecipe(f"not valid YAML: {error}", path=path) from error
    if not isinstance(values, dict):
        raise BadRecipe("a recipe is a mapping", path=path)
    sizes = values.pop("sizes", {})
    if size not in sizes:
        raise BadRecipe(f"no size {size!r}", path=path, remedy=nearest(size, tuple(sizes)))
    return {**merge(values, sizes[size] or {}), "size": size}


def override(document: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A recipe's plain values with some of them exchanged, as the command line's `--set` does.

    Args:
        document: As `document` gives it.
        assignments: Each `PATH=VALUE`: keys joined by points (numbers count the items of a list), and a value
            in YAML: `optimise.phases.0.lr=1e-4`, `loss.KL.gamma=3`, `tta=[]`.

    Returns:
        A changed copy. Whether the keys and values can be is for `from_dict` to say.

    Raises:
        BadRecipe: If an assignment is none, or leads through something that holds no such part.
    """
    changed = copy.deepcopy(dict(document))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise BadRecipe(f"--set {assignment!r} is no assignment", remedy="write PATH=VALUE, as in tta=[]")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadRecipe(f"--set {path}: not valid YAML: {text!r}") from error
        _assign(changed, keys, _numbers(value), path)
    return changed


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads `1e-4` as a word, at any depth; everybody who writes it means a number."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _assign(target: Any, keys: Sequence[str], value: Any, path: str) -> None:
    """Set the value at the end of a path, making mappings on the way where there are none."""
    for depth, key in enumerate(keys):
        where, last = ".".join(keys[:depth]) or "recipe", depth == len(keys) - 1
        place: Any = key
        if isinstance(target, list):
            if not key.isdecimal() or int(key) >= len(target):
                raise BadRecipe(f"--set {path}: {where} has {len(target)} items, counted from 0; no {key!r}")
            place = int(key)
        elif not isinstance(target, dict):
            raise BadRecipe(f"--set {path}: {where} is {target!r} and holds no {key!r}")
        elif key.isdecimal() and int(key) in target:
            place = int(key)
        elif where == "views" and not last and key not in target:
            raise BadRecipe(f"--set {path}: no view {key!r}", remedy=nearest(key, tuple(target)))
        if last:
            target[place] = value
        else:
            target = target.setdefault(place, {}) if isinstance(target, dict) else target[place]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, key by key at every depth."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def build(cls: type[Any], values: Mapping[str, Any], *, where: str) -> Any:
    """A frozen dataclass from plain values, every key and type checked.

    Raises:
        BadRecipe: Naming the key and, if it is unknown, the nearest known one.
    """
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise BadRecipe(f"{where}: unknown key {key!r}", remedy=nearest(str(key), tuple(hints)))
    for entry in dataclasses.fields(cls):
        optional = (entry.default, entry.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        if entry.name not in values and not optional:
            raise BadRecipe(f"{where}: no key {entry.name!r}")
    return cls(**{key: _convert(hints[key], value, where=f"{where}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, *, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast("type[Any]", hint), value, where=where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, where=f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {
            _key(arguments[0], key, where=where): _convert(arguments[1], item, where=f"{where}.{key}")
            for key, item in value.items()
        }
    if origin is Literal:
        if value not in arguments:
            raise BadRecipe(f"{where} is {value!r}", remedy=f"one of {', '.join(arguments)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if isinstance(expected, type):
        wrong = not isinstance(value, expected) or (expected is int and isinstance(value, bool))
        if wrong:
            raise BadRecipe(f"{where} is {value!r}, expected {expected.__name__}")
    return value


def _key(hint: Any, key: Any, *, where: str) -> Any:
    """A mapping's key; JSON has made strings of numbers."""
    if hint is int:
        if not isinstance(key, int | str) or isinstance(key, bool) or not str(key).lstrip("-").isdecimal():
            raise BadRecipe(f"{where}: key {key!r} is no grade")
        return int(key)
    return key
