"""``servicegroup mirror``: an OpenStack as it runs in a register, from its own APIs, read only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from servicegroup.cli.first_process import stand_before
from servicegroup.cli.logs import on_stderr
from servicegroup.cli.params import Text
from servicegroup.cli.stopping import StopSignals
from servicegroup.errors import (
    Conflict,
    ControlPlaneUnavailable,
    InvalidInput,
    Unavailable,
)

if TYPE_CHECKING:
    from servicegroup.agent.control_planes import ControlPlanes
    from servicegroup.agent.join import Membership
    from servicegroup.mirror.loop import Mirror

EPILOG = """\b
A first look, from nothing to the dashboard:
  pip install 'servicegroup[server,openstack]'
  servicegroup serve &
  servicegroup mirror --os-cloud prod
\b
Nova and Cinder alone, into another register:
  servicegroup --url https://cp:8774 mirror --os-cloud prod --api nova --api cinder
\b
Its services leave the register again:
  servicegroup mirror --os-cloud prod --forget
\b
Exit codes: 2 for a cloud, an answer or a register that has to be mended first, 4 for
an API or a control plane that does not answer. Once it runs, it outlasts both.
"""


@click.command(epilog=EPILOG)
@click.option("--os-cloud", "name", required=True, type=Text(), envvar="OS_CLOUD", metavar="NAME",
              help="Cloud of clouds.yaml; its user lists services.  [env: OS_CLOUD]")  # fmt: skip
@click.option("--api", "apis", multiple=True, type=Text(), metavar="API",
              help="Only this API: nova, cinder, neutron, manila, heat or designate; repeatable."
              "  [default: those that the cloud has]")  # fmt: skip
@click.option("--interval", default=5.0, show_default=True, metavar="SECONDS",
              type=click.FloatRange(1, 30),
              help="Time between two questions to an API; longer where that is too much for"
              " it.")  # fmt: skip
@click.option("--forget", is_flag=True, help="Delete what is mirrored of the cloud, and end.")
@click.pass_context
def mirror(
    context: click.Context, name: str, apis: Sequence[str], interval: float, forget: bool
) -> None:
    """Show the services of an OpenStack in the register, without a change to it.

    Lists the services of Nova, Cinder, Neutron and others by their own APIs, and keeps them here:
    state, since when, disabled, forced down, deleted. A service is down here when its own API says
    so, or when its heartbeat there stands still for longer than service_down_time. An API that is
    away or slow takes nobody down. Edits are made there; here they are refused.
    """
    from servicegroup.agent.client import DEFAULT_URL
    from servicegroup.agent.join import client_for

    stand_before()
    _log_to_stderr()
    above = context.find_root().params
    given = above.get("token_file")
    token = Path(given) if given else above.get("token")
    access = (token, above.get("ca"), above.get("cert"), above.get("key"))
    url = above.get("url") or DEFAULT_URL
    client = client_for(url, *access)
    context.call_on_close(client.close)
    planes = client.planes
    assert planes is not None  # noqa: S101 - over HTTP there always are
    if forget:
        _forget(planes, name, apis)
        return
    mirrors = _begun(planes, name, apis, interval, url)
    click.echo(f"Dashboard: {planes.urls[0].rstrip('/')}/ui", err=True)
    stop = StopSignals()
    members = [_member(name, each, url, access) for each in mirrors]
    for each in mirrors:
        each.start(len(mirrors))
    stop.wait()
    for each in mirrors:
        each.stop()
    for member in members:
        member.leave()


def _begun(
    planes: ControlPlanes, name: str, wanted: Sequence[str], interval: float, url: str
) -> list[Mirror]:
    """Return mirrors that have looked once, or whose API did not answer while another's did."""
    try:
        from servicegroup.mirror.cloud import Cloud
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"{error.name} is not installed; pip install 'servicegroup[openstack]'."
        ) from None
    from servicegroup.mirror.apis import named
    from servicegroup.mirror.loop import Mirror
    from servicegroup.mirror.register import Register

    cloud = Cloud(name)
    apis = named(wanted) if wanted else cloud.apis()
    mirrors: list[Mirror] = []
    failure: Unavailable | None = None
    for api in apis:
        register = Register(planes, f"{name}/{api.name}", cloud.place(api))
        each = Mirror(cloud, api, register, interval)
        mirrors.append(each)
        try:
            each.look()
        except ControlPlaneUnavailable as error:
            raise ControlPlaneUnavailable(
                f"{error} Start a control plane with 'servicegroup serve', or name it with --url"
                f" instead of {url}."
            ) from error
        except Unavailable as error:
            failure = error
            each.failed(error)
        except Conflict as error:
            raise InvalidInput(str(error)) from error
        else:
            click.echo(f"{api.name}: {len(each)} services", err=True)
    if failure is not None and not any(map(len, mirrors)):
        raise failure
    return mirrors


def _forget(planes: ControlPlanes, name: str, wanted: Sequence[str]) -> None:
    from servicegroup.mirror.apis import APIS, named
    from servicegroup.mirror.register import Register

    for api in named(wanted or APIS):
        Register(planes, f"{name}/{api.name}", "").forget()
    click.echo(f"Nothing is mirrored of cloud {name} any more.", err=True)


def _member(
    name: str, mirror: Mirror, url: str, access: tuple[Path | str | None, ...]
) -> Membership:
    """Join on behalf of the mirror itself: who looks at it sees whether it still looks."""
    from servicegroup.agent.join import join

    token, ca, cert, key = access
    return join(
        f"mirror-{name}-{mirror.api.name}",
        group=f"mirror-{name}-{mirror.api.name}",
        url=url,
        token=token,
        ca=str(ca or ""),
        cert=str(cert or ""),
        key=str(key or ""),
        healthy=mirror.health,
    )


def _log_to_stderr() -> None:
    """Show what the mirror says, and of the libraries below it what they cannot do without."""
    logging.basicConfig(level=logging.ERROR, handlers=[on_stderr("%(name)s: %(message)s")])
    logging.getLogger("servicegroup").setLevel(logging.INFO)
