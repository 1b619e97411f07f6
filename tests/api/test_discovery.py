"""What clients learn before they have a token."""

from __future__ import annotations

from typing import Any

import pytest

from servicegroup.api.call import NOT_ASKED
from servicegroup.group import ServiceGroup

from .nova import Nova

V2_1 = {
    "id": "v2.1",
    "status": "CURRENT",
    "version": "2.104",
    "min_version": "2.1",
    "updated": "2013-07-23T11:33:21Z",
}
V2_0 = {
    "id": "v2.0",
    "status": "DEPRECATED",
    "version": "",
    "min_version": "",
    "updated": "2025-07-04T12:00:00Z",
}


@pytest.fixture
def stranger(group: ServiceGroup) -> Nova:
    """Give the API to a caller without a token."""
    return Nova(group, NOT_ASKED)


def link(path: str) -> dict[str, str]:
    return {"rel": "self", "href": f"http://controller:8774{path}"}


def media_types(version: str) -> list[dict[str, str]]:
    kind = f"application/vnd.openstack.compute+json;version={version}"
    return [{"base": "application/json", "type": kind}]


def test_all_versions(stranger: Nova) -> None:
    for version in (None, "2.53", "2.999", "abc"):
        reply = stranger.get("/", root="", version=version)
        assert (reply.status, reply.media_type, reply.headers) == (200, "application/json", [])
        assert reply.json == {
            "versions": [V2_0 | {"links": [link("/v2/")]}, V2_1 | {"links": [link("/v2.1/")]}]
        }


@pytest.mark.parametrize(
    ("root", "described", "media_version"), [("/v2.1", V2_1, "2.1"), ("/v2", V2_0, "2")]
)
def test_one_version(
    stranger: Nova, root: str, described: dict[str, Any], media_version: str
) -> None:
    docs = {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    for path in ("", "/"):
        reply = stranger.get(path, root=root)
        assert reply.status == 200
        assert reply.json == {
            "version": described
            | {"links": [link(f"{root}/"), docs], "media-types": media_types(media_version)}
        }


def test_one_version_honours_the_microversion(stranger: Nova) -> None:
    reply = stranger.get("/", version="2.53")
    assert reply.header("OpenStack-API-Version") == ["compute 2.53"]
    assert stranger.get("/", version="2.999").fault[0] == 406
    assert stranger.get("/", version="abc").fault[0] == 400


@pytest.mark.parametrize("path", ["/v3", "/v3/os-services", "/v2.10", "/os-services", "//v2.1"])
def test_any_other_path_offers_choices(stranger: Nova, path: str) -> None:
    reply = stranger.get(path, root="")
    rest = path.strip("/")
    assert reply.status == 300
    assert reply.headers == []
    assert reply.json == {
        "choices": [
            {
                "id": "v2.0",
                "status": "DEPRECATED",
                "links": [link(f"/v2/{rest}")],
                "media-types": media_types("2"),
            },
            {
                "id": "v2.1",
                "status": "CURRENT",
                "links": [link(f"/v2.1/{rest}")],
                "media-types": media_types("2.1"),
            },
        ]
    }


def test_links_are_https_behind_a_proxy_that_speaks_tls(stranger: Nova) -> None:
    reply = stranger.get("/", root="", host="nova.example", x_forwarded_proto="https")
    assert reply.json["versions"][1]["links"][0]["href"] == "https://nova.example/v2.1/"


@pytest.mark.parametrize("prefix", ["/compute", "/compute/", "/a/b-c_d.e~f"])
def test_links_stay_below_the_path_that_a_proxy_took_off(stranger: Nova, prefix: str) -> None:
    """F-10."""
    base = f"https://cloud.example{prefix.rstrip('/')}"
    proxied = {"host": "cloud.example", "x_forwarded_proto": "https", "x_forwarded_prefix": prefix}
    versions = stranger.get("/", root="", **proxied).json["versions"]
    assert [one["links"][0]["href"] for one in versions] == [f"{base}/v2/", f"{base}/v2.1/"]
    version = stranger.get("/", **proxied).json["version"]
    assert version["links"][0]["href"] == f"{base}/v2.1/"
    choices = stranger.get("/v3/x", root="", **proxied).json["choices"]
    assert choices[1]["links"][0]["href"] == f"{base}/v2.1/v3/x"


@pytest.mark.parametrize(
    "prefix", ["", "/", "//", "//evil.example", "compute", "/a//b", "/a b", "/a?b", "/<b>", "/a,/b"]
)
def test_what_is_no_path_is_no_prefix(stranger: Nova, prefix: str) -> None:
    found = stranger.get("/", root="", x_forwarded_prefix=prefix).json["versions"]
    assert found[1]["links"][0] == link("/v2.1/")


def test_everything_else_needs_a_token(stranger: Nova) -> None:
    for root in ("/v2.1", "/v2"):
        for path in ("/os-services", "/nosuch", "//"):
            reply = stranger.get(path, root=root, version="abc")
            assert reply.status == 401
            assert reply.media_type == "application/json"
            assert reply.headers == [("WWW-Authenticate", 'Keystone uri=""')]
            assert reply.json == {
                "error": {
                    "code": 401,
                    "title": "Unauthorized",
                    "message": "The request you have made requires authentication.",
                }
            }
