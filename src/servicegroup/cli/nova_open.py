"""The way of every command of ``servicegroup nova`` to the Nova that its options name."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from servicegroup.errors import ConfigError

if TYPE_CHECKING:
    from servicegroup.nova.deployment import Deployment


def open_deployment(ctx: click.Context) -> Deployment:
    """Open Nova for as long as the command runs. Raises ConfigError where there is none."""
    if find_spec("nova") is None:
        raise ConfigError(
            f"Nova is not installed beside {sys.executable}; run the servicegroup of the"
            " environment that Nova runs in."
        )
    from servicegroup.nova.deployment import Deployment

    deployment = Deployment(ctx.obj)
    ctx.call_on_close(deployment.close)
    return deployment
