"""`kellgren doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kellgren.cli import terminal

if TYPE_CHECKING:
    from kellgren.grade.golden import Check


def doctor(as_json: terminal.Json = False) -> None:
    """Check this installation: versions, processors, optional parts, DICOM decoders, bundles.

    Exit code 1: a packaged bundle fails its check.
    """
    from kellgren import errors
    from kellgren.grade import golden
    from kellgren.model import bundle
    from kellgren.parallel import processors
    from kellgren.read.syntaxes import decodable
    from kellgren.report.record import versions

    extras = {extra: list(errors.missing(extra)) for extra in errors.EXTRAS}
    syntaxes = decodable()
    checks = [golden.check(bundle.load(name)) for name in bundle.packaged()]
    if as_json:
        terminal.document(
            {
                "versions": versions(),
                "processors": processors(),
                "extras": extras,
                "transfer_syntaxes": syntaxes,
                "bundles": [check.to_dict() for check in checks],
            }
        )
    else:
        terminal.answer(", ".join(f"{name} {version}" for name, version in versions().items()))
        terminal.answer(f"{processors()} processors")
        _show_extras(extras)
        _show_syntaxes(syntaxes)
        _show_bundles(checks)
    raise typer.Exit(int(not all(check.passed for check in checks)))


def _show_extras(extras: dict[str, list[str]]) -> None:
    terminal.answer("\nOptional parts")
    for extra, missing in extras.items():
        state = (
            f"not installed ({', '.join(missing)} missing): pip install 'kellgren[{extra}]'"
            if missing
            else "installed"
        )
        terminal.answer(f"  {extra}: {state}")


def _show_syntaxes(syntaxes: dict[str, bool]) -> None:
    unread = [name for name, able in syntaxes.items() if not able]
    terminal.answer(
        f"\nDICOM: {len(syntaxes) - len(unread)} of {len(syntaxes)} transfer syntaxes can be read"
    )
    for name in unread:
        terminal.answer(f"  cannot be read: {name}")
    if unread:
        terminal.answer("  pip install 'kellgren[codecs]' adds decoders")


def _show_bundles(checks: list[Check]) -> None:
    terminal.answer("\nPackaged bundles")
    for check in checks:
        verdict = "ok" if check.passed else "DIFFERS from its golden outputs: install kellgren again"
        terminal.answer(f"  {check.title}: {verdict}")
    sound = all(check.passed for check in checks)
    terminal.answer("\nThis installation can grade." if sound else "\nDo not grade with this installation.")
