"""Nova's API in several processes of gunicorn and of uWSGI, in both of Nova's modes, and at rest.

Beside native threads a conductor with forked workers and a compute run in eventlet mode.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from servers.cloud import Cloud, Name
from servers.nova import Compute, Conductor, NovaService, with_layer
from servers.nova_wsgi import PROCESSES, UWSGI, Gunicorn, NovaWSGI
from servers.openstack import Settings, merged
from servers.process import family
from servers.zookeeper import ZooKeeper
from support.connections import connections
from support.control_plane import ControlPlane
from support.waiting import lasting, until

from .conftest import DETECTED, QUICK, SESSION, on_zookeeper

SOAK = "SOAK" in os.environ

BACKENDS = ("zookeeper", "session") if SOAK else ("zookeeper",)

REST = 600.0 if SOAK else 5.0 * SESSION
"""Seconds in which nobody asks anything; a connection without pings ends within two sessions."""

SLACK = 2.0
"""Seconds more for an answer that may be a second old, and for sixteen processes to be asked."""

STOPPED = 20.0
"""Seconds in which a server that was told to stop has stopped; gunicorn gives its processes 30."""

NATIVE, EVENTLET = False, True
LAZY, PRELOADED = False, True

CASES = {
    "gunicorn": (Gunicorn, LAZY, NATIVE),
    "gunicorn-preloaded": (Gunicorn, PRELOADED, NATIVE),
    "uwsgi": (UWSGI, LAZY, NATIVE),
    "uwsgi-preloaded": (UWSGI, PRELOADED, NATIVE),
    "gunicorn-eventlet": (Gunicorn, LAZY, EVENTLET),
    "uwsgi-eventlet": (UWSGI, LAZY, EVENTLET),
    "uwsgi-preloaded-eventlet": (UWSGI, PRELOADED, EVENTLET),
}

GREEN = "green"
"""The host of what runs in eventlet mode."""

TWO = ("nova-compute", "two")
GREEN_COMPUTE = ("nova-compute", GREEN)


class Backend(NamedTuple):
    """Where the layer connects to, and how Nova is told so."""

    port: int
    settings: Settings


class Deployment(NamedTuple):
    """A Nova with an API under each of the servers."""

    cloud: Cloud
    backend: Backend
    apis: Mapping[str, NovaWSGI]
    green: tuple[NovaService, NovaService]

    @property
    def everybody(self) -> set[Name]:
        """The services that there should be."""
        return self.cloud.everybody | {service.identity for service in self.green}

    @property
    def computes(self) -> dict[Name, NovaService]:
        """One compute of each mode."""
        return {TWO: self.cloud.computes["two"], GREEN_COMPUTE: self.green[1]}

    def connections(self) -> dict[tuple[str, int], frozenset[int]]:
        """Return the connections to the backend of every process, by the name of its service."""
        services = (*self.cloud.services, *self.green)
        named = {**self.apis, **{" on ".join(one.identity): one for one in services}}
        return {
            (name, pid): connections(pid, self.backend.port)
            for name, server in named.items()
            for pid in family(server.pid)
        }


@pytest.fixture(scope="module", params=BACKENDS)
def backend(
    request: pytest.FixtureRequest, zookeeper: ZooKeeper, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    if request.param == "zookeeper":
        yield Backend(zookeeper.port, on_zookeeper(zookeeper))
        return
    directory: Path = tmp_path_factory.mktemp("register")
    database = f"sqlite:///{directory / 'register.sqlite'}"
    register = ControlPlane(database, directory, servicegroup_driver="session")
    register.start()
    yield Backend(register.port, with_layer("session", url=register.url))
    register.stop()


@pytest.fixture(scope="module")
def deployment(a_cloud: Cloud, backend: Backend) -> Iterator[Deployment]:
    a_cloud.run(merged(backend.settings, QUICK))
    with ExitStack() as stack:
        apis = {
            name: server(a_cloud.api, preloaded=preloaded, eventlet=eventlet)
            for name, (server, preloaded, eventlet) in CASES.items()
        }
        green = (Conductor(a_cloud.api, GREEN), Compute(a_cloud.api, GREEN))
        for service in green:
            service.before = ("env", "OS_NOVA_DISABLE_EVENTLET_PATCHING=false")
        started = (*apis.values(), *green)
        for server in started:
            stack.callback(server.close)
            server.launch()
        for server in started:
            server.wait_until_ready()
        found = Deployment(a_cloud, backend, apis, green)
        until(lambda: up(a_cloud) == found.everybody, 120, 0.2, "all are up")
        yield found
    for service in green:
        binary, host = service.identity
        a_cloud.delete(host, binary)


def up(cloud: Cloud) -> set[Name]:
    """Return who is up."""
    return {name for name, state in cloud.states().items() if state == "up"}


def all_say(api: NovaWSGI, living: set[Name]) -> bool:
    """Tell whether every answer of every process says that these are up, and no others."""
    return all(answer.up == living for answer in api.ask_everybody())


@pytest.mark.parametrize("name", CASES)
def test_every_process_answers_rightly_over_a_connection_of_its_own(
    deployment: Deployment, name: str
) -> None:
    api = deployment.apis[name]
    assert all_say(api, deployment.everybody)
    own = [connections(pid, deployment.backend.port) for pid in api.workers()]
    assert [len(each) for each in own] == [1] * PROCESSES
    assert len(frozenset.union(*own)) == PROCESSES
    # What loads Nova before it forks asks nothing, so there is nothing to be shared.
    assert connections(api.pid, deployment.backend.port) == frozenset()


@pytest.mark.parametrize("name", CASES)
def test_a_process_that_is_killed_is_replaced_by_one_that_answers_rightly(
    deployment: Deployment, name: str
) -> None:
    api = deployment.apis[name]
    killed, others = api.workers()[0], set(api.workers()[1:])
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in api.workers(), 10, what="it is gone")
    until(lambda: len(api.workers()) == PROCESSES, 10, what="there is another one")
    assert all_say(api, deployment.everybody)
    assert others < set(api.workers())
    own = [connections(pid, deployment.backend.port) for pid in api.workers()]
    assert [len(each) for each in own] == [1] * PROCESSES


def test_a_killed_compute_is_down_in_every_process_and_up_when_it_is_back(
    deployment: Deployment,
) -> None:
    for api in deployment.apis.values():
        assert all_say(api, deployment.everybody)
    for compute in deployment.computes.values():
        compute.kill()
    killed = time.monotonic()
    living = deployment.everybody - set(deployment.computes)
    for name, api in deployment.apis.items():
        until(
            partial(all_say, api, living),
            max(0.0, killed + DETECTED + SLACK - time.monotonic()),
            what=f"both are down in every process of {name}",
        )

    for compute in deployment.computes.values():
        compute.start()
    until(
        lasting(lambda: up(deployment.cloud) == deployment.everybody, SLACK),
        90, 0.2, "both are up, for longer than an answer may be old",
    )  # fmt: skip
    # The first answer counts: until then no process was asked since they were down.
    for api in deployment.apis.values():
        assert all_say(api, deployment.everybody)


def test_at_rest_no_process_loses_its_connection(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    for api in deployment.apis.values():
        api.ask_everybody()
    # Beside what it holds, a process may ask something each minute over another connection.
    kept = {process: own for process, own in deployment.connections().items() if own}
    begun = time.monotonic()

    def is_over() -> bool:
        now = deployment.connections()
        for process in kept:
            kept[process] &= now.get(process, frozenset())
        lost = {process for process, own in kept.items() if not own}
        assert lost == set(), f"lost after {time.monotonic() - begun:.1f} s"
        return time.monotonic() - begun >= REST

    until(is_over, REST + 60, 0.5, "the rest is over")
    with capsys.disabled():
        print(f"\n{len(kept)} processes kept their connection for {REST:g} s.")
    for api in deployment.apis.values():
        assert all_say(api, deployment.everybody)
    now = deployment.connections()
    assert all(own <= now[process] for process, own in kept.items())


@pytest.mark.parametrize("name", CASES)
def test_it_stops_in_good_order(deployment: Deployment, name: str) -> None:
    """Last, for nobody starts it again."""
    begun = time.monotonic()
    deployment.apis[name].stop()
    assert time.monotonic() - begun < STOPPED
