"""A cloud by its name in clouds.yaml, through openstacksdk, and one question to one of its APIs.

openstacksdk finds the configuration, the endpoints and the versions, and keeps the token valid. The
lists themselves are decoded here: its resources cost twenty times as much for ten thousand rows.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml
from keystoneauth1 import exceptions as failures
from openstack.config import OpenStackConfig
from openstack.config.loader import CONFIG_FILES
from openstack.exceptions import SDKException

from servicegroup.decoding import decoder
from servicegroup.errors import InvalidInput, ServiceGroupError, Unavailable
from servicegroup.mirror.apis import APIS, Api, Body, Seen, merged

CONNECTING = 5.0
"""Seconds until a connection stands."""

ANSWERING = 30.0
"""Seconds an API has for one page."""

MOST_PAGES = 1_000
MOST_BYTES = 64 * 2**20
_CHUNK = 2**16
_POOL = re.compile(r": HTTPS?ConnectionPool.*")
_PLACE = re.compile(r"\w+://[^/]*.*?/v\d[^/]*")
_VERSION = re.compile(r"/v\d")
_decode = decoder(Body).decode


class Listing(msgspec.Struct, frozen=True):
    """What an API listed, when by the clock there, and what it listed that cannot be used."""

    services: list[Seen]
    now: datetime
    nameless: list[str] = []


class Cloud:
    """One cloud; each of its APIs may be asked by a thread of its own."""

    def __init__(self, name: str) -> None:
        """Read the configuration of the cloud. Raises InvalidInput."""
        self.name = name
        try:
            self._config = OpenStackConfig(app_name="servicegroup-mirror").get_one(cloud=name)
            self._session = self._config.get_session()
        except Exception as error:
            raise InvalidInput(_unusable(name, error)) from error
        self._versions: dict[str, str | None] = {}

    def apis(self) -> list[Api]:
        """Return the APIs that the cloud has. Raises InvalidInput, Unavailable."""
        has_catalog = hasattr(self._session.auth, "get_access")
        found = [
            api
            for api in APIS.values()
            if self._config.get_endpoint(api.type) or (has_catalog and self._found(api))
        ]
        if not found:
            raise InvalidInput(
                f"Cloud {self.name} shows no API of {', '.join(APIS)}; check the catalog and"
                " region_name, or name one with --api."
            )
        return found

    def endpoint(self, api: Api) -> str:
        """Return where an API is, its version included. Raises InvalidInput, Unavailable."""
        found = self._found(api)
        if not found:
            raise InvalidInput(
                f"Cloud {self.name} has no endpoint for {api.name}; check its catalog and"
                " region_name, or leave out the API."
            )
        found = found.rstrip("/")
        return found if _VERSION.search(urlsplit(found).path) else f"{found}/{api.version}"

    def place(self, api: Api) -> str:
        """Return the same without what depends on who asks, such as a project."""
        endpoint = self.endpoint(api)
        found = _PLACE.match(endpoint)
        return found[0] if found else endpoint

    def services(self, api: Api) -> Listing:
        """Return what an API lists, page after page. Raises InvalidInput, Unavailable."""
        found: dict[tuple[str, str], Seen] = {}
        nameless: list[str] = []
        path, now = api.path, datetime.now(UTC).replace(tzinfo=None)
        for _ in range(MOST_PAGES):
            body, now = self._page(api, path)
            rows = getattr(body, api.field)
            if rows is None:
                raise self._foreign(api, f"JSON without {api.field!r}")
            some, without_name = merged(api, rows)
            before = len(found)
            found |= {seen.name: seen for seen in some}
            nameless += without_name
            if body.next is None:
                return Listing(list(found.values()), now, nameless)
            if len(found) == before:
                break
            path = f"{api.path}?{urlsplit(body.next).query}"
        raise InvalidInput(
            f"The pages of {api.name} in cloud {self.name} never end: the one after {len(found)}"
            " services brings nothing new; report it there, or leave out the API."
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.session.close()

    def _found(self, api: Api) -> str | None:
        """Return the endpoint that the configuration or else the catalog names, if one does."""
        named = self._config.get_endpoint(api.type)
        if named:
            return str(named)
        try:
            # Discovery would take an API that is away for one that is not there.
            found = self._session.get_endpoint(
                service_type=api.type,
                interface=self._config.get_interface(api.type),
                region_name=self._config.get_region_name(api.type),
                skip_discovery=True,
            )
        except Exception as error:
            raise self._meaning("keystone", error) from error
        return found and str(found)

    def _page(self, api: Api, path: str) -> tuple[Body, datetime]:
        try:
            answer = self._answer(api, path)
        except ServiceGroupError:
            raise
        except Exception as error:
            raise self._meaning(api.name, error) from error
        status = answer.status_code
        kind = answer.headers.get("Content-Type", "nothing").partition(";")[0]
        try:
            content = self._content(api, answer)
        finally:
            answer.close()
        if status in (401, 403):
            raise InvalidInput(
                f"{api.name} of cloud {self.name} refuses ({status}): the token has expired, or its"
                " user may not list services; renew the credentials in clouds.yaml, or give the"
                " user the role that may."
            )
        if status >= 500 or status == 429:
            raise Unavailable(f"{api.name} of cloud {self.name} answers {status}.")
        if status != 200 or kind != "application/json":
            raise self._foreign(api, f"{status} with {kind}")
        try:
            return _decode(content), _clock(answer.headers.get("Date"))
        except msgspec.MsgspecError as error:
            raise self._foreign(api, f"what cannot be read ({error})") from None

    def _answer(self, api: Api, path: str) -> Any:
        """Ask with the newest microversion that both know, and remember which it is."""
        known = api.name in self._versions
        for version in (self._versions[api.name],) if known else api.microversions:
            answer = self._session.get(
                self.endpoint(api) + path,
                headers={"Accept": "application/json"},
                microversion=version,
                microversion_service_type=api.type,
                raise_exc=False,
                stream=True,
                timeout=(CONNECTING, ANSWERING),
            )
            if answer.status_code != 406:
                break
            answer.close()
        self._versions[api.name] = version
        return answer

    def _content(self, api: Api, answer: Any) -> bytes:
        """Read a body that comes in time and is not too large. Raises Unavailable."""
        until = time.monotonic() + ANSWERING
        content = bytearray()
        try:
            for chunk in answer.iter_content(_CHUNK):
                content += chunk
                if len(content) > MOST_BYTES or time.monotonic() > until:
                    raise Unavailable(
                        f"{api.name} of cloud {self.name} sends more than {MOST_BYTES} bytes, or"
                        f" takes more than {ANSWERING:g} s to send its list."
                    )
        except OSError as error:  # what requests raises is one
            raise Unavailable(f"{api.name} of cloud {self.name} broke off: {error}") from error
        return bytes(content)

    def _foreign(self, api: Api, what: str) -> InvalidInput:
        return InvalidInput(
            f"{self.endpoint(api)} answers {what}, and no list of {api.name}: it is another server,"
            f" or a proxy before it; check the endpoint of {api.name} in cloud {self.name}."
        )

    def _meaning(self, api: str, error: Exception) -> ServiceGroupError:
        """Return what an error of openstacksdk means: to be mended, or to be tried again."""
        said = _first_line(error)
        if isinstance(error, failures.Unauthorized | failures.Forbidden):
            return InvalidInput(
                f"Cloud {self.name} does not accept the credentials: {said}; renew the token or the"
                " password in clouds.yaml."
            )
        wrong = (failures.MissingRequiredOptions, failures.CatalogException)
        is_answer = isinstance(error, failures.ClientException | OSError)
        if isinstance(error, (failures.AuthorizationFailure, *wrong)) or not is_answer:
            return InvalidInput(f"Cloud {self.name} cannot be used: {said}; check clouds.yaml.")
        return Unavailable(f"{api} of cloud {self.name} does not answer: {said}")


def _clock(date: str | None) -> datetime:
    """Return the time by the server that answered, as naive UTC; ours where it does not say."""
    try:
        found = parsedate_to_datetime(date or "")
        return found.astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        return datetime.now(UTC).replace(tzinfo=None)


def _unusable(name: str, error: Exception) -> str:
    """Say why a cloud's configuration cannot be used, and never a value of it."""
    path = next((path for path in _files() if path.exists()), None)
    if path is None:
        return (
            f"Cloud {name!r} has no clouds.yaml to be in; write one to this directory, to"
            " ~/.config/openstack or /etc/openstack, or name it in OS_CLIENT_CONFIG_FILE."
        )
    if broken := _broken(path):
        return f"{path} cannot be read as YAML ({broken}); mend it there."
    try:
        names = sorted(OpenStackConfig().get_cloud_names())
    except (SDKException, OSError) as other:
        return f"{path} cannot be read: {_first_line(other)}."
    if name not in names:
        return f"Cloud {name!r} is not in {path}, which has {_listed(names)}."
    return f"Cloud {name!r} of {path} cannot be used: {_first_line(error)}; mend it there."


def _files() -> Iterator[Path]:
    """Yield where openstacksdk looks for the configuration, the first one that exists wins."""
    if named := os.environ.get("OS_CLIENT_CONFIG_FILE"):
        yield Path(named)
    yield from map(Path, CONFIG_FILES)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _broken(path: Path) -> str | None:
    """Return where a file is no YAML, None if it is."""
    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return f"line {mark.line + 1}: {error.problem}" if mark else str(error.problem)
    except (yaml.YAMLError, UnicodeDecodeError):
        return "it is not text"
    except OSError as error:
        return str(error.strerror)
    return None


def _first_line(error: Exception) -> str:
    said = _POOL.sub("", str(error).partition("\n")[0])
    return said[:200].rstrip(".") or type(error).__name__
