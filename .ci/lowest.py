"""Print the lowest versions that pyproject.toml admits, one pip constraint per line.

    python .ci/lowest.py codecs study >constraints.txt      # the core, and what the named extras add

A requirement without a lower end, or without an upper end at a major version, is an error.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"([A-Za-z0-9-]+)>=(\d+)([\d.]*),<(\d+)")


def lowest(requirement: str) -> str:
    """`name==floor` of a requirement `name>=floor,<ceiling`.

    Raises:
        ValueError: If the requirement has another form.
    """
    match = REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise ValueError(f"{requirement}: write name>=LOWEST,<NEXT_MAJOR")
    name, major, rest, ceiling = match.groups()
    if int(ceiling) <= int(major):
        raise ValueError(f"{requirement}: the upper end lies below the lower one")
    return f"{name}=={major}{rest}"


def main() -> None:
    """Constraints of the core and of the extras that the command line names; every requirement is checked."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    extras = project["optional-dependencies"]
    named = {"core": project["dependencies"], **{name: extras[name] for name in extras if name != "all"}}
    constraints = {group: [lowest(requirement) for requirement in named[group]] for group in named}
    for group in ("core", *sys.argv[1:]):
        print("\n".join(constraints[group]))


if __name__ == "__main__":
    main()
