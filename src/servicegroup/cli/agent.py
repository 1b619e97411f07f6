"""``servicegroup agent``: joins on behalf of a process, from flags and the environment only."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from servicegroup.cli.first_process import stand_before
from servicegroup.cli.logs import on_stderr

_LONGEST_WAIT = 3600.0


EPILOG = """\b
A command, joined under its name:
  servicegroup agent --binary nova-compute -- nova-compute
\b
With a look at whether it works, not only whether it runs:
  servicegroup agent --binary web --check 'curl -fsS http://127.0.0.1:80/' -- ./web
\b
Another host's name, and two control planes:
  servicegroup agent --binary web --host rack1-07 --url http://cp1:8774,http://cp2:8774
\b
Every option is also a variable, SERVICEGROUP_BINARY and so on:
  SERVICEGROUP_URL=https://cp SERVICEGROUP_TOKEN=secret servicegroup agent --binary web
\b
Exit codes: the command's own (128 + N when signal N killed it), 2 for a wrong option,
126 and 127 for a command that cannot be started or found.
"""


@click.command(context_settings={"auto_envvar_prefix": "SERVICEGROUP"}, epilog=EPILOG)
@click.option("--binary", required=True, help="Name of the service, say nova-compute.")
@click.option("--host", help="Host it runs on.  [default: this host's name]")
@click.option("--group", default="", help="Group it joins.  [default: the binary without nova-]")
@click.option("--zone", default="", help="Availability zone.  [default: the control plane's]")
@click.option("--service-version", default=0, show_default=True,
              help="Version of the service, for RPC pins.")  # fmt: skip
@click.option(
    "--url", help="Control plane, or several with commas.  [default: http://127.0.0.1:8774]"
)
@click.option(
    "--token", help="Sent as X-Auth-Token; better given as SERVICEGROUP_TOKEN, or in a file."
)
@click.option("--token-file", metavar="FILE",
              help="File with the token, read again when it changes.")  # fmt: skip
@click.option("--ca", metavar="FILE",
              help="Authorities to trust for https.  [default: those of this host]")  # fmt: skip
@click.option("--cert", metavar="FILE", help="Certificate that proves this host to https.")
@click.option("--key", metavar="FILE", help="Key of the certificate, if it has a file of its own.")
@click.option("--check", "check_command", envvar="SERVICEGROUP_CHECK", metavar="COMMAND",
              help="Run before each report; its failure withholds both signals.")  # fmt: skip
@click.option("--check-timeout", default=5.0, show_default=True, metavar="SECONDS",
              type=click.FloatRange(0, min_open=True),
              help="A check that takes longer has failed.")  # fmt: skip
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.pass_context
def agent(
    context: click.Context,
    binary: str,
    host: str | None,
    group: str,
    zone: str,
    service_version: int,
    url: str | None,
    token: str | None,
    token_file: str | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    check_command: str | None,
    check_timeout: float,
    command: tuple[str, ...],
) -> NoReturn:
    """Join the register on behalf of a process, and report for it while it lives.

    With a COMMAND the agent starts it, passes signals and its exit code on, leaves when it is
    stopped or ends with status 0, and reports its death to the register at once. Without a COMMAND
    it reports until it is stopped itself. A control plane that is away delays nothing.
    """
    from servicegroup.agent import notify
    from servicegroup.agent.check import Check
    from servicegroup.agent.join import Membership, client_for
    from servicegroup.agent.supervisor import StartError, Supervisor

    stand_before()
    _log_to_stderr()
    check = Check(check_command, check_timeout) if check_command is not None else None
    above = context.find_root().params
    file = token_file or above.get("token_file")
    membership = Membership(
        binary,
        client=client_for(
            url or above.get("url"),
            Path(file) if file else token or above.get("token"),
            ca or above.get("ca"),
            cert or above.get("cert"),
            key or above.get("key"),
        ),
        host=host,
        group=group,
        zone=zone,
        version=service_version,
        healthy=check,
    )
    supervisor = Supervisor()
    try:
        if command:
            supervisor.start(command)
    except StartError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    membership.start()
    status = notify.Status(membership)
    interval = notify.TICK if os.environ.get("NOTIFY_SOCKET") else _LONGEST_WAIT
    ending = supervisor.run(lambda: status.look(stopping=supervisor.stopping), interval)
    status.look(stopping=True)
    membership.leave(ending.departure, ending.detail, timeout=membership.report_interval)
    if check is not None:
        check.cancel()
    sys.exit(ending.exit_code)


def _log_to_stderr() -> None:
    """Show what the agent says, and only warnings of the libraries below it."""
    logging.basicConfig(level=logging.WARNING, handlers=[on_stderr("%(name)s: %(message)s")])
    logging.getLogger("servicegroup").setLevel(logging.INFO)
