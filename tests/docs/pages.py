"""The documentation as data: pages, headings, links, table rows and code blocks.

A block is run unless the line before it is a comment that says why not; a block with a file's
name is written to that file instead::

    <!-- not run: needs a second host -->
    <!-- file: servicegroup.conf -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

RUN = ("console", "python")
"""Languages whose blocks are run."""

SHOWN = ("ini", "json", "text", "nginx", "yaml")
"""Languages whose blocks are only shown; a shell's language is not among them."""

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|file): (?P<said>[^\n]+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(msgspec.Struct, frozen=True):
    """A fenced block: where it begins, its language and text, and what is said before it."""

    line: int
    language: str
    text: str
    not_run: str = ""
    file: str = ""


class Page(msgspec.Struct, frozen=True):
    """One page of Markdown; ``prose`` is its text without the blocks."""

    path: Path
    text: str
    prose: str

    @property
    def name(self) -> str:
        """The page's path in the checkout."""
        return str(self.path.relative_to(ROOT))

    @property
    def headings(self) -> list[str]:
        """The headings, without their marks."""
        return _HEADING.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading of this page may end in, as forges make them."""
        plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in self.headings)
        return {heading.replace(" ", "-") for heading in plain}

    @property
    def links(self) -> list[str]:
        """The targets of all links."""
        return _LINK.findall(self.prose)

    @property
    def rows(self) -> list[list[str]]:
        """The rows of all tables, a list of cells each."""
        lines = (line for line in self.prose.splitlines() if line.startswith("|"))
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]

    @property
    def blocks(self) -> Iterator[Block]:
        """The fenced blocks, in order."""
        for found in _FENCE.finditer(self.text):
            said = {found["mark"] or "": found["said"] or ""}
            yield Block(
                self.text[: found.start("language")].count("\n") + 1,
                found["language"],
                found["text"],
                said.get("not run", ""),
                said.get("file", ""),
            )

    def section(self, heading: str) -> str:
        """Return the prose from a heading to the next of any level; raises KeyError."""
        parts = re.split(r"^(#{1,6} .+)$", self.prose, flags=re.MULTILINE)
        titles = [str(title).lstrip("# ") for title in parts[1::2]]
        sections: dict[str, str] = dict(zip(titles, parts[2::2], strict=True))
        return sections[heading]


@cache
def page(name: str) -> Page:
    """Return the page at a path in the checkout."""
    path = ROOT / name
    text = path.read_text()
    return Page(path, text, _FENCE.sub("", text))


def names() -> list[str]:
    """Return the paths of all pages: those of the top, and everything below docs."""
    top = (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
    return sorted(str(path.relative_to(ROOT)) for path in [*top, *DOCS.rglob("*.md")])
