"""``servicegroup serve``: the control plane, from the configuration to a listening socket."""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING

import click

from servicegroup.cli.allocation import keep_memory
from servicegroup.cli.first_process import stand_before
from servicegroup.cli.local import connect, open_group
from servicegroup.cli.logs import on_stderr
from servicegroup.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servicegroup.config import Settings
    from servicegroup.group import ServiceGroup


@click.command()
@click.option("--log-level", default="info", show_default=True,
              type=click.Choice(["debug", "info", "warning", "error"]),
              help="How much to log, on standard error.")  # fmt: skip
@click.pass_context
def serve(context: click.Context, log_level: str) -> None:
    """Run the control plane: REST API, intake, observer, dashboard, metrics.

    \b
    Everything else is configuration (servicegroup config sample). Without any, it listens on
    127.0.0.1:8774, keeps its record in SQLite under the state directory, and uses driver session.

    \b
      servicegroup serve
      servicegroup --config-file /etc/servicegroup/servicegroup.conf serve
      OS_DEFAULT__BIND=127.0.0.1:9000 servicegroup serve
    """  # noqa: D301 - click wants the character
    from servicegroup import config
    from servicegroup.store import database

    stand_before()
    lines = on_stderr("%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.basicConfig(level=log_level.upper(), handlers=[lines])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = config.load(context.find_root().params.get("config_file"))
    listener = listen(settings)
    try:
        if settings.uses_default_database:
            _create_embedded(settings)
        engine = connect(settings)
        reserved = database.connect(settings.connection, database.RESERVED)
        group = open_group(settings, engine, reserved)
        group.driver_states()  # refuses a membership_ttl that the backend cannot keep (MC-2)
        try:
            run(settings, group, reserved, listener)
        finally:
            group.close()
    finally:
        listener.close()


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket; raises ConfigError when the address cannot be had."""
    try:
        # An IPv4 address if the name has one, as ever; a name may have none (F-11).
        family, *_, address = min(
            socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        )
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()  # the server says how many may wait
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        cause = getattr(error, "strerror", None) or "it is no name of a host"
        raise ConfigError(
            f"bind = {settings.host}:{settings.port} cannot be listened on ({cause});"
            " stop what holds it, or set another bind."
        ) from error
    return listener


def _create_embedded(settings: Settings) -> None:
    """Create the embedded database, or upgrade it; raises ConfigError, StoreUnavailable."""
    from servicegroup.config import state_directory
    from servicegroup.store import database, migrate

    directory = state_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".writable").touch()
        (directory / ".writable").unlink(missing_ok=True)  # others may start here too
    except OSError as error:
        raise ConfigError(
            f"The state directory {directory} cannot be written ({error.strerror}); set"
            " STATE_DIRECTORY, or [database] connection."
        ) from error
    engine = database.connect(settings.connection)
    migrate.upgrade(engine)
    engine.dispose()


def run(settings: Settings, group: ServiceGroup, engine: Engine, listener: socket.socket) -> None:
    """Serve until a signal stops it, joined to its own register; tokens are in ``engine``."""
    from servicegroup.api.access.strategies import authenticator
    from servicegroup.api.app import create_app
    from servicegroup.api.transport.server import clients_of, server_of, sockets_of
    from servicegroup.controlplane.intake import Intake
    from servicegroup.controlplane.plane import Plane
    from servicegroup.options import DEFAULT_PORT

    limits = settings.limits
    intake = Intake(
        lambda reports, marking, deadline: group.report(
            reports, marking=marking, deadline=deadline
        ),
        limits.report_interval,
    )
    host, port = listener.getsockname()[:2]
    name = socket.gethostname() if port == DEFAULT_PORT else f"{socket.gethostname()}:{port}"
    clients = clients_of(settings)
    plane = Plane(
        group,
        intake,
        own_name=name,
        thresholds=settings.thresholds,
        keep_events=settings.keep_events,
        keep_of_operators=settings.keep_of_operators,
        endings=settings.endings,
        clients=clients,
    )
    app = create_app(plane, authenticator(settings, engine))
    server = server_of(app, clients, settings)
    keep_memory()
    print(_welcome(settings, host, port), file=sys.stderr, flush=True)  # noqa: T201 - for people
    server.run(sockets=sockets_of(listener))


def _welcome(settings: Settings, host: str, port: int) -> str:
    scheme = "http" if settings.tls is None else "https"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return (
        f"servicegroup listens on {url} with driver {settings.driver.name}"
        f" and the configuration of {settings.source}."
    )
