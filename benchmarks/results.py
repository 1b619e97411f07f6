"""What a benchmark says: claims with their targets, and the figures behind them, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct


class Claim(Struct, frozen=True):
    """A figure that was promised; ``met`` is None where there was nothing to compare with."""

    what: str
    measured: str
    target: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """Whether the target is met, in a word or two."""
        return {True: "met", False: "**not met**", None: "not compared"}[self.met]


class Section(Struct, frozen=True):
    """One benchmark's claims and the table they are taken from; ``notes`` say what was done."""

    title: str
    notes: str
    claims: Sequence[Claim]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Run(Struct, frozen=True):
    """One benchmark's sections, and when, on what and with what they were measured."""

    date: str
    machine: str
    versions: str
    sections: Sequence[Section]


def rendered(runs: Iterable[Run]) -> Iterator[str]:
    """Give the lines of all runs: every claim in one table, then the figures of each."""
    runs = list(runs)
    claims = [claim for run in runs for section in run.sections for claim in section.claims]
    yield from table(
        ("claim", "measured", "target", ""),
        [(claim.what, claim.measured, claim.target, claim.verdict) for claim in claims],
    )
    for run in runs:
        for section in run.sections:
            yield from ("", f"## {section.title}", "", f"{section.notes} ({run.date})", "")
            yield from table(section.header, section.rows)
    yield from ("", "## Machines and versions", "")
    yield from sorted({f"* {run.date}: {run.machine}. {run.versions}." for run in runs})


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table whose columns are aligned for whoever reads the source."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"


def factor(peer: float, ours: float) -> str:
    """Say how many times less ours is than the peer's."""
    ratio = peer / ours
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def ms(seconds: float) -> str:
    """Say a duration in milliseconds, to three digits."""
    value = seconds * 1000
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def us(seconds: float) -> str:
    """Say a duration in microseconds."""
    return f"{seconds * 1e6:,.1f} µs"
