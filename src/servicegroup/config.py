"""The configuration: an INI file and the environment, read once by an entry point, then frozen.

oslo.config does the reading, by the declarations in ``options``. A contradiction stops the start
with one sentence; it is never repaired in silence.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from servicegroup.driver import Options, driver_class
from servicegroup.errors import ConfigError
from servicegroup.model import Limits, OnUnknown
from servicegroup.options import options_of, own_options
from servicegroup.protection import Threshold, Thresholds
from servicegroup.rpc import RpcLimits
from servicegroup.values import register

if TYPE_CHECKING:
    from oslo_config import cfg

_DAY = 86_400.0
_LONGEST_DAYS = 36_500
EndingReason = Literal["left", "exited", "silent"]
_ENDING_REASONS: dict[str, EndingReason] = {reason: reason for reason in get_args(EndingReason)}

FILES = (Path("servicegroup.conf"), Path("/etc/servicegroup/servicegroup.conf"))


class DriverChoice(msgspec.Struct, frozen=True):
    """A driver by name, with the options of its section."""

    name: str
    options: dict[str, Any] = {}


class Token(msgspec.Struct, frozen=True):
    """A static token as it is kept: its role, the SHA-256 of its text in hex, and its name."""

    role: str
    sha256: str
    name: str


class ApiTls(msgspec.Struct, frozen=True):
    """PEM files of the API's TLS; of ``client_ca`` empty is that no client is asked for one."""

    certfile: str
    keyfile: str
    client_ca: str
    required: bool


class Ending(msgspec.Struct, frozen=True):
    """When records of a group end: for which reason to be down, after so many seconds unseen."""

    group: str
    reason: EndingReason
    unseen: float

    def __str__(self) -> str:
        """Return it as it is configured."""
        return f"{self.group}:{self.reason}:{self.unseen / _DAY:g}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an entry point needs to know, already checked."""

    source: str
    config_file: str | None
    limits: Limits
    driver: DriverChoice
    shadow_driver: DriverChoice | None
    host: str
    port: int
    connection: str
    auth_strategy: str
    tokens: tuple[Token, ...]
    insecure: bool
    tls: ApiTls | None
    rate_limit: float
    connection_limit: int
    thresholds: Thresholds
    keep_events: timedelta
    keep_of_operators: timedelta
    endings: tuple[Ending, ...]
    rpc: RpcLimits

    @property
    def uses_default_database(self) -> bool:
        """Whether the record lives in the embedded database under the state directory."""
        try:
            return self.connection == default_connection()
        except ConfigError:  # there is no place for it, and so it is another one
            return False


def state_directory() -> Path:
    """Return where this user's or this host's state lives (systemd and XDG conventions).

    Raises ConfigError where none is named, for a user without a home (F-11).
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/servicegroup")
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "servicegroup"
    try:
        home = Path.home()
    except RuntimeError:
        raise ConfigError(
            f"User {os.geteuid()} has no home for the state directory; set [database] connection,"
            " or STATE_DIRECTORY."
        ) from None
    return home / ".local" / "state" / "servicegroup"


def default_connection() -> str:
    """Return the URL of the embedded database. Raises ConfigError as ``state_directory``."""
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
    try:
        conf(
            args=[],
            project="servicegroup",
            default_config_files=[str(path)] if path else [],
            use_env=False,  # read by ``register``, as it stands
        )
        for section, options in own_options():
            register(conf, section, options)
        settings = _settings(conf, str(path) if path else None)
    except cfg.ConfigFileParseError as error:
        wrong: Any = error.__context__  # the error quotes the line, which may hold a password
        raise ConfigError(f"{path}: {wrong.msg} in line {wrong.lineno}.") from None
    except (cfg.Error, ValueError) as error:
        where = path or "The configuration in the environment"
        raise ConfigError(f"{where}: {str(error).rstrip('.')}.") from error
    _check(settings)
    return settings


def _settings(conf: cfg.ConfigOpts, path: str | None) -> Settings:
    host, port = _bind(conf.bind)
    shadow = conf.servicegroup_shadow_driver
    return Settings(
        source=path or "the defaults",
        config_file=path,
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
        tls=_tls(conf.api),
        rate_limit=conf.api.rate_limit,
        connection_limit=conf.api.connection_limit,
        thresholds=_thresholds(conf.protection),
        keep_events=timedelta(days=conf.events.keep_days),
        keep_of_operators=timedelta(days=conf.events.keep_operators_days),
        endings=tuple(_ending(text) for text in conf.records.end),
        rpc=RpcLimits(conf.rpc.interval, conf.rpc.timeout, conf.rpc.deaf == "down"),
    )


def driver_choice(conf: cfg.ConfigOpts, name: str) -> DriverChoice:
    """Read the section of the chosen driver; no other driver is even imported.

    Raises ConfigError for a driver that there is not, or whose client library is missing.
    """
    return choice_of(conf, name, driver_class(name).Options)


def choice_of(conf: cfg.ConfigOpts, name: str, structure: type[Options]) -> DriverChoice:
    """Read the section of that name, which takes what the structure has. Raises ConfigError."""
    options = options_of(structure)
    register(conf, name, options)
    given = {option.name: conf[name][option.name] for option in options}
    return DriverChoice(name, {key: value for key, value in given.items() if value is not None})


def _bind(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"bind = {text} is not host:port; write for example 127.0.0.1:8774.")
    return host.strip("[]"), int(port)


def _token(text: str) -> Token:
    role, _, rest = text.partition(":")
    digest, _, name = rest.partition(":")
    if role not in ("admin", "reader", "reporter"):  # it may be the token itself
        raise ConfigError("[api] token does not begin with admin:, reader: or reporter:.")
    if len(digest) != 64 or not all(letter in "0123456789abcdef" for letter in digest):
        raise ConfigError(f"[api] token of role {role} is not 64 hex digits of a SHA-256.")
    return Token(role, digest, name or role)


def _tls(options: Any) -> ApiTls | None:
    required = options.client_certificate == "required"
    if options.certfile:
        if required and not options.client_ca:
            raise ConfigError(
                "[api] client_certificate = required needs client_ca, the authorities that sign"
                " the certificates of clients."
            )
        return ApiTls(options.certfile, options.keyfile, options.client_ca, required)
    for name, given in (
        ("keyfile", options.keyfile),
        ("client_ca", options.client_ca),
        ("client_certificate = required", required),
    ):
        if given:
            raise ConfigError(f"[api] {name} is for TLS; set certfile, or remove it.")
    return None


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


def _ending(text: str) -> Ending:
    name, _, days = text.rpartition(":")
    name, _, reason = name.rpartition(":")
    try:
        found = Ending(name, _ENDING_REASONS[reason], float(days) * _DAY)
    except (KeyError, ValueError):
        name = ""
    if not name or not 0 < found.unseen <= _LONGEST_DAYS * _DAY:
        raise ConfigError(
            f"[records] end = {text} is not group:reason:days with a reason of"
            f" {', '.join(_ENDING_REASONS)} and days from 0 to {_LONGEST_DAYS}; write for example"
            " worker:left:1."
        )
    return found


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
    rpc = settings.rpc
    if rpc.interval <= rpc.timeout:
        raise ConfigError(
            f"[rpc] interval = {rpc.interval:g} must be longer than timeout ="
            f" {rpc.timeout:g}, or a service is asked again before its time to answer has"
            " passed."
        )
    if settings.shadow_driver and settings.shadow_driver.name == settings.driver.name:
        raise ConfigError(
            f"servicegroup_shadow_driver = {settings.driver.name} is the driver itself;"
            " name the driver to move to, or leave it empty."
        )
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
