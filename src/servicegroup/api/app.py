"""The application: every route in one table, every stage of a request in one list, in order.

A request passes: request id, body (bounded), caller (401), policy (403), handler in a thread,
and one edge that turns errors into answers. Reports skip the thread: they wait on the event loop
for their group commit. Whatever is not ours speaks Nova and goes to ``compute``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qsl

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match, Route, Router
from starlette.types import Lifespan

from servicegroup.api import faults, ui
from servicegroup.api.access.certificates import client_of, has_expired, may_expire
from servicegroup.api.access.strategies import EVERYBODY, Authenticator, refuse_foreign_pages
from servicegroup.api.call import NOT_ASKED, Answer, Call, Caller, Handler, Rule, json_answer
from servicegroup.api.compute import routes as compute
from servicegroup.api.connection import connection_of
from servicegroup.api.endpoint import Endpoint, Stage, body_of
from servicegroup.api.listing import Lists
from servicegroup.api.reporting import Reporting
from servicegroup.api.streaming import MAX_WAIT, Stream, open_stream, wait_for
from servicegroup.api.transport.websocket import WebSocket
from servicegroup.api.upgrade import NO_UPGRADE, Upgrade, key_of, without_connection
from servicegroup.api.v1 import routes as v1
from servicegroup.api.v1.openapi import document
from servicegroup.api.v1.query import event_filter, values, whole_number
from servicegroup.api.v1.routes import EVENTS, REPORTS, SESSION, STREAM
from servicegroup.api.v1.session import SessionTalk
from servicegroup.controlplane.feed import PAGE
from servicegroup.controlplane.intake import NOBODY
from servicegroup.controlplane.pauses import READING
from servicegroup.controlplane.plane import Plane
from servicegroup.errors import Forbidden, InvalidInput, Unauthorized
from servicegroup.events import EventFilter

ROOTS = ("v1", "healthz", "readyz", "metrics", "ui")
"""The first parts of paths that are ours for every method, and never Nova's."""

_READING = frozenset({"GET", "HEAD"})


class Handlers:
    """The HTTP side of one control plane's layer and intake."""

    def __init__(self, plane: Plane, authenticator: Authenticator) -> None:
        """Serve ``plane`` to whom ``authenticator`` lets in."""
        self._group = group = plane.group
        self._intake = plane.intake
        self._feed = plane.feed
        self._pauses = plane.pauses
        self._metrics = plane.metrics
        self._sessions = plane.sessions
        self._questions = plane.questions
        self._keepalive = plane.keepalive
        self._lists = Lists()
        self._reporting = Reporting(group, plane.intake)
        self._accepted = Answer(200, self._reporting.answer(NOBODY))
        self._authenticator = authenticator
        self._document = msgspec.json.encode(document((*v1.WAITING, *v1.ROUTES)))
        self._served = self._served_routes()

    def routes(self) -> list[Route]:
        """Return the whole API, most asked first; what matches nothing of it speaks Nova."""
        return [
            *self._served,
            *(
                _route(path, Endpoint(self.nothing))
                for root in ROOTS
                for path in (f"/{root}", f"/{root}/{{rest:path}}")
            ),
            _route("/{rest:path}", Endpoint(self.nova)),
        ]

    def _served_routes(self) -> list[Route]:
        return [
            _route(REPORTS.path, Endpoint(self.report), "POST"),
            _route(SESSION.path, Endpoint(self.session), "GET"),
            # The last route of all takes it as well, after a look at each of the others.
            _route("/v2.1/{rest:path}", Endpoint(self.nova)),
            *(
                _route(
                    route.path, Endpoint(self._handle_v1(route.handler, route.rule)), route.method
                )
                for route in v1.ROUTES
                if route.handler is not None
            ),
            _route(EVENTS.path, Endpoint(self.events), "GET"),
            _route(STREAM.path, Endpoint(self.stream), "GET"),
            _route("/v1/openapi.json", Endpoint(self.openapi), "GET"),
            _route("/metrics", Endpoint(self.metrics), "GET"),
            _route("/healthz", Endpoint(self.healthz), "GET"),
            _route("/readyz", Endpoint(self.readyz), "GET"),
            *(_route(path, Endpoint(ui.ui), "GET") for path in ui.PATHS),
        ]

    def _handle_v1(self, handler: Handler, rule: Rule) -> Stage:
        async def stage(request: Request) -> Answer:
            caller = await self._caller(request, rule)
            call = Call(
                group=self._group,
                caller=caller,
                method=request.method,
                path=request.url.path,
                params=request.path_params,
                query=_query(request),
                headers=request.headers,
                body=await self._body(request),
            )
            return await self._answered(request, handler, call)

        return stage

    async def _answered(
        self, request: Request, handler: Handler, call: Call, *, at_once: bool = False
    ) -> Answer:
        """Answer in a thread, and in its turn. Raises ClientDisconnect once nobody wants a list.

        A change is made all the same: its sender may have gone because it was sent. What never
        waits is called ``at_once``, without a thread.
        """
        if call.method not in _READING:
            return await self._lists.made(await run_in_threadpool(handler, call))
        with connection_of(request.scope).wait():
            answer = handler(call) if at_once else await run_in_threadpool(handler, call)
            return await self._lists.made(answer)

    async def _caller(self, request: Request, rule: Rule) -> Caller:
        refuse_foreign_pages(request.method, request.headers)
        caller = await self._authenticator.caller(request)
        if not caller.may(rule):
            raise Forbidden(f"{request.method} {request.url.path} needs {caller.needs(rule)}.")
        return caller

    async def _body(self, request: Request) -> bytes:
        """Return the body; raises ClientDisconnect for a change that nobody waits for any more.

        It may have lain in a socket during a pause, and its sender may have died since (SQL-7).
        """
        body = await body_of(request)
        if request.method not in _READING and self._pauses.just_ended and await _has_gone(request):
            raise ClientDisconnect
        return body

    async def report(self, request: Request) -> Answer:
        """Wait for the group commit of these reports."""
        caller = await self._caller(request, REPORTS.rule)
        body = await self._body(request)
        client = caller.host or client_of(request.scope)
        with connection_of(request.scope).wait():
            refused = await self._reporting.commit(caller, client, body)
        return self._accepted if refused is NOBODY else Answer(200, self._reporting.answer(refused))

    async def session(self, request: Request) -> Answer | Upgrade:
        """Begin a session, for as long as its connection lives."""
        caller = await self._caller(request, SESSION.rule)
        await self._body(request)
        if "origin" in request.headers:
            raise Forbidden("A session is of services; a browser's page has none.")
        key = key_of(request.headers)
        if key is None:
            return NO_UPGRADE
        with connection_of(request.scope).wait():
            turn = await self._sessions.admission.take()
        client = caller.host or client_of(request.scope)
        stays = caller is EVERYBODY and not may_expire(request.scope)
        again = None if stays else partial(self._still, without_connection(request))
        talk = SessionTalk(
            self._group, self._sessions, self._questions, self._reporting, self._pauses,
            caller, client, again, turn,
        )  # fmt: skip
        return Upgrade(key, WebSocket(talk, self._keepalive))

    async def _still(self, request: Request) -> Caller:
        """Return who holds a session by now. Raises Unauthorized, Forbidden."""
        if has_expired(request.scope):
            raise Unauthorized("The client's certificate has expired; show a new one.")
        return await self._caller(request, SESSION.rule)

    async def events(self, request: Request) -> Answer:
        """Tell events, waiting for the first one if asked to."""
        await self._caller(request, EVENTS.rule)
        await self._body(request)  # what nobody reads would hide the end of the connection
        given, wanted = _wanted(request, EVENTS)
        limit = whole_number("limit", given.get("limit", "100"), 1, PAGE)
        seconds = whole_number("wait", given.get("wait", "0"), 0, MAX_WAIT)
        if seconds == 0:
            return json_answer(await run_in_threadpool(self._group.events, wanted, limit))
        if wanted.after is None:
            raise InvalidInput("wait goes with after: give the id of the last event you know.")
        connection = connection_of(request.scope)
        page = await wait_for(self._feed, wanted, limit, seconds, connection)
        return json_answer(self._feed.page(page))

    async def stream(self, request: Request) -> Answer | Stream:
        """Tell events as they happen, for as long as somebody follows."""
        await self._caller(request, STREAM.rule)
        await self._body(request)
        _, wanted = _wanted(request, STREAM)
        return await open_stream(self._feed, wanted, only_head=request.method == "HEAD")

    async def openapi(self, request: Request) -> Answer:
        """Describe ``/v1`` to programs."""
        return Answer(200, self._document)

    async def metrics(self, request: Request) -> Answer:
        """Give Prometheus its numbers."""
        body = await self._metrics.render()
        return Answer(200, body, "text/plain; version=0.0.4; charset=utf-8")

    async def healthz(self, request: Request) -> Answer:
        """Say that the process serves requests."""
        return json_answer({"status": "ok"})

    async def readyz(self, request: Request) -> Answer:
        """Say whether reports are committed: what a load balancer should ask."""
        if self._intake.is_committing:
            return json_answer({"status": "ready"})
        return faults.fault(503, self._intake.trouble)

    async def nothing(self, request: Request) -> Answer:
        """Refuse what is below a root of ours and not there, or does not take the method (F-7)."""
        scope, path = request.scope, request.url.path
        known = [route for route in self._served if route.matches(scope)[0] is not Match.NONE]
        if known:
            allowed = ", ".join(
                sorted({method for route in known for method in route.methods or ()})
            )
            answer = faults.fault(405, f"{path} takes {allowed}.")
            return msgspec.structs.replace(answer, headers=(*answer.headers, ("Allow", allowed)))
        return faults.fault(404, f"{path} is not part of the API; see /v1/openapi.json.")

    async def nova(self, request: Request) -> Answer:
        """Answer as Nova's API does."""
        path = request.scope["raw_path"].split(b"?")[0].decode("latin-1")
        call = Call(
            group=self._group,
            caller=NOT_ASKED
            if compute.is_open(path)
            else await self._authenticator.caller(request),
            method=request.method,
            path=path,
            query=_query(request),
            headers=_headers(request),
            body=await self._body(request),
        )
        at_once = compute.is_for_later(call)
        return await self._answered(request, compute.respond, call, at_once=at_once)


def create_app(plane: Plane, authenticator: Authenticator) -> Application:
    """Return the ASGI application of a control plane, which runs for as long as it is served."""

    @asynccontextmanager
    async def lifespan(app: Router) -> AsyncIterator[None]:
        async with plane.running(authenticator.run()):
            yield

    return Application(Handlers(plane, authenticator).routes(), lifespan, plane.stop_serving)


class Application(Router):
    """The routes with what runs beside them."""

    def __init__(
        self,
        routes: Sequence[Route],
        lifespan: Lifespan[Router],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        """Answer by ``routes``; ``lifespan`` begins and ends what runs beside them."""
        # No pattern takes a path with a newline in it; the last route takes what is left.
        last = routes[-1].app
        super().__init__(routes, redirect_slashes=False, default=last, lifespan=lifespan)
        self._stop = stop

    async def close_streams(self) -> None:
        """End every answer that goes on for ever, so that the server can stop in order."""
        await self._stop()


def _route(path: str, endpoint: Endpoint, *methods: str) -> Route:
    """Route these methods, HEAD with GET, or all for none: what is not taken is ours to say."""
    route = Route(path, endpoint, methods=methods)
    route.methods = {*methods, *(("HEAD",) if "GET" in methods else ())} or None
    return route


def _query(request: Request) -> str:
    query: bytes = request.scope["query_string"]
    return query.decode()


def _wanted(request: Request, route: v1.Route) -> tuple[dict[str, str], EventFilter]:
    given = values(parse_qsl(_query(request), keep_blank_values=True), route.query)
    return given, event_filter(given, request.headers.get("last-event-id"))


def _headers(request: Request) -> dict[str, str]:
    """Return what came in one line each, as Nova's pipeline reads it, and the scheme."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return {"x-forwarded-proto": request.scope["scheme"], **joined}


async def _has_gone(request: Request) -> bool:
    """Tell whether the sender closed its connection, once the loop has read all there is."""
    await asyncio.sleep(READING)
    return connection_of(request.scope).has_ended
