"""JSON Schemas (draft 2020-12) of every file that kellgren writes or reads, with an example of each.

The schemas are the contract with other people's scripts: names are added, never renamed. A table's schema
describes one row as a JSON object; `typed_row` turns the text of a CSV row into one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

NAMES: Final = (
    "audit",
    "card",
    "cost",
    "division",
    "film_truth",
    "films",
    "folds",
    "grades",
    "join",
    "labels",
    "log",
    "metrics",
    "predictions",
    "run",
    "study",
    "table",
    "verification",
)
"""Every schema. Files: card, cost, metrics, run, study, table; a line of log.jsonl; film_truth of one film;
rows of the tables films, folds, grades, labels and predictions. What `kellgren data` prints with `--json`:
audit, division (of `split`), join (of `join-oarsi`), verification (of `verify`)."""


def load_schema(name: str) -> dict[str, Any]:
    """Load a schema.

    Schemas refer to one another by their `$id` (`urn:kellgren:schema:NAME`); give a validator all of `NAMES`.

    Args:
        name: One of `NAMES`.

    Returns:
        The schema.

    Raises:
        ValueError: If there is no schema of that name.
    """
    return _load(name, f"{name}.schema.json")


def load_example(name: str) -> dict[str, Any]:
    """Load the example of a schema; its figures are invented.

    Args:
        name: One of `NAMES`.

    Returns:
        A document that the schema accepts.

    Raises:
        ValueError: If there is no schema of that name.
    """
    return _load(name, f"examples/{name}.example.json")


def typed_row(name: str, cells: Mapping[str, str]) -> dict[str, Any]:
    """Type the text of one CSV row by a table's schema.

    Args:
        name: One of `NAMES` that describes rows.
        cells: Text by column, as `csv.DictReader` gives it.

    Returns:
        Values by column: empty cells are None, `true` and `false` booleans, numbers where the schema has
        numbers; columns that the schema does not name stay text.

    Raises:
        ValueError: If there is no schema of that name, or a cell is not a number where one belongs.
    """
    return {column: _typed(cell, _types(column, name)) for column, cell in cells.items()}


def _load(name: str, file: str) -> dict[str, Any]:
    if name not in NAMES:
        raise ValueError(f"no schema {name!r}: choose one of {', '.join(NAMES)}")
    text = resources.files("kellgren").joinpath("schemas", file).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def _types(column: str, name: str) -> frozenset[str]:
    """JSON types that a schema, or one that it refers to, gives to a column, by its name or by a pattern."""
    schemas = [load_schema(name)]
    schemas += [
        load_schema(part["$ref"].rpartition(":")[2]) for part in schemas[0].get("allOf", ()) if "$ref" in part
    ]
    found: set[str] = set()
    for schema in schemas:
        definitions = [schema.get("properties", {}).get(column)]
        definitions += [d for p, d in schema.get("patternProperties", {}).items() if re.search(p, column)]
        for definition in filter(None, definitions):
            if "$ref" in definition:
                definition = schema["$defs"][definition["$ref"].rpartition("/")[2]]
            kinds = definition.get("type", "string")
            found.update([kinds] if isinstance(kinds, str) else kinds)
    return frozenset(found)


def _typed(cell: str, types: frozenset[str]) -> str | int | float | bool | None:
    if cell == "":
        return None
    if "boolean" in types and cell in ("true", "false"):
        return cell == "true"
    if "integer" in types:
        return int(cell)
    return float(cell) if "number" in types else cell
