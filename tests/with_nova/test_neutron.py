"""`servicegroup mirror` of a real Neutron, by its own API and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

import pytest

from mirror.conftest import QUICK, MirrorProcess, mirrored, reason, trouble
from servers.mariadb import MariaDB
from servers.neutron import HOST, Agent, MetadataAgent, MeteringAgent, NeutronAPI, RPCServer
from servers.plugin import require
from servers.process import Server
from servers.rabbitmq import RabbitMQ
from support.control_plane import ControlPlane
from support.waiting import until

METADATA = f"{HOST} neutron-metadata-agent"
METERING = f"{HOST} neutron-metering-agent"

READER = ("USER_ID=reader", "PROJECT_ID=project", "ROLES=reader")

S = TypeVar("S", bound=Server)
Planes = Callable[..., ControlPlane]
Mirror = Callable[[ControlPlane], None]


class Neutron(NamedTuple):
    """A Neutron with agents that may not run."""

    api: NeutronAPI
    metadata: Agent
    metering: Agent


@pytest.fixture(scope="module")
def a_neutron() -> Iterator[Neutron]:
    """Give a Neutron with a database and a broker of its own, which runs but for its agents."""
    require(MariaDB)
    require(RabbitMQ)
    with ExitStack() as stack:

        def launched(server: S) -> S:
            stack.callback(server.close)
            server.launch()
            return server

        broker, database = launched(RabbitMQ()), stack.enter_context(MariaDB())
        # Its schema is made while the broker starts.
        api = launched(NeutronAPI(database.database(), broker.url))
        broker.wait_until_ready()
        rpc_server = launched(RPCServer(api))
        api.wait_until_ready()
        rpc_server.wait_until_ready()
        agents = MetadataAgent(api), MeteringAgent(api)
        for agent in agents:
            stack.callback(agent.close)
        yield Neutron(api, *agents)


@pytest.fixture
def neutron(a_neutron: Neutron) -> Neutron:
    """Give that Neutron with its first settings and both agents, whose reports have arrived."""
    api, *agents = a_neutron
    if api.settings:
        api.settings, api.identity = {}, ()
        api.restart()
    stopped = [agent for agent in agents if not agent.running]
    for agent in stopped:
        agent.launch()
    for agent in stopped:
        agent.wait_until_ready()
    return a_neutron


@pytest.fixture
def mirror(neutron: Neutron, mirroring: Callable[..., MirrorProcess]) -> Mirror:
    """Give what starts a mirror of that Neutron, and returns once it has looked."""

    def start(register: ControlPlane) -> None:
        place = {"auth_type": "none", "network_endpoint_override": neutron.api.url}
        mirroring(register, {"prod": place}).start("--os-cloud", "prod")

    return start


def reported(register: ControlPlane) -> Callable[[], bool]:
    """Return what tells whether every service here has reported since."""
    before = {name: service["report_count"] for name, service in mirrored(register).items()}
    return lambda: all(s["report_count"] > before[n] for n, s in mirrored(register).items())


def test_agents_are_services_here(neutron: Neutron, plane: Planes, mirror: Mirror) -> None:
    # A stamp that stands still is silent here long after Neutron itself has said down.
    register = plane("register", service_down_time=60)
    api, agent = neutron.api, neutron.metering.name
    mirror(register)
    found = mirrored(register)
    assert set(found) == {METADATA, METERING}
    for service in found.values():
        assert service["mirror"] == "prod/neutron"
        assert service["verdict"]["reason"] == "reporting"
        assert not service["disabled"]
    until(reported(register), 30)

    api.change(agent, admin_state_up=False)
    until(lambda: mirrored(register)[METERING]["disabled"], 30)
    assert not mirrored(register)[METADATA]["disabled"]
    assert reason(register, METERING) == "reporting"
    api.change(agent, admin_state_up=True)
    until(lambda: not mirrored(register)[METERING]["disabled"], 30)

    neutron.metering.kill()
    killed = time.monotonic()
    until(lambda: reason(register, METERING) != "reporting", 30)
    print(f"down here {time.monotonic() - killed:.1f} s after kill -9 there")
    there, here = api.agents()[agent], mirrored(register)[METERING]
    assert not there["alive"]
    assert here["verdict"]["reason"] == "told_down"
    stamp = there["heartbeat_timestamp"]
    assert here["detail"] == f"its own API says down, last heartbeat {stamp} there"

    api.delete(agent)
    until(lambda: METERING not in mirrored(register), 30)
    assert reason(register, METADATA) == "reporting"


def test_an_api_that_is_away_accuses_nobody(
    neutron: Neutron, plane: Planes, mirror: Mirror
) -> None:
    register = plane("register")
    mirror(register)
    until(reported(register), 30)
    neutron.api.freeze()

    def is_long_ago() -> bool:
        verdicts = [service["verdict"] for service in mirrored(register).values()]
        assert [verdict["state"] for verdict in verdicts] == ["up", "up"]
        ages = [verdict["evidence"]["report_age"] for verdict in verdicts]
        return bool(min(ages) > QUICK.service_down_time + 2)

    until(is_long_ago, 60, 0.3)
    neutron.api.thaw()
    until(reported(register), 60)
    assert {reason(register, METADATA), reason(register, METERING)} == {"reporting"}
    _, _, body = register.request("GET", "/v1/events?kind=service-down&limit=100")
    assert [event for event in body["events"] if event["host"] == HOST] == []


def test_pages_and_answers_to_those_who_may_not_list_agents(
    neutron: Neutron, plane: Planes, mirror: Mirror
) -> None:
    register, api = plane("register", service_down_time=60), neutron.api
    api.settings = {"DEFAULT": {"pagination_max_limit": 1}}
    api.restart()
    mirror(register)
    assert set(mirrored(register)) == {METADATA, METERING}
    until(reported(register), 30)

    # Neutron hides its agents from all but administrators, and refuses nothing.
    api.settings, api.identity = {"DEFAULT": {"auth_strategy": "keystone"}}, READER
    api.restart()
    assert api.agents() == {}
    until(lambda: "lists no service any more" in trouble(register, "neutron"), 60)
    assert {reason(register, METADATA), reason(register, METERING)} == {"reporting"}
