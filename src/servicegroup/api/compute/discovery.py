"""Discovery: which APIs are served here, for clients that ask before they have a token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from servicegroup.api.call import Answer, json_answer
from servicegroup.api.compute.microversions import MAX, MIN, text_of

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """One API of Nova; ``root`` is the first part of its paths."""

    id: str
    root: str
    status: str
    version: str
    min_version: str
    updated: str
    media_version: str


LEGACY = Api(
    id="v2.0",
    root="v2",
    status="DEPRECATED",
    version="",
    min_version="",
    updated="2025-07-04T12:00:00Z",
    media_version="2",
)
CURRENT = Api(
    id="v2.1",
    root="v2.1",
    status="CURRENT",
    version=text_of(MAX),
    min_version=text_of(MIN),
    updated="2013-07-23T11:33:21Z",
    media_version="2.1",
)


def list_versions(headers: Mapping[str, str]) -> Answer:
    """Describe both APIs: ``GET /``."""
    base = _base_url(headers)
    found = [
        {**_described(api), "links": [_self_link(f"{base}/{api.root}/")]}
        for api in (LEGACY, CURRENT)
    ]
    return json_answer({"versions": found})


def show_version(api: Api, headers: Mapping[str, str]) -> Answer:
    """Describe one API: ``GET /v2.1`` and ``GET /v2``."""
    described_by = {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    links = [_self_link(f"{_base_url(headers)}/{api.root}/"), described_by]
    return json_answer(
        {"version": {**_described(api), "links": links, "media-types": _media_types(api)}}
    )


def choices(path: str, headers: Mapping[str, str]) -> Answer:
    """Offer both APIs for a path that names neither: 300 Multiple Choices."""
    base = _base_url(headers)
    found = [
        {
            "id": api.id,
            "status": api.status,
            "links": [_self_link(f"{base}/{api.root}/{path.strip('/')}")],
            "media-types": _media_types(api),
        }
        for api in (LEGACY, CURRENT)
    ]
    return json_answer({"choices": found}, 300)


def _described(api: Api) -> dict[str, Any]:
    return {
        "id": api.id,
        "status": api.status,
        "version": api.version,
        "min_version": api.min_version,
        "updated": api.updated,
    }


def _self_link(href: str) -> dict[str, str]:
    return {"rel": "self", "href": href}


def _media_types(api: Api) -> list[dict[str, str]]:
    kind = f"application/vnd.openstack.compute+json;version={api.media_version}"
    return [{"base": "application/json", "type": kind}]


def _base_url(headers: Mapping[str, str]) -> str:
    """Return where the client found us, also when a proxy in front speaks TLS for us.

    Or when it serves us below a path, which it took off the request and names (F-10). Whoever sends
    these headers without a proxy is the only one to be told of it.
    """
    scheme = "https" if headers.get("x-forwarded-proto") == "https" else "http"
    below = headers.get("x-forwarded-prefix", "").rstrip("/")
    prefix = below if _PATH.fullmatch(below) else ""
    return f"{scheme}://{headers.get('host', 'localhost')}{prefix}"
