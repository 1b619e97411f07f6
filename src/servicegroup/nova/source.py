"""The oslo.config source that makes Nova know the drivers, while it reads nova.conf.

Nova decides how it runs before anything else may be imported, and parses nova.conf for that with a
configuration of its own. So this module imports nothing but oslo.config, and acts only for the
global configuration, which is parsed later. Helpers of privsep read nova.conf as well, with every
operation on a volume or a network: what is wrong in it must not end them (F-46).
"""

from __future__ import annotations

from typing import Any

from oslo_config import cfg, sources


class _Nothing(sources.ConfigurationSource):
    """A source without values: every option comes from the files, as before."""

    def get(self, group_name: str | None, option_name: str, opt: cfg.Opt) -> tuple[Any, None]:
        return sources._NoValue, None  # noqa: SLF001 - what the interface asks for has no other name


class ServiceGroupSource(sources.ConfigurationSourceDriver):
    """Entry point ``servicegroup`` of ``oslo.config.driver``; see the module."""

    def open_source_from_opt_group(
        self, conf: cfg.ConfigOpts, group_name: str
    ) -> sources.ConfigurationSource:
        """Make the drivers known, and return a source that has no values.

        Ends the process with one sentence where Nova or the configuration does not fit: oslo.config
        would log any other error, and go on without the layer.
        """
        if conf is cfg.CONF and conf.project == "nova":
            from servicegroup.errors import ServiceGroupError
            from servicegroup.nova.registration import register

            try:
                register(conf)
            except ServiceGroupError as error:
                raise SystemExit(str(error)) from error
        return _Nothing()

    def list_options_for_discovery(self) -> list[cfg.Opt]:
        """Return nothing: the section's options are the layer's."""
        return []
