"""``servicegroup drill``: what detection really takes here, measured on a canary.

A service of its own joins as any other, is killed as a crash kills, and is watched until the
register says down. Nobody else is touched, and the canary's record is deleted afterwards.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import click
import msgspec

from servicegroup.cli.output import Column, output_options, pick, print_item
from servicegroup.cli.remote import RemoteRegister, open_remote
from servicegroup.driver_state import DriverState
from servicegroup.errors import ControlPlaneUnavailable, InvalidInput, NotFound
from servicegroup.explanation import duration
from servicegroup.model import PresenceState, Service

BINARY = "drill-canary"

_LOOK = 0.05
_JOIN_PATIENCE = 60.0
_PROOFS = ("TOKEN", "TOKEN_FILE", "CA", "CERT", "KEY")


class Measured(msgspec.Struct, frozen=True):
    """One drill: seconds from the kill to "down", and what they should have been at the most."""

    driver: str
    reason: str
    seconds: float
    at_most: float

    @property
    def is_in_time(self) -> bool:
        """Whether the formula held."""
        return self.seconds <= self.at_most


_COLUMNS: list[Column[Measured]] = [
    Column("Driver", lambda m: m.driver),
    Column("Reason", lambda m: m.reason),
    Column("Seconds", lambda m: round(m.seconds, 3)),
    Column("At Most", lambda m: round(m.at_most, 3)),
    Column("In Time", lambda m: m.is_in_time),
]


@click.command()
@output_options()
@click.pass_context
def drill(ctx: click.Context, names: tuple[str, ...], form: str) -> None:
    """Kill a canary and measure how long it takes until the register says down.

    Needs a running control plane, named with --url before the command. The canary is a service
    named drill-canary on a host of its own; it disturbs nobody. Exit 0 if the time kept to its
    formula.

    \b
      servicegroup --url http://127.0.0.1:8774 drill
    """  # noqa: D301 - click wants the character
    options = ctx.find_root().params
    if not options["url"]:
        raise click.UsageError("drill measures a running control plane; name it with --url.")
    register = open_remote(options)
    host = f"{socket.gethostname()}-drill-{os.getpid()}"
    own = {f"SERVICEGROUP_{name}": options[name.lower()] or "" for name in _PROOFS}
    environment = os.environ | own
    command = [sys.executable, "-m", "servicegroup", "agent", "--url", options["url"]]
    canary = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--host", host, "--binary", BINARY], env=environment
    )
    try:
        measured = measure(register, host, canary, _progress)
    finally:
        canary.kill()
        canary.wait()
        _remove(register, host)
    print_item(form, pick(_COLUMNS, names, form), measured)
    ctx.exit(0 if measured.is_in_time else 1)


def measure(
    register: RemoteRegister, host: str, canary: subprocess.Popen[bytes], say: Callable[[str], None]
) -> Measured:
    """Wait until the canary is up, kill it, and wait until it is down."""
    (obeyed,) = (state for state in register.driver_states() if not state.shadow)
    bound = at_most(obeyed)
    say(f"waiting for {BINARY} on {host} to be up")
    _wait(lambda: _is_settled(_canary(register, host), obeyed), _JOIN_PATIENCE, "did not come up")
    say(f"killing it; driver {obeyed.name} should say down within {duration(bound)}")
    canary.kill()
    killed = time.monotonic()
    _wait(lambda: not _canary(register, host).is_up, 2 * bound + 10, "is still up")
    seconds = time.monotonic() - killed
    reason = _canary(register, host).judged.reason
    return Measured(obeyed.name, reason.value, seconds, bound)


def at_most(driver: DriverState) -> float:
    """Return the seconds until down: the faster signal decides, and each look takes a moment."""
    bound = driver.silence_seconds
    if driver.detection_seconds is not None:
        bound = min(bound, driver.detection_seconds)
    return bound + 0.3


def _canary(register: RemoteRegister, host: str) -> Service:
    return register.find(host, BINARY)


def _is_settled(canary: Service, driver: DriverState) -> bool:
    """Return whether both signals of the canary have arrived."""
    presence = canary.judged.evidence.presence
    is_present = presence is not None and presence.state is PresenceState.PRESENT
    return canary.last_seen_up is not None and (is_present or not driver.separate_signal)


def _wait(is_so: Callable[[], bool], patience: float, otherwise: str) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            if is_so():
                return
        except NotFound:
            pass  # not registered yet
        if time.monotonic() > deadline:
            raise ControlPlaneUnavailable(f"The canary {otherwise} after {duration(patience)}.")
        time.sleep(_LOOK)


def _remove(register: RemoteRegister, host: str) -> None:
    try:
        register.delete(_canary(register, host).uuid)
    except (ControlPlaneUnavailable, InvalidInput, NotFound) as error:
        click.echo(f"the canary on {host} could not be deleted: {error}", err=True)


def _progress(text: str) -> None:
    click.echo(f"{text} …", err=True)
