"""Recipe and plan files: YAML into plain values, a size laid over the rest, and plain values into typed ones.

The types are frozen pydantic dataclasses with `STRICT`: an unknown key is an error that names the nearest
known one, so a typo never becomes a silent default, and every number has bounds.
"""

from __future__ import annotations

import copy
import json
import math
import re
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kellgren.errors import BadRecipe, nearest

Document = dict[str, JsonValue]
"""A recipe or plan as plain values: what YAML and JSON can both hold."""

STRICT: Final = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Of every type that is read from a file: no conversions, no unknown keys, no NaN."""

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Rate = Annotated[float, Field(ge=0, le=100)]
"""A learning rate."""

T = TypeVar("T")

_MOST_BYTES: Final = 1 << 15
_MOST_VALUES: Final = 20_000
"""Values of one document, those that aliases repeat counted each time."""
_DEEPEST: Final = 32
_MOST_MERGED: Final = 8


class _Loader(yaml.SafeLoader):
    """Plain values by YAML 1.2's core schema: `1e-4` is a number; `on`, `1:30` and dates are words."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, unless it is nested too deep for the stack or has a key twice."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.YAMLError(f"nested more than {_DEEPEST} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if str(key.value) in seen:  # the first value would be lost in silence
                raise yaml.MarkedYAMLError(None, None, f"key {key.value!r} is duplicated", key.start_mark)
            seen.add(str(key.value))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Write out `<<`, unless it repeats more than a document may hold."""
        merged = [value for key, value in node.value if key.tag.endswith(":merge")]
        if any(isinstance(value, yaml.SequenceNode) and len(value.value) > _MOST_MERGED for value in merged):
            raise yaml.YAMLError(f"<< merges more than {_MOST_MERGED} mappings")
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:
            raise yaml.YAMLError(f"<< makes more than {_MOST_VALUES} values")


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        "-+.0123456789",
    ),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def plain(text: str, *, path: Path | None = None) -> JsonValue:
    """Read YAML into plain values, with bounds on its size, its depth and what its aliases repeat.

    Raises:
        BadRecipe: If it is not valid YAML, too much of it, or holds what JSON cannot.
    """
    if len(text) > _MOST_BYTES:
        raise BadRecipe(f"longer than {_MOST_BYTES} characters", path=path)
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRecipe(f"not valid YAML: {error}", path=path) from error
    left = [_MOST_VALUES]
    return _checked(value, "", left, path)


def _checked(value: object, where: str, left: list[int], path: Path | None) -> JsonValue:
    """The value, once it is known to be finite and plain."""
    left[0] -= 1
    if left[0] < 0:
        raise BadRecipe(f"holds more than {_MOST_VALUES} values", path=path)
    if where.count(".") > _DEEPEST:
        raise BadRecipe(f"nested more than {_DEEPEST} levels deep", path=path)
    if isinstance(value, list):
        return [_checked(item, f"{where}.{i}", left, path) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int):
                raise BadRecipe(f"{where[1:] or 'document'}: {_shown(key)} cannot be a key", path=path)
        return {str(key): _checked(item, f"{where}.{key}", left, path) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRecipe(f"{where[1:]} is {value}, not a finite number", path=path)
        return value
    raise BadRecipe(f"{where[1:]} is {_shown(value)}, neither text, number, list nor mapping", path=path)


def read(name_or_path: str, packaged: str, what: str) -> tuple[Document, Path]:
    """The mapping in a packaged document or a YAML file, and its path.

    Args:
        name_or_path: A packaged name, or a file that ends in .yaml or .yml.
        packaged: Package folder of the packaged ones, such as `kellgren/recipes`.
        what: `recipe` or `plan`, for messages.

    Raises:
        BadRecipe: If it is neither, cannot be read, or holds no mapping.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        text = _text(path, what)
    elif name_or_path in (known := available(packaged)):
        text = (resources.files("kellgren") / packaged / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        raise BadRecipe(f"no {what} {name_or_path!r}", remedy=nearest(name_or_path, known))
    values = plain(text, path=path)
    if not isinstance(values, dict):
        raise BadRecipe(f"a {what} is a mapping", path=path)
    return values, path


def _text(path: Path, what: str) -> str:
    if path.exists() and not path.is_file():
        raise BadRecipe(f"cannot read the {what}: not a file", path=path)
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadRecipe(f"cannot read the {what}: {reason}", path=path) from error


def available(packaged: str = "recipes") -> tuple[str, ...]:
    """Names of the packaged recipes, or of the documents in another folder of the package."""
    folder = resources.files("kellgren") / packaged
    return tuple(sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml")))


def document(name_or_path: str, *, size: str = "full") -> Document:
    """A recipe of any kind as plain values, the given size laid over what is common to all.

    Raises:
        BadRecipe: Unknown name or size, or not a mapping.
    """
    values, path = read(name_or_path, "recipes", "recipe")
    sizes = values.pop("sizes", {})
    if not isinstance(sizes, dict):
        raise BadRecipe("sizes is not a mapping", path=path)
    if size not in sizes:
        raise BadRecipe(f"no size {size!r}", path=path, remedy=nearest(size, tuple(sizes)))
    over = sizes[size] or {}
    if not isinstance(over, dict):
        raise BadRecipe(f"sizes.{size} is not a mapping", path=path)
    return {**merge(values, over), "size": size}


def override(document: Document, assignments: Sequence[str]) -> Document:
    """A recipe's plain values with some of them replaced, as the command line's `--set` does.

    Args:
        document: As `document` gives it.
        assignments: Each `PATH=VALUE`: keys joined by dots (numbers count the items of a list), and a value
            in YAML: `optimise.phases.0.lr=1e-4`, `loss.KL.gamma=3`, `tta=[]`.

    Returns:
        A changed copy; `parse` says whether the result is a recipe.

    Raises:
        BadRecipe: If an assignment is malformed, or leads through something that has no such part.
    """
    changed = copy.deepcopy(document)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise BadRecipe(
                f"--set {assignment!r} is not an assignment", remedy="write PATH=VALUE, as in tta=[]"
            )
        try:
            value = plain(text)
        except BadRecipe as error:
            raise BadRecipe(f"--set {path}: {error.message.splitlines()[0]}: {_shown(text)}") from error
        _assign(changed, keys, value, path)
    return changed


def _assign(target: JsonValue, keys: Sequence[str], value: JsonValue, path: str) -> None:
    """Set the value at the end of a path, making mappings on the way where there are none."""
    for depth, key in enumerate(keys):
        where, last = ".".join(keys[:depth]) or "recipe", depth == len(keys) - 1
        if isinstance(target, list):
            if not key.isdecimal() or int(key) >= len(target):
                raise BadRecipe(f"--set {path}: {where} has {len(target)} items, counted from 0; no {key!r}")
            if last:
                target[int(key)] = value
            target = target[int(key)]
            continue
        if not isinstance(target, dict):
            raise BadRecipe(f"--set {path}: {where} is {target!r} and has no {key!r}")
        if where == "views" and not last and key not in target:
            raise BadRecipe(f"--set {path}: no view {key!r}", remedy=nearest(key, tuple(target)))
        if last:
            target[key] = value
        target = target.setdefault(key, {})


def merge(base: Document, over: Document) -> Document:
    """Lay one mapping over another, key by key at every depth."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def parse(cls: type[T], values: Mapping[str, JsonValue], *, where: str) -> T:
    """A typed document from plain values.

    Args:
        cls: A pydantic dataclass with `STRICT`.
        values: As YAML or JSON gives them.
        where: What the messages call it.

    Raises:
        BadRecipe: Naming the key and, if it is unknown, the nearest known one.
    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        unknown = (each for each in errors if each["type"] == "unexpected_keyword_argument")
        raise _refusal(next(unknown, errors[0]), cls, where) from error


def _refusal(error: ErrorDetails, cls: type[object], where: str) -> BadRecipe:
    """What pydantic says first, in the words of `--set`: the path of the key, and what is wrong with it."""
    *above, last = error["loc"] or ("",)
    kind = error["type"]
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if kind == "unexpected_keyword_argument":
        known = _keys(cls, above)
        return BadRecipe(f"{_path(where, above)}: unknown key {last!r}", remedy=nearest(str(last), known))
    if kind == "missing":
        return BadRecipe(f"{_path(where, above)}: no key {last!r}")
    if last in ("bool", "str"):  # the first of several types that a step's parameter may have
        return BadRecipe(f"{_path(where, above)} is {_shown(error['input'])}: should be a number or text")
    if last == "[key]":
        return BadRecipe(f"{_path(where, above[:-1])}: key {above[-1]!r} {message}")
    return BadRecipe(f"{_path(where, error['loc'])} is {_shown(error['input'])}: {message}")


def _path(where: str, keys: Sequence[str | int]) -> str:
    return where + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _keys(hint: Any, place: Sequence[str | int]) -> tuple[str, ...]:  # noqa: ANN401 - a type expression
    """The keys that the mapping at a place may have."""
    for key in place:
        fields = getattr(hint, "__pydantic_fields__", None)
        inner = typing.get_args(hint)
        hint = fields[key].annotation if fields else inner[0 if isinstance(key, int) else -1]
    return tuple(hint.__pydantic_fields__)


def _shown(value: object) -> str:
    """A value as messages quote it, short."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."
