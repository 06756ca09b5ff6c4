"""Tables as people save them: CSV of Excel in any country, tab-separated text, exports of SAS."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Final

from kellgren.errors import KellgrenError, UnreadableImage
from kellgren.read.files import load
from kellgren.read.limits import Limits

_SEPARATORS: Final = ",;|\t"
_NO_TEXT: Final = re.compile(r"[\0-\x08\x0e-\x1f]")
_LIMITS: Final = Limits(max_bytes=256 << 20)

_MISSING: Final = re.compile(r"|-|\.[A-Z]?|#?N/?A|<NA>|NaN|none|null", re.IGNORECASE)
_WHOLE: Final = re.compile(r"[+-]?\d+\.0+")


def read_table(path: Path, error: type[KellgrenError]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a table with a header line.

    Args:
        path: UTF-8, UTF-16 with a byte order mark, or Windows-1252; cells separated by commas, semicolons,
            tabs or `|`, whichever the header line has most of.
        error: What to raise.

    Returns:
        The names of the columns, stripped, and the other rows that are not empty, with their line numbers,
        cells stripped.

    Raises:
        KellgrenError: Of the class `error`, now or while the rows are read: the file cannot be opened, is no
            text, or a row has more or fewer cells than the header.
    """
    try:
        text = _decode(load(path, _LIMITS))
    except UnreadableImage as failure:
        raise error(failure.message, path=path, remedy=failure.remedy) from None
    except UnicodeDecodeError:
        text = "\0"
    if _NO_TEXT.search(text):
        raise error("the table is not text", path=path, remedy="save it as CSV UTF-8")
    first = text.partition("\n")[0]
    reader = csv.reader(StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=first.count), strict=True)
    rows = _rows(reader, path, error)
    _, header = next(rows, (0, []))
    return header, rows


def _rows(
    reader: Iterator[list[str]], path: Path, error: type[KellgrenError]
) -> Iterator[tuple[int, list[str]]]:
    line, width = 0, 0
    try:
        for row in reader:
            line = getattr(reader, "line_num", line + 1)
            cells = [cell.strip() for cell in row]
            if not any(cells) and width:
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise error(f"line {line} has {len(cells)} cells, the header {width}", path=path)
            yield line, cells
    except csv.Error:
        raise error(
            f"line {line + 1}: the table is not CSV", path=path, remedy="save it as CSV UTF-8"
        ) from None


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def is_missing(cell: str) -> bool:
    """Whether a cell stands for no value: empty, `NA`, `NaN`, `null`, `-`, or `.` and `.A` of SAS."""
    return _MISSING.fullmatch(cell.strip()) is not None


def whole(cell: str) -> str:
    """A cell without the `.0` that table programs add to whole numbers in columns with empty cells."""
    return cell.partition(".")[0] if _WHOLE.fullmatch(cell) else cell


def decimal(cell: str) -> float:
    """A number with a decimal point or comma.

    Raises:
        ValueError: It is none.
    """
    return float(cell.replace(",", ".") if "." not in cell else cell)
