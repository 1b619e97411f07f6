"""The options of the configuration file: their names, defaults and what each is for.

oslo.config's own declarations, and nothing else in the project but ``config`` reads them. The
options of a driver's section are the fields of its ``Options``, so a driver from elsewhere is
configured like our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from servicegroup.driver import Options, driver_class, driver_names, option_metas
from servicegroup.errors import ConfigError

if TYPE_CHECKING:
    from oslo_config import cfg

DEFAULT_PORT = 8774


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return every option by section, for oslo.config's generators and ``config sample``."""
    sections = own_options()
    for name in driver_names():
        try:
            options = driver_options(name)
        except ConfigError:  # its client library is not installed: it cannot be chosen here
            continue
        if options:
            sections.append((name, options))
    return sections


def own_options() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options that are ours, by section; those of drivers depend on the choice."""
    return [
        ("DEFAULT", _default_options()),
        ("database", _database_options()),
        ("api", _api_options()),
        ("protection", _protection_options()),
        ("events", _events_options()),
        ("records", _records_options()),
        ("rpc", _rpc_options()),
    ]


def _default_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.FloatOpt("report_interval", default=10, min=0.1, help=(
            "Seconds between two reports of a service. Lower finds silent services sooner and"
            " costs more commits; higher must stay well below service_down_time.")),
        cfg.FloatOpt("service_down_time", default=60, min=0.2, help=(
            "Seconds of silence after which a service is down. Allow for several missed reports:"
            " too low takes a lost packet for a dead service, too high hides a dead one.")),
        cfg.FloatOpt("heartbeat_interval", default=3, min=0.1, help=(
            "Seconds between two heartbeats of a member to the driver's backend.")),
        cfg.FloatOpt("membership_ttl", default=10, min=0.2, help=(
            "Seconds a member stays present after its last heartbeat; detection of a crash takes"
            " at most this plus the backend's slack. Keep it at three heartbeat intervals.")),
        cfg.StrOpt("servicegroup_driver", default="session", help=(
            "The driver that says which services are present: session by the connection that each"
            " holds with a control plane, db by nothing beside the record, the others by a backend."
            f" Installed: {', '.join(driver_names())}.")),
        cfg.StrOpt("servicegroup_shadow_driver", default="", help=(
            "A second driver that is written and asked but not obeyed, while drivers change.")),
        cfg.StrOpt("on_unknown", default="record", choices=["record", "down"], help=(
            "What decides when the driver does not know: record lets the report decide, down is the"
            " strict reading and takes the fleet down with the backend (AND-1).")),
        cfg.StrOpt("bind", default=f"127.0.0.1:{DEFAULT_PORT}", help=(
            "Address and port of the API, as host:port or [ipv6]:port.")),
    ]  # fmt: skip


def _database_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.StrOpt("connection", default="", secret=True, help=(
            "SQLAlchemy URL of the record, say postgresql+psycopg://user:password@host/servicegroup"
            " or mysql+pymysql://…. Empty: SQLite under the state directory, for one host.")),
    ]  # fmt: skip


def _api_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.StrOpt("auth_strategy", default="none", choices=["none", "token", "keystone"], help=(
            "Who may call: none trusts every caller and is for loopback, token asks for a token in"
            " X-Auth-Token, keystone asks Keystone about it, by [keystone_authtoken].")),
        cfg.MultiStrOpt("token", default=[], secret=True, help=(
            "A static token as role:sha256 or role:sha256:name, repeatable; roles are admin, reader"
            " and reporter, and events show its name. The hash is what `printf %s TOKEN |"
            " sha256sum` prints, so the file holds no secret. Tokens of `servicegroup token create`"
            " need no line here and no restart.")),
        cfg.BoolOpt("insecure", default=False, help=(
            "Let auth_strategy = none listen on an address other hosts can reach.")),
        cfg.StrOpt("certfile", default="", help=(
            "PEM file of the API's certificate and what signed it, in that order; the API then"
            " speaks https, and http if empty. Renewed files are used within a second, without a"
            " restart and without ending a connection.")),
        cfg.StrOpt("keyfile", default="", help=(
            "PEM file of the key of certfile, not encrypted; empty if certfile has it too.")),
        cfg.StrOpt("client_ca", default="", help=(
            "PEM file of the authorities that sign the certificates of agents; a client that shows"
            " one is the host that its first DNS name, else its common name, names."
            " Empty: clients are not asked for one.")),
        cfg.StrOpt("client_certificate", default="optional", choices=["optional", "required"],
                   help=(
            "Whether a client may do without a certificate where client_ca is set. Even if"
            " required, /healthz and /readyz answer without one, for load balancers.")),
        cfg.FloatOpt("rate_limit", default=200, min=0, help=(
            "Requests a second of one client, which is the host of its certificate, else its"
            " address; it may save up ten seconds' worth, and gets 429 with Retry-After beyond"
            " that. Agents of one address share it, so raise it for agents behind one router or"
            " load balancer. 0: no limit. Clients on this host have none.")),
        cfg.IntOpt("connection_limit", default=1000, min=0, help=(
            "Connections of one client, as for rate_limit, at the same time. An agent has one for"
            " each service. 0: no limit.")),
    ]  # fmt: skip


def _protection_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.IntOpt("minimum", default=3, min=2, help=(
            "Members of a group and zone that must lose the same signal together before"
            " the signal is suspect and the other one decides (AND-2). One alone never is.")),
        cfg.FloatOpt("share", default=0.2, min=0.0, max=1.0, help=(
            "Share of the group and zone, 0 to 1, that must lose it for the signal to stay"
            " suspect; fewer are down as soon as it is clear that they stay few.")),
        cfg.MultiStrOpt("group", default=[], help=(
            "A group's own threshold as name:minimum:share, repeatable, say compute:10:0.1.")),
    ]  # fmt: skip


def _events_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.IntOpt("keep_days", default=30, min=1, help=(
            "Days that events are kept; a million at the most, however young they are.")),
        cfg.IntOpt("keep_operators_days", default=365, min=1, help=(
            "Days that events of what operators did are kept: edits, force-downs, deletes, tokens;"
            " keep_days if that is longer. 100,000 more than the million at the most.")),
    ]  # fmt: skip


def _records_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.MultiStrOpt("end", default=[], help=(
            "When records end by themselves, as group:reason:days, repeatable, say worker:left:1:"
            " services of the group that are down for the reason (left, exited or silent) and have"
            " not reported for so many days are deleted. For groups whose names never come back,"
            " as those of pods. Without any, no record ends.")),
    ]  # fmt: skip


def _rpc_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.StrOpt("deaf", default="warn", choices=["warn", "down"], help=(
            "What a service is that answers no questions in its session while its other signals go"
            " on: warn shows it, and down takes it down once it has left two in a row unanswered."
            " Only services that say that they answer are asked.")),
        cfg.FloatOpt("interval", default=30, min=1, help=(
            "Seconds between two questions to a service. Lower finds a work loop that hangs sooner,"
            " and costs every control plane and agent two frames as often.")),
        cfg.FloatOpt("timeout", default=10, min=1, help=(
            "Seconds a service has to answer. A service that works longer than that without"
            " coming round looks deaf; higher finds one that hangs later.")),
    ]  # fmt: skip


def driver_options(name: str) -> list[cfg.Opt]:
    """Return the options of a driver's section. Raises ConfigError where it cannot be loaded."""
    return options_of(driver_class(name).Options)


def options_of(structure: type[Options]) -> list[cfg.Opt]:
    """Return the options of a section that takes what the structure has."""
    from oslo_config import cfg

    metas = option_metas(structure)
    return [
        cfg.StrOpt(
            field.name,
            default=None,
            sample_default=_shown(field),
            help=metas[field.name].description or field.name,
            secret=bool((metas[field.name].extra or {}).get("secret")),
        )
        for field in msgspec.structs.fields(structure)
    ]


def _shown(field: msgspec.structs.FieldInfo) -> str:
    return "" if field.default in (None, msgspec.NODEFAULT) else str(field.default)
