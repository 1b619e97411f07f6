"""The layer under eventlet, in Nova's own environment, without a Nova (F-45)."""

from __future__ import annotations

from pathlib import Path

from servers.nova_environment import ENVIRONMENT
from servers.openstack import output
from servers.zookeeper import ZooKeeper

FOUR_MEMBERS = """
import eventlet
eventlet.monkey_patch()
import sys, threading, time
from servicegroup.driver import load
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member
driver = load("zookeeper", {"address": sys.argv[1], "session_timeout": 2})
members = [Member("compute", f"node{n}") for n in range(4)]
failures = []
def beat(member):
    for _ in range(20):
        try:
            driver.heartbeat(member, 1, 10.0)
        except DriverUnavailable as error:
            failures.append(str(error))
        time.sleep(0.1)
threads = [threading.Thread(target=beat, args=(member,)) for member in members]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
states = {presence.state.value for presence in driver.presence(members).values()}
print(len(failures), *states, driver._process.session.connection)
driver.close()
"""
"""Print how many heartbeats failed, how their members are, and how often there was a connection."""


def test_members_of_one_process_keep_one_connection(zookeeper: ZooKeeper) -> None:
    python = ENVIRONMENT.made() / "bin" / "python"
    said = output(python, "-W", "ignore", "-c", FOUR_MEMBERS, zookeeper.address)
    assert said.split() == ["0", "present", "1"]


AT_REST = """
import eventlet
eventlet.monkey_patch()
import ctypes, sys
sys.modules["uwsgi"] = sys
from servicegroup.driver import load
from servicegroup.model import Member
from servicegroup.nova.apart import apart
driver = apart(load("zookeeper", {"address": sys.argv[1], "session_timeout": 2}))
member = Member("compute", "node1")
driver.heartbeat(member, 1, 10.0)
ctypes.CDLL(None).sleep(8)
state = driver.presence([member])[member].state.value
print(state, driver.do(lambda: driver.driver._process.session.connection))
"""
"""Wait for four sessions as uWSGI waits for a request, which gives eventlet's threads no turn."""


def test_a_connection_lasts_where_no_green_thread_gets_a_turn(zookeeper: ZooKeeper) -> None:
    python = ENVIRONMENT.made() / "bin" / "python"
    said = output(python, "-W", "ignore", "-c", AT_REST, zookeeper.address)
    assert said.split() == ["present", "1"]


CONCURRENCY = """
[DEFAULT]
concurrency_backend = eventlet
config_source = servicegroup
[servicegroup]
driver = servicegroup
"""

REQUESTS = """
from nova import monkey_patch
monkey_patch.patch(backend="threading")
import sys, eventlet
from nova import config, context
config.parse_args(sys.argv)
mixed = []
def serve():
    own = context.RequestContext()
    eventlet.sleep(0.1)
    if context.context.get_current() is not own:
        mixed.append(own.request_id)
for thread in [eventlet.spawn(serve) for _ in range(10)]:
    thread.wait()
print("patched" if monkey_patch.is_patched() else "native", len(mixed))
"""
"""Print how many of ten requests at once were logged with the id of another."""


def test_requests_do_not_mix_where_nova_conf_asks_for_eventlet(tmp_path: Path) -> None:
    path = tmp_path / "nova.conf"
    path.write_text(CONCURRENCY)
    python = ENVIRONMENT.made() / "bin" / "python"
    command = (python, "-W", "ignore", "-c", REQUESTS, "--config-file", path)
    said = output("env", "-u", "OS_NOVA_DISABLE_EVENTLET_PATCHING", *command)
    assert said.split() == ["patched", "0"]
