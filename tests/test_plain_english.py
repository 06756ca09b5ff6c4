"""Turns of phrase that read as if translated are refused, in everything that a user reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "zoo" / "README.md"])
SOURCES = sorted((ROOT / "src").rglob("*.py"))

THING = (
    r"(?:rows?|lines?|figures?|maps?|assessments?|values?|columns?|entry|entries|heads?|temperatures?|objects?"
    r"|tables?|masks?|pictures?|weights?|points?|networks?|blocks?|files?|seconds|minutes|ms|MB|MiB)"
)
OF = (
    r"(?:knee|film|file|epoch|phase|task|grade|fold|point|row|finding|image|answer|processor|patient|group"
    r"|line|crop|pixel|training|figure|class|step|batch|side|view|level|member|recipe|network|bundle|stage)"
)
REFUSED = {
    rf"\b{THING} an? {OF}\b(?! (?:must|may|can))": "one row per knee",
    r"\bone a (?:processor|knee|file)\b": "one per processor",
    r"\bFiles at once\b": "number of files graded at the same time",
    r"\b(?:is|are|was|were) (?:not )?to be (?:recognised|seen|told|had)\b": "is recognised, is visible",
    r"\b(?:is|are|was|were) had\b": "come from",
    r"\bhad from\b": "downloaded from",
    r"\bneither a right nor a left knee is\b": "shows neither a right nor a left knee",
    r"\b[Aa] plain word\b": "say what is meant",
    r"\bof which none\b": "none of which",
    r"\b[Ww]hat (?:it|is|was) (?:is |was )?asked (?:for|of)\b": "what was requested",
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?:knee|radiograph|film|image|bundle|atlas)\b": "is not a knee",
    r"\bturn(?:s|ed)? over\b": "inverted",
    r"\bhowever rudely\b": "in whatever way",
    r"\bgo(?:es|ne)? on from\b": "continue from",
    r"\bdeal[st]? out\b": "assign",
    r"\b(?:is|are|was|were) (?:not )?at hand\b": "available",
    r"\b(?:would|will|could) else\b": "would otherwise",
    r"\b[Tt]he user's word\b": "what the user states",
    r"\bof another source\b": "from another source",
    r"\b(?:is|are) told (?:from|by)\b": "is determined from",
    r"\b(?:is|are|was|were) passed over\b": "are skipped",
    r"\banew\b": "again",
    r"\bsurely better\b|\bmost surely\b": "clearly better",
    r"\bWho said so\b": "provenance",
    r"\bWhat then\?": "what to do next",
    r"\bthere twice\b": "duplicated",
    r"\bnothing of use\b": "nothing useful",
    r"\btells? nothing\b": "says nothing",
    r"\bsee to it\b": "make sure",
    r"\bas good as none\b": "hardly any",
}


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_translated_turns(path):
    text = path.read_text(encoding="utf-8")
    found = [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}, rather: {instead}"
        for pattern, instead in REFUSED.items()
        for match in re.finditer(pattern, text)
    ]
    assert not found, "\n".join(found)


def test_the_list_has_no_dead_pattern():
    samples = (
        "one row a knee; Files at once; 0: one a processor; it is had from there; drawn anew; of which none"
    )
    assert len(REFUSED) >= 25
    assert sum(bool(re.search(pattern, samples)) for pattern in REFUSED) >= 5
