"""Nova's API over HTTP: whatever is asked, no 5xx, and every fault is in Nova's form."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.api.compute.microversions import MAX, MIN
from support.control_plane import ControlPlane

from .conftest import TOKEN, fuzzed
from .shapes import bodies, texts

pytestmark = pytest.mark.long

methods = st.sampled_from(
    ["GET", "PUT", "DELETE", "GET", "PUT", "POST", "PATCH", "HEAD", "OPTIONS"]
)
actions = ["enable", "disable", "disable-log-reason", "force-down", "detail"]
ids = (
    st.sampled_from([*actions, "{uuid}", "{id}", "0", "-1", str(2**31), "9" * 5_000, "%0A"])
    | st.uuids().map(str)
    | texts.map(lambda text: quote(text, safe=""))
)
projects = st.sampled_from(["", "", "/0123456789abcdef", "/none"])
resources = st.sampled_from(
    ["/os-services", "/os-services", "/os-availability-zone", "/os-hosts", "", "/os-nothing"]
)
paths = st.builds(
    lambda root, project, resource, rest: root + project + resource + rest,
    st.sampled_from(["/v2.1", "/v2.1", "/v2.1/", "/v2", "/v3", ""]),
    projects,
    resources,
    st.just("") | ids.map("/{}".format),
)
queries = st.dictionaries(
    st.sampled_from(["host", "binary", "zone", "limit"]) | texts, texts, max_size=3
).map(urlencode) | st.sampled_from(["host=%ff", "&&", "host", "%", "host=%00", ";"])
versions = (
    st.tuples(st.integers(0, 3), st.integers(0, 120)).map("{0[0]}.{0[1]}".format)
    | st.sampled_from(["2.1", "2.11", "2.53", "2.75", "latest", "", "2", "2.01", "2.9e9", "two"])
    | st.sampled_from([f"2.{'9' * 5_000}", "-2.1", "2.1 ", "\u0662.\u0661", "2.53, 2.1"])
)
others = st.sampled_from(["", "compute ", "COMPUTE ", "volume 3.70, compute ", "compute,", "x "])
headers = st.fixed_dictionaries(
    {},
    optional={
        "OpenStack-API-Version": st.builds(str.__add__, others, versions),
        "X-OpenStack-Nova-API-Version": versions,
        "Content-Type": st.sampled_from(["application/json", "text/plain", "text/xml", ";", "é"]),
    },
)
edits = bodies(
    host=st.just("there") | texts,
    binary=st.just("nova-compute") | texts,
    status=st.sampled_from(["enabled", "disabled", "DISABLED"]),
    disabled_reason=texts,
    forced_down=st.booleans() | st.sampled_from(["yes", "Off", "1", "y"]),
)


@pytest.fixture(scope="module")
def there(plane: ControlPlane) -> dict[str, str]:
    """Give the uuid and the id of a compute service that exists."""
    body = {"host": "there", "binary": "nova-compute"}
    status, _, life = plane.request("POST", "/v1/services", body, X_Auth_Token=TOKEN)
    assert status == 200, life
    return {"uuid": life["uuid"], "id": "2"}


@fuzzed
@given(methods, paths, queries, headers, edits)
def test_every_answer_is_nova_s(
    plane: ControlPlane,
    there: dict[str, str],
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    body: Any,
) -> None:
    for name, value in there.items():
        path = path.replace("{" + name + "}", value)
    sent = {name.replace("-", "_"): quote(value, safe=" ,./;") for name, value in headers.items()}
    status, said, content = plane.request(
        method, f"{path or '/'}?{query}", body, X_Auth_Token=TOKEN, **sent
    )
    assert status < 500, content
    assert "X-Openstack-Request-Id" in said
    if status >= 400 and method != "HEAD":
        check_fault(status, said, content)
    elif path.startswith("/v2.1/os-") and status == 200:
        assert said["OpenStack-API-Version"] == f"compute {said['X-OpenStack-Nova-API-Version']}"
        assert MIN <= tuple(map(int, said["X-OpenStack-Nova-API-Version"].split("."))) <= MAX


def check_fault(status: int, said: urllib3.HTTPHeaderDict, content: Any) -> None:
    """Check that a fault has the one envelope, or is what a path that is no part of Nova's gets."""
    if said["Content-Type"].startswith("text/plain"):
        assert status == 404
        assert content.startswith(b"404 Not Found")
        return
    [fault] = content.values()
    assert fault["code"] == status
    assert isinstance(fault["message"], str)
