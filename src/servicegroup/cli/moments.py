"""Times on the command line: how long ago, such as 2h, or a moment, such as 2026-01-31T12:00."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from servicegroup.api.v1.query import moment
from servicegroup.errors import InvalidInput

_AGO = re.compile(r"(\d{1,9})\s*(s|min|h|d)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A time as naive UTC; how long ago is counted back by this host's clock."""

    name = "time"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment; fails for what is none."""
        try:
            if (ago := _AGO.fullmatch(value)) is None:
                return moment("the time", value)
            span = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.now(UTC).replace(tzinfo=None) - span
        except (InvalidInput, OverflowError):
            self.fail(
                f"{value!r} is neither a time such as 2026-01-31T12:00 (UTC) nor how long ago,"
                " such as 90s, 30min, 2h or 7d.",
                param,
                ctx,
            )
