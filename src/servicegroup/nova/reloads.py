"""What a SIGHUP changes of the layer: nothing; a restart is needed, and the log says so (F-47).

oslo.config reads nova.conf again then, but gives out new values of options that Nova calls mutable
alone. None of ours is: members that joined by other limits would be missed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_config import cfg

from servicegroup.errors import ServiceGroupError
from servicegroup.nova.settings import Settings, load, register_options

log = logging.getLogger("servicegroup.nova")

Register = Callable[[cfg.ConfigOpts], Any]
"""Registers the options of Nova's that the layer reads."""


def tell_of_changes(conf: cfg.ConfigOpts, novas_own: Register, running: Settings) -> None:
    """Compare what runs with nova.conf whenever that is read again, and tell of a difference."""
    conf.register_mutate_hook(partial(_compare, novas_own, running))


def _compare(novas_own: Register, running: Settings, conf: cfg.ConfigOpts, _: Any) -> None:
    try:
        found = _read_again(conf, novas_own)
    except (ServiceGroupError, cfg.Error) as error:
        log.warning(
            "nova.conf was read again, and this process would not start with it: %s It runs on as"
            " it was started.",
            error,
        )
        return
    if found != running:
        log.warning(
            "What nova.conf says of servicegroup has changed: restart needed. This process runs on"
            " as it was started."
        )


def _read_again(conf: cfg.ConfigOpts, novas_own: Register) -> Settings:
    """Read the files of a configuration as they are now. Raises ConfigError, cfg.Error."""
    fresh = cfg.ConfigOpts()
    novas_own(fresh)
    register_options(fresh)
    fresh([], default_config_files=conf.config_file, default_config_dirs=conf.config_dir)
    return load(fresh)
