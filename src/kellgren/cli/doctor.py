"""`kellgren doctor`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Say what this installation can do: versions, processors, extras, DICOM syntaxes, bundles.

    Exit code 1 if a packaged bundle fails its check.
    """
    from kellgren import errors
    from kellgren.grade import golden
    from kellgren.model import bundle
    from kellgren.parallel import processors
    from kellgren.read.syntaxes import decodable
    from kellgren.report.record import versions

    checks = [golden.check(bundle.load(name)) for name in bundle.packaged()]
    report: dict[str, Any] = {
        "versions": versions(),
        "processors": processors(),
        "extras": {extra: list(errors.missing(extra)) for extra in errors.EXTRAS},
        "transfer_syntaxes": decodable(),
        "bundles": [check.to_dict() for check in checks],
    }
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _show(report)
    raise typer.Exit(int(not all(check.passed for check in checks)))


def _show(report: dict[str, Any]) -> None:
    typer.echo("  ".join(f"{name} {version}" for name, version in report["versions"].items()))
    typer.echo(f"processors: {report['processors']}")
    for extra, missing in report["extras"].items():
        state = (
            f"not complete (no {', '.join(missing)}); pip install 'kellgren[{extra}]'"
            if missing
            else "installed"
        )
        typer.echo(f"extra {extra}: {state}")
    for name, able in report["transfer_syntaxes"].items():
        typer.echo(f"DICOM {name}: {'yes' if able else 'no; pip install ' + repr('kellgren[codecs]')}")
    for check in report["bundles"]:
        typer.echo(
            f"bundle {check['model']}: {'ok' if check['passed'] else 'DIFFERS from its golden outputs'}"
        )
