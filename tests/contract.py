"""Documents and tables checked against the published schemas."""

from __future__ import annotations

import csv

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from kellgren.report.schema import NAMES, load_schema, typed_row

REGISTRY = Registry().with_resources(
    [(load_schema(n)["$id"], Resource.from_contents(load_schema(n))) for n in NAMES]
)


def validate(name, document):
    """Raise unless the document fits the schema."""
    Draft202012Validator(load_schema(name), registry=REGISTRY).validate(document)


def rows_of(path, schema="grades"):
    """The rows of a CSV table, typed, each checked against its schema."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [typed_row(schema, cells) for cells in csv.DictReader(file)]
    for row in rows:
        validate(schema, row)
    return rows
