"""Nova's API in process, over a real register: ask as a client does, read the answer as one."""

from __future__ import annotations

from typing import Any

import msgspec

from servicegroup.api import faults
from servicegroup.api.access.strategies import EVERYBODY
from servicegroup.api.call import Answer, Call, Caller
from servicegroup.api.compute.routes import respond
from servicegroup.errors import Unauthorized
from servicegroup.group import ServiceGroup


def made(answer: Answer) -> Answer:
    """Return an answer as the application sends it, made if it was left for later."""
    return answer if answer.later is None else answer.later()


class Reply(msgspec.Struct, frozen=True):
    """An answer, taken apart for assertions."""

    status: int
    media_type: str
    headers: list[tuple[str, str]]
    body: bytes

    @classmethod
    def of(cls, answer: Answer) -> Reply:
        return cls(answer.status, answer.media_type, list(answer.headers), answer.body)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def fault(self) -> tuple[int, str, str]:
        """Status, name and message of a fault in Nova's envelope."""
        assert self.media_type == "application/json; charset=UTF-8"
        [(name, content)] = self.json.items()
        assert list(content) == ["code", "message"]
        assert content["code"] == self.status
        return self.status, name, content["message"]

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def is_unrouted(self) -> bool:
        """Whether the path or method is not part of the API: plain text, no versions."""
        return self.status == 404 and self.media_type.startswith("text/plain") and not self.headers


class Nova:
    """The API as one caller meets it."""

    def __init__(self, group: ServiceGroup, caller: Caller = EVERYBODY) -> None:
        self.group = group
        self.caller = caller

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str | None = None,
        root: str = "/v2.1",
        **headers: str,
    ) -> Reply:
        """Send one request; ``body`` is sent as it is when it is bytes, as JSON otherwise."""
        sent = {"host": "controller:8774"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if version is not None:
            sent["openstack-api-version"] = f"compute {version}"
        if not isinstance(body, bytes):
            body = b"" if body is None else msgspec.json.encode(body)
        path, _, query = path.partition("?")
        try:
            call = Call(
                self.group,
                self.caller,
                method,
                root + path,
                query=query,
                headers=sent,
                body=body,
            )
            answer = made(respond(call))
        except Unauthorized as error:
            answer = faults.answer_for(error)
        return Reply.of(answer)

    def get(self, path: str, **options: Any) -> Reply:
        return self.ask("GET", path, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Reply:
        return self.ask("PUT", path, body, **options)

    def delete(self, path: str, **options: Any) -> Reply:
        return self.ask("DELETE", path, **options)

    def services(self, query: str = "", version: str = "2.53") -> list[dict[str, Any]]:
        """Return the list."""
        reply = self.get(f"/os-services{query}", version=version)
        assert reply.status == 200, reply.body
        found: list[dict[str, Any]] = reply.json["services"]
        return found

    def service(self, host: str, binary: str = "nova-compute") -> dict[str, Any]:
        """Return the one service of a host and binary as it is listed."""
        [found] = self.services(f"?host={host}&binary={binary}")
        return found
