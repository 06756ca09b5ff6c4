"""Tables as people save them."""

from __future__ import annotations

import pytest

from kellgren.errors import BadMetadata
from kellgren.read import read_metadata
from kellgren.read.tables import decimal, read_table, whole


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_separators(tmp_path, encoding, separator, end):
    lines = [["name", "side", "note"], ["Müller", "R", "left… out"], ["", "", ""], ["b", "L", ""]]
    path = tmp_path / "table.csv"
    path.write_bytes(end.join(separator.join(cells) for cells in lines).encode(encoding))
    header, rows = read_table(path, BadMetadata)
    assert header == ["name", "side", "note"]
    assert list(rows) == [(2, ["Müller", "R", "left… out"]), (4, ["b", "L", ""])]


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n\0\0", b"a,b\n\x81\x8d\0", b'a,b\n"c', b"a,b\nc\n", b"a,b\nc,d,e\n"]
)
def test_what_is_no_table(tmp_path, data):
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(BadMetadata):
        list(read_table(path, BadMetadata)[1])


@pytest.mark.parametrize(
    ("cell", "text"),
    [("9000099.0", "9000099"), ("1.00", "1"), ("-2.0", "-2"), ("1.5", "1.5"), ("a.0", "a.0")],
)
def test_whole_numbers(cell, text):
    assert whole(cell) == text


@pytest.mark.parametrize(("cell", "value"), [("0,143", 0.143), ("0.143", 0.143), ("2", 2.0)])
def test_decimal_commas(cell, value):
    assert decimal(cell) == value


def test_a_table_of_excel_in_germany(tmp_path):
    path = tmp_path / "films.csv"
    path.write_bytes("file;side;spacing_mm;frame\nMüller.dcm;L;0,143;1\n".encode("cp1252"))
    stated = read_metadata(path).find("Müller.dcm")
    assert stated is not None
    assert stated.side == "L"
    assert stated.spacing is not None
    assert (stated.spacing.row, stated.frame) == (0.143, 1)
