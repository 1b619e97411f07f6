"""The configuration: an INI file and the environment, read once by an entry point, then frozen.

oslo.config does the reading and nothing else in the project imports it. A contradiction stops the
start with one sentence; it is never repaired in silence. The options of a driver's section are
the fields of its ``Options``, so a driver from elsewhere is configured like our own.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from servicegroup.driver import driver_class, driver_names
from servicegroup.errors import ConfigError
from servicegroup.model import Limits, OnUnknown
from servicegroup.protection import Threshold, Thresholds

if TYPE_CHECKING:
    from oslo_config import cfg

FILES = (Path("servicegroup.conf"), Path("/etc/servicegroup/servicegroup.conf"))

DEFAULT_PORT = 8774


class DriverChoice(msgspec.Struct, frozen=True):
    """A driver by name, with the options of its section."""

    name: str
    options: dict[str, Any] = {}


class Token(msgspec.Struct, frozen=True):
    """A static token as it is kept: its role and the SHA-256 of its text, in hex."""

    role: str
    sha256: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an entry point needs to know, already checked."""

    source: str
    limits: Limits
    driver: DriverChoice
    shadow_driver: DriverChoice | None
    host: str
    port: int
    connection: str
    auth_strategy: str
    tokens: tuple[Token, ...]
    insecure: bool
    thresholds: Thresholds
    keep_events: timedelta

    @property
    def uses_default_database(self) -> bool:
        """Whether the record lives in the embedded database under the state directory."""
        return self.connection == default_connection()


def state_directory() -> Path:
    """Return where this user's or this host's state lives (systemd and XDG conventions)."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/servicegroup")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "servicegroup"


def default_connection() -> str:
    """Return the URL of the embedded database."""
    return f"sqlite:///{state_directory() / 'servicegroup.sqlite'}"


def find_file(given: str | None) -> Path | None:
    """Return the configuration file to read, or None where there is none.

    Raises ConfigError for a file that was named and cannot be read.
    """
    named = given or os.environ.get("SERVICEGROUP_CONFIG")
    if named:
        if not os.access(named, os.R_OK) or Path(named).is_dir():
            raise ConfigError(f"Configuration file {named} cannot be read; check --config-file.")
        return Path(named)
    return next((path for path in FILES if os.access(path, os.R_OK)), None)


def load(config_file: str | None = None) -> Settings:
    """Read the file that is given, or found, and the environment; see ``find_file``.

    Raises ConfigError for a value that cannot be used and for a contradiction.
    """
    from oslo_config import cfg

    path = find_file(config_file)
    conf = cfg.ConfigOpts()
    conf.register_opts(_default_options())
    conf.register_opts(_database_options(), "database")
    conf.register_opts(_api_options(), "api")
    conf.register_opts(_protection_options(), "protection")
    conf.register_opts(_events_options(), "events")
    try:
        conf(args=[], project="servicegroup", default_config_files=[str(path)] if path else [])
        settings = _settings(conf, str(path) if path else "the defaults")
    except (cfg.Error, ValueError) as error:
        where = path or "The configuration in the environment"
        raise ConfigError(f"{where}: {str(error).rstrip('.')}.") from error
    _check(settings)
    return settings


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return every option by section, for oslo.config's generators and ``config sample``."""
    sections = [("DEFAULT", _default_options()), ("database", _database_options())]
    sections.append(("api", _api_options()))
    sections.append(("protection", _protection_options()))
    sections.append(("events", _events_options()))
    for name in driver_names():
        try:
            options = _driver_options(name)
        except ConfigError:  # its client library is not installed: it cannot be chosen here
            continue
        if options:
            sections.append((name, options))
    return sections


def _default_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.FloatOpt("report_interval", default=10, min=0.1, help=(
            "Seconds between two reports of a service. Lower finds silent services sooner and"
            " costs more commits; higher must stay well below service_down_time.")),
        cfg.FloatOpt("service_down_time", default=60, min=0.2, help=(
            "Seconds of silence after which a service is down. Allow for several missed reports:"
            " too low accuses services of a lost packet, too high hides a dead one.")),
        cfg.FloatOpt("heartbeat_interval", default=3, min=0.1, help=(
            "Seconds between two heartbeats of a member to the driver's backend.")),
        cfg.FloatOpt("membership_ttl", default=10, min=0.2, help=(
            "Seconds a member stays present after its last heartbeat; detection of a crash takes"
            " at most this plus the backend's slack. Keep it at three heartbeat intervals.")),
        cfg.StrOpt("servicegroup_driver", default="db", help=(
            "The driver that says who is present; db has no signal beside the record."
            f" Installed: {', '.join(driver_names())}.")),
        cfg.StrOpt("servicegroup_shadow_driver", default="", help=(
            "A second driver that is written and asked but not obeyed, while drivers change.")),
        cfg.StrOpt("on_unknown", default="record", choices=["record", "down"], help=(
            "What decides when the driver cannot tell: record lets the report decide, down is the"
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
        cfg.StrOpt("auth_strategy", default="none", choices=["none", "token"], help=(
            "Who may call: none trusts every caller and is for loopback, token asks for a static"
            " token in X-Auth-Token.")),
        cfg.MultiStrOpt("token", default=[], secret=True, help=(
            "A static token as role:sha256, repeatable; roles are admin, reader and reporter. The"
            " hash is what `printf %s TOKEN | sha256sum` prints, so the file holds no secret.")),
        cfg.BoolOpt("insecure", default=False, help=(
            "Let auth_strategy = none listen on an address other hosts can reach.")),
    ]  # fmt: skip


def _protection_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.IntOpt("minimum", default=3, min=2, help=(
            "Members of a group and zone that must lose one of their two signals together before"
            " the signal is suspect and the other one decides (AND-2). One alone never is.")),
        cfg.FloatOpt("share", default=0.2, min=0.0, max=1.0, help=(
            "Part of the group and zone, 0 to 1, that must lose it too before the signal stays"
            " suspect; fewer are down as soon as it shows that they stay few.")),
        cfg.MultiStrOpt("group", default=[], help=(
            "A group's own threshold as name:minimum:share, repeatable, say compute:10:0.1.")),
    ]  # fmt: skip


def _events_options() -> list[cfg.Opt]:
    from oslo_config import cfg

    return [
        cfg.IntOpt("keep_days", default=30, min=1, help=(
            "Days that events are kept; a million at the most, however young they are.")),
    ]  # fmt: skip


def _driver_options(name: str) -> list[cfg.Opt]:
    from oslo_config import cfg

    structure = driver_class(name).Options
    hints = get_type_hints(structure, include_extras=True)
    return [
        cfg.StrOpt(
            field.name,
            default=None,
            sample_default=_shown(field),
            help=_meta(hints, field).description or field.name,
            secret=bool((_meta(hints, field).extra or {}).get("secret")),
        )
        for field in msgspec.structs.fields(structure)
    ]


def _shown(field: msgspec.structs.FieldInfo) -> str:
    return "" if field.default in (None, msgspec.NODEFAULT) else str(field.default)


def _meta(hints: dict[str, Any], field: msgspec.structs.FieldInfo) -> msgspec.Meta:
    """Return what a driver's option says of itself: its help, and whether it is a secret."""
    extras = getattr(hints[field.name], "__metadata__", ())
    return next((extra for extra in extras if isinstance(extra, msgspec.Meta)), msgspec.Meta())


def _settings(conf: cfg.ConfigOpts, source: str) -> Settings:
    host, port = _bind(conf.bind)
    shadow = conf.servicegroup_shadow_driver
    return Settings(
        source=source,
        limits=Limits(
            report_interval=conf.report_interval,
            service_down_time=conf.service_down_time,
            heartbeat_interval=conf.heartbeat_interval,
            membership_ttl=conf.membership_ttl,
            driver=conf.servicegroup_driver,
            on_unknown=OnUnknown(conf.on_unknown),
        ),
        driver=driver_choice(conf, conf.servicegroup_driver),
        shadow_driver=driver_choice(conf, shadow) if shadow else None,
        host=host,
        port=port,
        connection=conf.database.connection or default_connection(),
        auth_strategy=conf.api.auth_strategy,
        tokens=tuple(_token(text) for text in conf.api.token),
        insecure=conf.api.insecure,
        thresholds=_thresholds(conf.protection),
        keep_events=timedelta(days=conf.events.keep_days),
    )


def driver_choice(conf: cfg.ConfigOpts, name: str) -> DriverChoice:
    """Read the section of the chosen driver; no other driver is even imported.

    Raises ConfigError for a driver that there is not, or whose client library is missing.
    """
    options = _driver_options(name)
    conf.register_opts(options, name)
    given = {option.name: conf[name][option.name] for option in options}
    return DriverChoice(name, {key: value for key, value in given.items() if value is not None})


def _bind(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"bind = {text} is not host:port; write for example 127.0.0.1:8774.")
    return host.strip("[]"), int(port)


def _token(text: str) -> Token:
    role, _, digest = text.partition(":")
    if role not in ("admin", "reader", "reporter"):
        raise ConfigError(f"[api] token names role {role!r}; use admin, reader or reporter.")
    if len(digest) != 64 or not all(letter in "0123456789abcdef" for letter in digest):
        raise ConfigError(f"[api] token of role {role} is not 64 hex digits of a SHA-256.")
    return Token(role, digest)


def _thresholds(options: Any) -> Thresholds:
    own = {}
    for text in options.group:
        name, _, rest = text.rpartition(":")
        name, _, minimum = name.rpartition(":")
        try:
            own[name] = Threshold(int(minimum), float(rest))
        except ValueError:
            name = ""
        if not name or own[name].minimum < 2 or not 0.0 <= own[name].share <= 1.0:
            raise ConfigError(
                f"[protection] group = {text} is not name:minimum:share with a minimum of 2 and a"
                " share from 0 to 1; write for example compute:10:0.1."
            )
    return Thresholds(Threshold(options.minimum, options.share), own)


def _check(settings: Settings) -> None:
    """Refuse contradictions, each with the option to change (AND-6)."""
    limits = settings.limits
    report, down = limits.report_interval, limits.service_down_time
    if down <= report:
        raise ConfigError(
            f"service_down_time = {down:g} must be longer than report_interval = {report:g}, or"
            " every service is down between two reports; six report intervals are usual."
        )
    check_heartbeats(limits)
    if settings.shadow_driver and settings.shadow_driver.name == settings.driver.name:
        raise ConfigError(
            f"servicegroup_shadow_driver = {settings.driver.name} is the driver itself;"
            " name the driver to move to, or leave it empty."
        )
    if settings.auth_strategy == "token" and not settings.tokens:
        raise ConfigError("auth_strategy = token needs at least one [api] token.")
    if settings.auth_strategy == "none" and not settings.insecure and not _is_loopback(settings):
        raise ConfigError(
            f"bind = {settings.host}:{settings.port} lets other hosts in while auth_strategy ="
            " none asks nobody who they are; set auth_strategy = token, or insecure = true."
        )


def check_heartbeats(limits: Limits) -> None:
    """Raise ConfigError for a time to live that ends between two heartbeats."""
    beat, ttl = limits.heartbeat_interval, limits.membership_ttl
    if ttl <= beat:
        raise ConfigError(
            f"membership_ttl = {ttl:g} must be longer than heartbeat_interval = {beat:g}, or"
            " members vanish between two heartbeats; three heartbeat intervals are usual."
        )


def _is_loopback(settings: Settings) -> bool:
    return (
        settings.host == "localhost" or settings.host.startswith("127.") or settings.host == "::1"
    )
