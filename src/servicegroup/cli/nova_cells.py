"""What ``servicegroup nova`` prints of cells without an answer: services are UNKNOWN (F-43)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from servicegroup.cli.output import Column
from servicegroup.model import Service

if TYPE_CHECKING:
    from servicegroup.nova.cells import Away

UNKNOWN = "UNKNOWN"
"""The state of a service whose record cannot be read, as Nova's own clients call it."""


class Unjudged(msgspec.Struct, frozen=True):
    """A service that a host mapping tells of, and whose record is in a cell that is away."""

    host: str
    why: str
    binary: str = "nova-compute"
    """Only hosts of computes are mapped to cells."""
    state: str = UNKNOWN
    reason: str = "cell_away"


Row = Service | Unjudged


def unjudged(missing: Sequence[Away]) -> list[Unjudged]:
    """Return the services that are known of the cells that do not answer."""
    return [Unjudged(host, said(cell)) for cell in missing for host in cell.hosts]


def said(cell: Away) -> str:
    """Say of a cell that it does not answer, and why."""
    return f"Cell {cell.name} does not answer: {cell.why.rstrip('.')}."


def names_of(missing: Sequence[Away]) -> str:
    """Name the cells, for a sentence."""
    return ", ".join(cell.name for cell in missing)


def with_unjudged(column: Column[Service]) -> Column[Row]:
    """Return the column for services that were not judged as well."""

    def value(row: Row) -> Any:
        return column.value(row) if isinstance(row, Service) else getattr(row, column.key, None)

    def text(row: Row) -> str:
        return column.text(row) if isinstance(row, Service) else str(value(row) or "")

    return Column(column.heading, value, text, usual=column.usual)
