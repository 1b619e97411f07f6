"""The door over HTTP: a control plane's ``/v1``, asked and answered in the layer's own Structs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec.structs import asdict

from servicegroup.agent.client import REFUSALS, fault_messages
from servicegroup.agent.connection import Reply
from servicegroup.agent.control_planes import ControlPlanes
from servicegroup.agent.credentials import TlsFiles
from servicegroup.bodies import Drivers, One, Protections, Prune, Pruned, Services, Versions
from servicegroup.comparison import Compared
from servicegroup.decoding import decoder
from servicegroup.driver_state import DriverState
from servicegroup.errors import ControlPlaneUnavailable, Forbidden, InvalidInput, NotFound
from servicegroup.events import EventFilter, Page, Protection, RawPage
from servicegroup.history import History
from servicegroup.model import BinaryVersions, Service, ServiceFilter

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds a control plane may take for one answer."""

PAGE = 1000
"""Services asked for at once; about a megabyte."""


class RemoteRegister:
    """A control plane's ``/v1``; of several, comma separated, the one that answered last."""

    def __init__(self, urls: str, token: str | Path = "", files: TlsFiles | None = None) -> None:
        """Ask the control planes at ``urls``. Raises InvalidInput for what cannot be a URL."""
        self._planes = ControlPlanes(urls, token, files)

    def services(
        self, filters: ServiceFilter | None = None, *, state: str | None = None
    ) -> list[Service]:
        """Return the services that match, judged, page by page; see ``Register``."""
        wanted = asdict(filters) if filters else {}
        limit = wanted.pop("limit", None)
        query = {name: text for name, text in {**wanted, "state": state}.items() if text}
        found: list[Service] = []
        while limit is None or len(found) < limit:
            query["limit"] = str(PAGE if limit is None else min(PAGE, limit - len(found)))
            page = self._ask("GET", f"/v1/services?{urlencode(query)}", Services)
            found += page.services
            if page.next is None:
                break
            query["marker"] = page.next
        return found

    def get(self, service_id: int | str) -> Service:
        """Return one service by uuid; raises InvalidInput for an integer id, which /v1 has not."""
        if isinstance(service_id, int):
            raise InvalidInput(
                f"A control plane does not know services by integer ids such as {service_id};"
                " give the uuid, or HOST BINARY."
            )
        return self._ask("GET", f"/v1/services/{service_id}", One).service

    def find(self, host: str, binary: str) -> Service:
        """Return one service; see ``Register``."""
        found = self.services(ServiceFilter(host=host, binary=binary))
        if not found:
            raise NotFound(f"Could not find binary {binary} on host {host}.")
        return found[0]

    def update(self, service_id: str, **changes: Any) -> Service:
        """Change one service; see ``Register``."""
        return self._ask("PATCH", f"/v1/services/{service_id}", One, changes).service

    def delete(self, service_id: str) -> None:
        """Delete one service; see ``Register``."""
        self._planes.request("DELETE", f"/v1/services/{service_id}", None, TIMEOUT, _accepted)

    def prune(self, wanted: Prune) -> Pruned:
        """Delete all services that match; see ``Register``."""
        return self._ask("POST", "/v1/prune", Pruned, msgspec.to_builtins(wanted))

    def version_counts(self, binaries: Sequence[str]) -> list[BinaryVersions]:
        """Return versions; see ``Register``."""
        query = urlencode([("binary", binary) for binary in binaries])
        return self._ask("GET", f"/v1/versions?{query}", Versions).versions

    def driver_states(self) -> list[DriverState]:
        """Return the drivers in use; see ``Register``."""
        return self._ask("GET", "/v1/drivers", Drivers).drivers

    def compare(self) -> Compared:
        """Compare the drivers in use; see ``Register``."""
        return self._ask("GET", "/v1/drivers/comparison", Compared)

    def events(self, wanted: EventFilter, limit: int, wait: float = 0.0) -> Page:
        """Return events; see ``Register``."""
        query = urlencode({**wanted.query(), "limit": limit, "wait": round(wait)})
        return self._ask("GET", f"/v1/events?{query}", RawPage).decode()

    def history(self, service_id: str, since: datetime | None, until: datetime | None) -> History:
        """Return a service's history; see ``Register``."""
        times = {"since": since, "until": until}
        query = urlencode({name: at.isoformat() for name, at in times.items() if at})
        return self._ask("GET", f"/v1/services/{service_id}/history?{query}", History)

    def protections(self) -> list[Protection]:
        """Return the suspect signals; see ``Register``."""
        return self._ask("GET", "/v1/protection", Protections).protections

    def close(self) -> None:
        """Close the connections."""
        self._planes.close()

    def _ask(self, method: str, path: str, kind: type[T], content: Any = None) -> T:
        def read(url: str, reply: Reply) -> T:
            return _decoded(url, _accepted(url, reply), kind)

        return self._planes.request(method, path, content, TIMEOUT, read)


def open_remote(options: Mapping[str, Any]) -> RemoteRegister:
    """Return the register that the command line's options name. Raises InvalidInput."""
    files = TlsFiles(options["ca"], options["cert"], options["key"])
    file = options["token_file"]
    return RemoteRegister(options["url"], Path(file) if file else options["token"] or "", files)


def _accepted(url: str, reply: Reply) -> bytes:
    """Return the body of a success; raises what a refusal means, in the control plane's words."""
    if reply.status in (200, 204):
        return reply.body
    faults = fault_messages(reply.body)
    if not faults:  # a proxy, or another server altogether
        raise ControlPlaneUnavailable(
            f"{url} answered {reply.status} without a control plane's reason; check --url."
        )
    if reply.status == 401:
        raise Forbidden(
            f"{url} does not accept the token; set SERVICEGROUP_TOKEN_FILE or SERVICEGROUP_TOKEN."
        )
    meanings = REFUSALS | {404: NotFound}
    raise meanings.get(reply.status, ControlPlaneUnavailable)(faults[0])


def _decoded(url: str, body: bytes, kind: type[T]) -> T:
    try:
        return decoder(kind).decode(body)
    except msgspec.MsgspecError as error:
        raise ControlPlaneUnavailable(
            f"{url} gave an answer that is not a control plane's of this release ({error});"
            " check --url."
        ) from error
