"""What contrib ships for Kubernetes names what there is, and its probes ask what they should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.pages import ROOT
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servicegroup import config
from servicegroup.cli.agent import agent
from servicegroup.cli.main import cli
from support.control_plane import ControlPlane
from support.waiting import until

FILES = sorted((ROOT / "contrib" / "kubernetes").glob("*.yaml"))


def objects() -> dict[tuple[str, str], Any]:
    """Return every object of every file by kind and name."""
    found = [one for file in FILES for one in yaml.safe_load_all(file.read_text())]
    named = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(named) == len(found)
    return named


OBJECTS = objects()


def pod(kind: str, name: str) -> Any:
    return OBJECTS[kind, name]["spec"]["template"]["spec"]


SERVE = pod("StatefulSet", "servicegroup")["containers"][0]
UPGRADE = pod("Job", "servicegroup-db-upgrade")["containers"][0]
AGENT = pod("Deployment", "worker")["initContainers"][0]
OURS = (SERVE, UPGRADE, AGENT)


def test_nothing_of_ours_needs_root_a_name_or_a_directory_that_is_not_mounted() -> None:
    for container in OURS:
        secure = container["securityContext"]
        assert secure["runAsNonRoot"]
        assert secure["readOnlyRootFilesystem"]
        assert not secure["allowPrivilegeEscalation"]
        assert secure["capabilities"] == {"drop": ["ALL"]}


def test_what_is_named_is_there() -> None:
    names = {name for kind, name in OBJECTS if kind in ("Secret", "ConfigMap")}
    for kind, name in (("StatefulSet", "servicegroup"), ("Job", "servicegroup-db-upgrade"),
                       ("Deployment", "worker")):  # fmt: skip
        spec = pod(kind, name)
        volumes = {volume["name"] for volume in spec.get("volumes", ())}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
            assert {one["secretRef"]["name"] for one in container.get("envFrom", ())} <= names
    service = OBJECTS["Service", "servicegroup"]["spec"]
    labels = OBJECTS["StatefulSet", "servicegroup"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"] == labels
    assert service["ports"][0]["targetPort"] == SERVE["ports"][0]["name"]


def test_each_command_is_one() -> None:
    for container, command in ((SERVE, "serve"), (UPGRADE, "upgrade"), (AGENT, "agent")):
        program, *words = container["args"]
        assert program == "servicegroup"
        assert words[-1] == command
        known = {option for param in cli.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_each_variable_of_the_agent_is_an_option() -> None:
    known = {f"SERVICEGROUP_{str(param.name).upper()}" for param in agent.params}
    known |= {str(param.envvar) for param in agent.params if param.envvar}
    named = {one["name"] for one in AGENT["env"]}
    assert named <= known
    assert "SERVICEGROUP_BINARY" in named
    url = next(one["value"] for one in AGENT["env"] if one["name"] == "SERVICEGROUP_URL")
    assert (
        url
        == f"http://servicegroup:{OBJECTS['Service', 'servicegroup']['spec']['ports'][0]['port']}"
    )
    assert AGENT["restartPolicy"] == "Always", "a sidecar"
    assert not [name for name in AGENT if name.endswith("Probe")], "it outlives control planes"


def test_the_configuration_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OBJECTS["Secret", "servicegroup"]["stringData"].items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "servicegroup.conf"
    file.write_text(OBJECTS["ConfigMap", "servicegroup"]["data"]["servicegroup.conf"])
    settings = config.load(str(file))
    assert settings.port == SERVE["ports"][0]["containerPort"]
    assert settings.auth_strategy == "token"
    assert settings.connection.startswith("postgresql+psycopg://")


@pytest.fixture
def server(own_postgresql: Callable[[], PostgreSQL]) -> PostgreSQL:
    return own_postgresql()


@pytest.fixture
def plane(server: PostgreSQL, tmp_path: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(server.database(), tmp_path)
    plane.start()
    yield plane
    plane.stop()


@pytest.mark.long
def test_a_database_that_is_away_takes_requests_off_and_restarts_nobody(
    plane: ControlPlane, server: PostgreSQL
) -> None:
    def asked(probe: str) -> int:
        return plane.request("GET", SERVE[probe]["httpGet"]["path"])[0]

    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    assert {probe: asked(probe) for probe in probes} == dict.fromkeys(probes, 200)
    server.kill()
    until(lambda: asked("readinessProbe") == 503, PATIENCE, what="it is not ready")
    assert (asked("livenessProbe"), asked("startupProbe")) == (200, 200)
    plane.freeze()
    limit = SERVE["livenessProbe"]["timeoutSeconds"]
    with pytest.raises(Exception, match=r"timed out"):
        plane.http.request("GET", f"{plane.url}/healthz", timeout=min(1, limit))
    plane.thaw()
    server.start()
    until(lambda: asked("readinessProbe") == 200, PATIENCE, what="ready again, without a restart")
