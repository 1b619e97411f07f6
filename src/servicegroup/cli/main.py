"""``servicegroup``: every command in one table, every error in one place.

A command's module is imported when the command runs, so help and mistakes cost no more than click.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any, cast

import click

from servicegroup import __version__
from servicegroup.cli.output import printable
from servicegroup.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    ServiceGroupError,
    Unavailable,
)

COMMANDS = {
    "serve": ("servicegroup.cli.serve:serve", "Run the control plane: API, observer, dashboard."),
    "agent": ("servicegroup.cli.agent:agent", "Join on behalf of a process."),
    "service": ("servicegroup.cli.service:service", "List, explain and edit services."),
    "events": ("servicegroup.cli.events:events", "List what happened, and follow what happens."),
    "driver": ("servicegroup.cli.driver:driver", "List drivers, compare two, change them safely."),
    "nova": ("servicegroup.cli.nova:nova", "Ask a real Nova what is up, and why."),
    "mirror": ("servicegroup.cli.mirror:mirror", "Show an OpenStack as it runs, read only."),
    "drill": ("servicegroup.cli.drill:drill", "Kill a canary and measure the time to down."),
    "doctor": ("servicegroup.cli.doctor:doctor", "Check clock, timeouts, database, leftovers."),
    "db": ("servicegroup.cli.db:db", "Create, upgrade and clean the database."),
    "token": ("servicegroup.cli.token:token", "Make, list and end the tokens of callers."),
    "config": ("servicegroup.cli.config:config", "Print a sample of the configuration."),
}
"""Each command: where it is, and one line of help. A new command is a new line."""

EXIT_CODES: dict[type[Exception], int] = {
    InvalidInput: 2,
    NotFound: 3,
    Unavailable: 4,
    Conflict: 5,
    Forbidden: 5,
}
"""What a script can tell apart; looked up along the error's classes, 1 for all others."""

EPILOG = """\b
Exit codes:
  0    done
  1    it failed, or doctor found a failure
  2    the command line or the configuration is wrong
  3    no such service
  4    the database or the control plane does not answer; try again later
  5    refused: the record, or who you are, forbids it
  130  interrupted
"""


class Failure(click.ClickException):
    """An error as it leaves the process: one sentence on stderr, and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(printable(message))
        self.exit_code = exit_code  # type: ignore[misc]  # click's own way to choose it


class Commands(click.Group):
    """The commands of the table, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's help, without importing what it names."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises leaves as one sentence, unless --debug."""
        try:
            result = super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise _failure(error) from error
        return result


def _failure(error: Exception) -> Failure:
    if isinstance(error, ServiceGroupError):
        codes = [EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES]
        return Failure(str(error), codes[0] if codes else 1)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return Failure(f"{error.name} is not installed; pip install 'servicegroup[server]'.", 2)
    if isinstance(error, OSError):
        return Failure(f"{error.strerror or error}; add --debug to see where.", 1)
    said = str(error).partition("\n")[0]
    return Failure(f"Unexpected {type(error).__name__}: {said}; add --debug to see where.", 1)


@click.group(
    cls=Commands,
    # The stubs are what a mistyped name is compared with.
    commands={name: click.Command(name) for name in COMMANDS},
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--config-file", metavar="FILE", envvar="SERVICEGROUP_CONFIG",
              help="Configuration to read, instead of ./servicegroup.conf or"
              " /etc/servicegroup/servicegroup.conf.  [env: SERVICEGROUP_CONFIG]")  # fmt: skip
@click.option("--url", metavar="URL", envvar="SERVICEGROUP_URL",
              help="Ask the control plane there, instead of opening the register in process."
              "  [env: SERVICEGROUP_URL]")  # fmt: skip
@click.option("--token", metavar="TOKEN", envvar="SERVICEGROUP_TOKEN",
              help="Token for the control plane; better in the environment, where other users"
              " cannot see it.  [env: SERVICEGROUP_TOKEN]")  # fmt: skip
@click.option("--token-file", metavar="FILE", envvar="SERVICEGROUP_TOKEN_FILE", default="",
              help="File with the token, read again when it changes."
              "  [env: SERVICEGROUP_TOKEN_FILE]")  # fmt: skip
@click.option("--ca", metavar="FILE", envvar="SERVICEGROUP_CA", default="",
              help="Authorities to trust for https, instead of those of this host."
              "  [env: SERVICEGROUP_CA]")  # fmt: skip
@click.option("--cert", metavar="FILE", envvar="SERVICEGROUP_CERT", default="",
              help="Certificate to show to https.  [env: SERVICEGROUP_CERT]")  # fmt: skip
@click.option("--key", metavar="FILE", envvar="SERVICEGROUP_KEY", default="",
              help="Key of the certificate, if it has a file of its own."
              "  [env: SERVICEGROUP_KEY]")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="servicegroup")
def cli(**_: object) -> None:
    """Which services exist, which of them are up, and why.

    Options on this level go before the command.
    """


def main() -> None:
    """Run the command line of this process, and end it with an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know less than Unicode
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="servicegroup")
