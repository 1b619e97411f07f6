"""The layer's part of nova.conf, read into frozen settings; the limits are Nova's own options.

Sections of drivers are those of servicegroup.conf, by the same names: Nova has none of them.
"""

from __future__ import annotations

import msgspec
from oslo_config import cfg

from servicegroup.config import DriverChoice, check_heartbeats
from servicegroup.errors import ConfigError
from servicegroup.model import Limits, OnUnknown
from servicegroup.nova import drivers
from servicegroup.nova.rpc import options as rpc
from servicegroup.nova.rpc.options import RpcSettings

GROUP = "servicegroup"

TESTED = "34."
"""What the version of a Nova begins with that the layer was tested with."""

OPTIONS = [
    cfg.StrOpt("on_unknown", default="record", choices=["record", "down"], help=(
        "What decides when the driver does not know: record lets Nova's own report decide, down"
        " takes the fleet down with the backend (AND-1).")),
    cfg.StrOpt("shadow_driver", default="", help=(
        "A second driver that is written and compared but not obeyed, while drivers change; it may"
        " also stand beside Nova's db and mc.")),
    cfg.FloatOpt("heartbeat_interval", default=3, min=0.1, help=(
        "Seconds between two heartbeats of a service to the driver's backend.")),
    cfg.FloatOpt("membership_ttl", default=10, min=0.2, help=(
        "Seconds a service stays present after its last heartbeat. ZooKeeper uses its own"
        " session_timeout instead. Keep it at three heartbeat intervals.")),
    cfg.BoolOpt("allow_untested_nova", default=False, help=(
        "Start with a version of Nova that the layer was not tested with.")),
]  # fmt: skip


class Settings(msgspec.Struct, frozen=True):
    """What the layer is to do; ``driver`` is None where one of Nova's own is obeyed."""

    limits: Limits
    driver: DriverChoice | None
    shadow: DriverChoice | None
    rpc: RpcSettings


def register_options(conf: cfg.ConfigOpts) -> None:
    """Let the sections ``[servicegroup]`` and ``[rpc]`` hold the layer's options."""
    conf.register_opts(OPTIONS, GROUP)
    conf.register_opts(rpc.OPTIONS, rpc.GROUP)


def require_tested(found: str, *, allowed: bool) -> None:
    """Raise ConfigError for a version of Nova that was not tested, unless that is allowed."""
    if not allowed and not found.startswith(TESTED):
        raise ConfigError(
            f"servicegroup was tested with Nova {TESTED}*, and this is {found}: set [servicegroup]"
            " allow_untested_nova = true to try it, or servicegroup_driver = db and no"
            " config_source to go without."
        )


def load(conf: cfg.ConfigOpts) -> Settings:
    """Read Nova's configuration, whose own options and ours are registered.

    Raises ConfigError for a value that cannot be used and for a contradiction.
    """
    try:
        return _settings(conf)
    except (cfg.Error, ValueError) as error:
        raise ConfigError(f"nova.conf: {str(error).rstrip('.')}.") from error


def _settings(conf: cfg.ConfigOpts) -> Settings:
    own = conf[GROUP]
    name, shadow = conf.servicegroup_driver, own.shadow_driver
    obeyed = drivers.NAMES.get(name)
    limits = Limits(
        report_interval=conf.report_interval,
        service_down_time=conf.service_down_time,
        heartbeat_interval=own.heartbeat_interval,
        membership_ttl=own.membership_ttl,
        driver=obeyed or name,
        on_unknown=OnUnknown(own.on_unknown),
    )
    check_heartbeats(limits)
    if shadow and drivers.NAMES.get(shadow) in (None, obeyed):
        others = ", ".join(other for other, driver in drivers.NAMES.items() if driver != obeyed)
        raise ConfigError(f"[servicegroup] shadow_driver = {shadow} must be one of {others}.")
    return Settings(
        limits,
        drivers.choice(conf, obeyed) if obeyed else None,
        drivers.choice(conf, drivers.NAMES[shadow]) if shadow else None,
        rpc.load(conf, driver=obeyed),
    )
