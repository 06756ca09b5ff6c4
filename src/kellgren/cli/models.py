"""`kellgren models` and `kellgren models check`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(
    help="List model bundles, or check that they still give their golden outputs.", add_completion=False
)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """List the packaged bundles."""
    if context.invoked_subcommand is not None:
        return
    from kellgren.model import bundle

    cards = [bundle.load(name).card for name in bundle.packaged()]
    if as_json:
        typer.echo(json.dumps([card.document for card in cards]))
        return
    for card in cards:
        default = " (default)" if card.name == bundle.DEFAULT else ""
        typer.echo(f"{card.title}{default}: {card.document['description']}")


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|PATH]...", help="All packaged by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Verify each bundle's hashes, and that its golden inputs still give its golden outputs."""
    from kellgren.grade import golden
    from kellgren.model import bundle

    results = [golden.check(bundle.load(name)) for name in names or list(bundle.packaged())]
    if as_json:
        typer.echo(json.dumps([result.to_dict() for result in results]))
    else:
        for result in results:
            verdict = "ok" if result.passed else "DIFFERS"
            typer.echo(
                f"{result.title}: {verdict}, {result.inputs} inputs, largest difference {result.largest:.1e}"
            )
    raise typer.Exit(int(not all(result.passed for result in results)))
