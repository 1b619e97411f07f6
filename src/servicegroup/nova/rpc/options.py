"""Section ``[rpc]`` of nova.conf: how services are asked, and what their silence means."""

from __future__ import annotations

import msgspec
from oslo_config import cfg

from servicegroup.errors import ConfigError

GROUP = "rpc"

OPTIONS = [
    cfg.StrOpt("deaf", default="warn", choices=["warn", "down"], help=(
        "What a service is that answers no RPC while its other signals go on: warn shows it, and"
        " down takes it down, so that it gets no work.")),
    cfg.FloatOpt("timeout", default=5, min=0.5, max=30, help=(
        "Seconds a service has to answer, each of two times. A service whose threads are all busy"
        " for longer looks deaf; every deaf one costs this time twice.")),
    cfg.FloatOpt("rate", default=150, min=1, max=500, help=(
        "Questions a second at most, which bounds what a probe costs this host, RabbitMQ and the"
        " services.")),
    cfg.FloatOpt("keep", default=600, min=10, help=(
        "Seconds for which an answer, or its absence, is believed. Probe at least twice as"
        " often.")),
    cfg.StrOpt("results", default="$state_path/servicegroup-rpc.json", help=(
        "The file in which the probe keeps what it found, and by which every process on this host"
        " judges. Its directory must be writable for the probe alone.")),
]  # fmt: skip


class RpcSettings(msgspec.Struct, frozen=True):
    """Section ``[rpc]``; times in seconds, ``rate`` in questions a second."""

    deaf_is_down: bool
    timeout: float
    rate: float
    keep: float
    results: str


def load(conf: cfg.ConfigOpts, *, driver: str | None) -> RpcSettings:
    """Read the section; ``driver`` is the one of ours that is obeyed, None for Nova's own.

    Raises ConfigError for a contradiction.
    """
    own = conf[GROUP]
    found = RpcSettings(own.deaf == "down", own.timeout, own.rate, own.keep, own.results)
    if found.deaf_is_down and driver is None:
        raise ConfigError(
            "[rpc] deaf = down needs a servicegroup_driver of servicegroup, since Nova's own db and"
            " mc judge without it; set deaf = warn, or another driver."
        )
    if found.keep < 4 * found.timeout:
        raise ConfigError(
            f"[rpc] keep = {found.keep:g} is too short for timeout = {found.timeout:g}: an answer"
            f" would be forgotten while others are waited for; set it to {4 * found.timeout:g} or"
            " more."
        )
    return found
