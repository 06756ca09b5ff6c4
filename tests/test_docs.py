"""The documentation: its snippets run, its links lead somewhere, its reference pages agree with the code.

A fenced block marked `sh` or `python` in the README, the tutorial or a how-to page is run, page by page in
order, in a folder that holds a copy of `examples/`. A comment on the line before changes that:

    <!-- exit 1 -->                  the shell block ends with this code
    <!-- not executed: reason -->    the block is not run
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from kellgren import __version__, errors
from kellgren.cli import app
from kellgren.model import steps
from kellgren.read import DEFAULT_LIMITS
from kellgren.report import schema as schemas
from kellgren.report.table import columns
from kellgren.vocabulary import TASKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "examples" / "README.md"])
EXECUTED = [
    ROOT / "README.md",
    *sorted((DOCS / "tutorial").glob("*.md")),
    *sorted((DOCS / "how-to").glob("*.md")),
]
RUN_ELSEWHERE = {ROOT / "examples" / "README.md"}  # by test_simulate

FENCE = re.compile(r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
HEADING = re.compile(r"^#+ +(.*?) *$", re.M)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str
    note: str

    @property
    def executed(self) -> bool:
        return not self.note.startswith("not executed: ")

    @property
    def exit_code(self) -> int:
        return int(self.note.removeprefix("exit ")) if self.note.startswith("exit ") else 0


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")),
            found["language"],
            found["code"],
            found["note"] or "",
        )
        for found in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(page: Path) -> dict[str, str]:
    """Text under each heading, up to the next one of any level."""
    parts = HEADING.split(prose(page))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(text: str) -> set[str]:
    """Every word in backticks or in double quotes."""
    return set(re.findall(r"[`\"]([\w.-]+)[`\"]", text))


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# Snippets


@pytest.mark.parametrize("page", EXECUTED, ids=relative)
def test_snippets_run(page, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names: dict[str, object] = {"__name__": "__docs__"}
    for block in blocks(page):
        if not block.executed:
            continue
        if block.language == "python":
            # Empty lines in front make a traceback name the page's own line.
            code = compile("\n" * block.line + block.code, str(page), "exec")
            exec(code, names)  # noqa: S102 - our own documentation
        elif block.language == "sh":
            run_shell(block)


def run_shell(block: Block) -> None:
    done = subprocess.run(  # noqa: S603 - our own documentation
        ["bash", "-euo", "pipefail", "-c", block.code],  # noqa: S607 - whichever bash there is
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    where = f"{relative(block.page)}:{block.line}"
    assert done.returncode == block.exit_code, f"{where}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, f"{where}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_block_is_run_or_says_why_not(page):
    for block in blocks(page):
        assert block.language in ("sh", "python", "text", "yaml"), f"line {block.line}: {block.language!r}"
        if block.note:
            assert re.fullmatch(r"not executed: \S.*|exit \d+", block.note), (
                f"line {block.line}: {block.note}"
            )
        if block.language in ("sh", "python") and page not in {*EXECUTED, *RUN_ELSEWHERE}:
            assert not block.executed, f"line {block.line} is not run: say why"


@pytest.mark.parametrize("command", ["grade", "test"])
def test_the_readme_has_the_commands_that_ci_runs(command):
    mark = f"run by .ci/run ({command})"
    assert sum(mark in block.note for block in blocks(ROOT / "README.md")) == 1


# Links


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), target
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(prose(goal))}, target


def test_every_page_is_reachable_from_the_index():
    seen: set[Path] = set()
    waiting = [DOCS / "README.md", ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(prose(page)))
        waiting += [(page.parent / t).resolve() for t in targets if t and not t.startswith("http")]
    assert set(DOCS.rglob("*.md")) - {DOCS / "images" / "README.md"} <= seen


# The reference


def commands(command: typing.Any, name: str = "") -> Iterator[tuple[str, typing.Any]]:
    yield name, command
    for child, sub in getattr(command, "commands", {}).items():
        yield from commands(sub, f"{name} {child}".strip())


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS, ids=lambda name: name or "kellgren")
def test_command_line_page(name):
    text = sections(REFERENCE / "command-line.md")[f"`{name}`" if name else "Command line"]
    options = [parameter for parameter in COMMANDS[name].params if parameter.param_type_name == "option"]
    for option in options:
        for spelling in option.opts:
            assert re.search(rf"`{re.escape(spelling)}[ `]", text), f"{name} {spelling} is not described"
        row = next((line for line in text.splitlines() if line.startswith(f"| `{option.opts[0]}")), None)
        if row is None:  # described in a sentence: a switch
            assert option.is_flag, option.opts
        elif option.required:
            assert "| required |" in row
        elif isinstance(option.default, (str, int)) and not isinstance(option.default, bool):
            assert re.search(rf"\| `?{re.escape(str(option.default))}`? \|", row), row
    if name:
        known = {spelling for option in options for spelling in option.opts}
        described = set(re.findall(r"^\| `(--?[a-z-]+)", text, re.M))
        assert described <= known, f"{name} has no {described - known}"


def test_command_line_page_has_no_stale_command():
    headings = {heading for heading in sections(REFERENCE / "command-line.md") if heading.startswith("`")}
    assert headings == {f"`{name}`" for name in COMMANDS if name}


def test_extras_are_described():
    assert set(errors.EXTRAS) <= named(sections(REFERENCE / "command-line.md")["Extras"])


def test_grades_page_has_every_column():
    assert set(columns(TASKS)) <= named(prose(REFERENCE / "grades-csv.md"))


def test_steps_page_has_every_step_with_its_parameters():
    described = {
        heading.strip("`"): text
        for heading, text in sections(REFERENCE / "steps.md").items()
        if "`" in heading
    }
    assert list(described) == list(steps.STEPS)
    for name, step in steps.STEPS.items():
        rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", described[name], re.M))
        parameters = list(inspect.signature(step).parameters.values())[1:]
        assert rows == {
            parameter.name: "required" if parameter.default is parameter.empty else str(parameter.default)
            for parameter in parameters
        }


def test_steps_page_shows_steps_that_exist():
    [block] = [block for block in blocks(REFERENCE / "steps.md") if block.language == "yaml"]
    steps.parse(yaml.safe_load(block.code)["steps"])


def subclasses(cls: type) -> Iterator[type]:
    yield cls
    for child in cls.__subclasses__():
        yield from subclasses(child)


def test_errors_page_has_every_error():
    ours = {cls.__name__ for cls in subclasses(errors.KellgrenError) if cls.__module__.startswith("kellgren")}
    page = prose(REFERENCE / "errors.md")
    described = set(re.findall(r"^\| `([A-Z]\w+)` \|", page, re.M))
    assert described == ours
    assert {"message", "path", "remedy", "reason"} <= named(page)


def test_errors_page_has_the_limits():
    page = prose(REFERENCE / "errors.md")
    shown = {"max_bytes": "256 MiB", "max_pixels": "32 million", "min_side": "64 pixels"}
    assert set(shown) == {field.name for field in dataclasses.fields(DEFAULT_LIMITS)}
    assert dataclasses.asdict(DEFAULT_LIMITS) == {
        "max_bytes": 256 << 20,
        "max_pixels": 32_000_000,
        "min_side": 64,
    }
    for name, words in shown.items():
        assert re.search(rf"^\| `{name}` \| {words}", page, re.M), name


def fields(cls: type) -> Iterator[str]:
    """Names of a dataclass's fields and of those of the dataclasses inside it."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield field.name
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields(hints[field.name])


def test_recipes_page_has_every_recipe_and_key():
    from kellgren.train.graders import recipe

    page = REFERENCE / "recipes.md"
    headings = " ".join(sections(page))
    assert [name for name in recipe.available() if f"`{name}`" not in headings] == []
    assert set(fields(recipe.Recipe)) <= named(prose(page))


def keys(schema: object) -> Iterator[str]:
    """Every property that a schema names, at any depth."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for part in schema.values():
            yield from keys(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from keys(part)


@pytest.mark.parametrize(
    ("schema", "page"),
    [
        ("run", "run-json"),
        ("metrics", "metrics-json"),
        ("card", "card-json"),
        ("grades", "grades-csv"),
        ("predictions", "grades-csv"),
        ("labels", "data-set-folder"),
        ("folds", "data-set-folder"),
        ("films", "simulated-films"),
        ("film_truth", "simulated-films"),
    ],
)
def test_pages_have_every_key_of_their_schema(schema, page):
    missing = set(keys(schemas.load_schema(schema))) - named(prose(REFERENCE / f"{page}.md"))
    assert not missing


# The release


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert re.search(
        rf"^## \[{re.escape(__version__)}\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )
