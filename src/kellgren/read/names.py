"""File names as text: any byte can stand in one, and tables, terminals and JSON take only some."""

from __future__ import annotations


def printable(name: str) -> str:
    r"""A name in which what cannot be printed is written out: `\x1b`, `\xff`, `\u202e`.

    Args:
        name: As the file system or an archive gives it; bytes that are not UTF-8 are surrogates (PEP 383).
    """
    return name if name.isprintable() else "".join(map(_shown, name))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
