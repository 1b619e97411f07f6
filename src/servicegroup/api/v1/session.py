"""What is said in a session: the bodies of ``/v1`` as frames, each answered in its turn.

A frame is one JSON object with one field, which says what it is. The control plane also says
unasked what a session has to know: the terms when it begins, a deletion, a newer life, a drain; and
it asks whoever says that it answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from starlette.concurrency import run_in_threadpool

from servicegroup.api import faults
from servicegroup.api.call import Answer, Call, Caller, Handler
from servicegroup.api.reporting import Reporting
from servicegroup.api.transport.websocket import WebSocket
from servicegroup.api.v1.routes import leave, register
from servicegroup.bodies import Answers, Elements, Fault, Holds, Leaves, Releases, decode_with
from servicegroup.controlplane.pauses import READING, Pauses
from servicegroup.controlplane.questions import Questions
from servicegroup.controlplane.session_admission import Turn
from servicegroup.controlplane.sessions import Sessions
from servicegroup.decoding import decoder
from servicegroup.errors import Forbidden, InvalidInput, Unauthorized
from servicegroup.group import ServiceGroup
from servicegroup.messages import Drain, Held, Hold, Refusals, Registration
from servicegroup.sessions import SessionEnd

_REPORTS = b'{"reports":'
"""How nearly every frame begins."""

Again = Callable[[], Awaitable[Caller]]
"""Returns the caller as the request that began the session would find it now."""

_LOG = logging.getLogger(__name__)


_NOTHING = msgspec.Raw()


class _Frame(msgspec.Struct, forbid_unknown_fields=True):
    """A frame by its one field; what is in it is decoded as the body that it is."""

    hold: msgspec.Raw = _NOTHING
    release: msgspec.Raw = _NOTHING
    reports: msgspec.Raw = _NOTHING
    register: msgspec.Raw = _NOTHING
    leaves: msgspec.Raw = _NOTHING
    answers: msgspec.Raw = _NOTHING


_FRAME = decoder(_Frame)
_LEAVES = decoder(Leaves)
_RELEASES = decoder(Releases)
_ANSWERS = decoder(Answers)
_HOLDS = Elements(Holds, "hold", Hold)


class SessionTalk:
    """One session: who speaks, and for which services."""

    __slots__ = (
        "_again", "_answering", "_begun_at", "_caller", "_client", "_group", "_holding", "_line",
        "_pauses", "_questions", "_reporting", "_sessions", "_turn",
    )  # fmt: skip

    def __init__(
        self, group: ServiceGroup, sessions: Sessions, questions: Questions, reporting: Reporting,
        pauses: Pauses, caller: Caller, client: str | None, again: Again | None, turn: Turn,
    ) -> None:  # fmt: skip
        """Speak with ``caller``, who is found ``again`` from time to time, None if for ever.

        ``turn`` ends once services are held.
        """
        self._group = group
        self._sessions = sessions
        self._questions = questions
        self._reporting = reporting
        self._pauses = pauses
        self._caller = caller
        self._client = client
        self._again = again
        self._turn: Turn | None = turn
        self._answering: asyncio.Task[bytes] | None = None

    # -- the connection ----------------------------------------------------------------------

    def begin(self, line: WebSocket) -> None:
        """Begin, with the terms as the first word."""
        self._line = line
        self._begun_at = time.monotonic()
        self._holding = self._sessions.begin(self)
        self.tell({"terms": self._reporting.terms})

    def tell(self, said: object) -> None:
        """Say something unasked."""
        self._line.send(msgspec.json.encode(said))

    def ask_to_go(self, why: Drain) -> None:
        """Ask for the next session to be opened elsewhere; end this one if nobody obeys a stop."""
        self.tell({"drain": why})
        if why is Drain.STOPPING:
            self._line.shutdown()

    def close(self, end: SessionEnd) -> None:
        """End the connection."""
        self._line.close(end)

    def recheck(self) -> None:
        """Have the connection ask whether the session may go on, where that may change."""
        if self._again is not None:
            self._line.recheck()

    def heard(self) -> None:
        """Note that a frame came."""
        self._holding.heard()

    def lost(self, end: SessionEnd) -> None:
        """Note that the connection is gone."""
        self._end_turn()
        self._sessions.lost(self._holding, end)

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.end()
            self._turn = None

    async def may_go_on(self) -> bool:
        """Return whether the credential is still that of a caller who may report, for this host."""
        if self._again is None:
            return True
        try:
            caller = await self._again()
        except (Unauthorized, Forbidden):
            return False
        except Exception as error:  # noqa: BLE001 - not knowing ends no session
            _LOG.debug("A session's credential could not be checked: %s", error)
            return True
        return caller.host == self._caller.host

    # -- frames ------------------------------------------------------------------------------

    def answer(self, message: bytes, done: Callable[[bytes], None]) -> None:
        """Have ``done`` called, from the loop, with the answer to a frame, errors included.

        A frame that may have lain in the socket during a pause waits until the loop has read the
        end of the connection, if there is one: its sender may have died since (SQL-7).
        """
        if self._pauses.ended_since(self._begun_at):
            loop = asyncio.get_running_loop()
            loop.call_later(READING, self._answer_if_here, message, done)
        else:
            self._answer_now(message, done)

    def _answer_if_here(self, message: bytes, done: Callable[[bytes], None]) -> None:
        if self._holding.ended is None:
            self._answer_now(message, done)

    def _answer_now(self, message: bytes, done: Callable[[bytes], None]) -> None:
        if message.startswith(_REPORTS):
            # Nearly every frame is one, so it costs no task: only the wait for its commit.
            answer = partial(self._reported, done)
            if self._reporting.submit(self._caller, self._client, message, answer):
                return
        self._answering = asyncio.get_running_loop().create_task(self._answer(message))
        self._answering.add_done_callback(partial(self._answered, done))

    def _answered(self, done: Callable[[bytes], None], answer: asyncio.Task[bytes]) -> None:
        self._answering = None
        done(answer.result())

    def _reported(self, done: Callable[[bytes], None], outcome: Refusals | Exception) -> None:
        if isinstance(outcome, Exception):
            done(_fault(faults.answer_for(outcome)))
        else:
            done(b'{"reported":%b}' % self._reporting.answer(outcome))

    async def _answer(self, message: bytes) -> bytes:
        """Return the answer to a frame; never raises."""
        answers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            "hold": self._hold,
            "release": self._release,
            "reports": self._report,
            "register": self._register,
            "leaves": self._leave,
            "answers": self._hear,
        }
        try:
            frame = msgspec.structs.asdict(decode_with(_FRAME, message))
            named = [name for name, content in frame.items() if content is not _NOTHING]
            if len(named) != 1:
                raise InvalidInput(f"A frame holds one of: {', '.join(frame)}.")
            return await answers[named[0]](message)
        except Exception as error:  # noqa: BLE001 - errors become answers here
            return _fault(faults.answer_for(error))

    async def _report(self, message: bytes) -> bytes:
        refused = await self._reporting.commit(self._caller, self._client, message)
        return b'{"reported":%b}' % self._reporting.answer(refused)

    async def _hold(self, message: bytes) -> bytes:
        holds, invalid = _HOLDS.decode(message)
        return b'{"held":%b}' % msgspec.json.encode(await self._held(holds, invalid))

    async def _held(self, holds: list[Hold], invalid: frozenset[str]) -> Held:
        if self._caller.host is not None:
            await self._reporting.hosts.check(self._caller.host, {one.uuid for one in holds})
        # An answer names services by uuid, so it is about one session of each.
        latest = {one.uuid: one for one in sorted(holds, key=lambda one: one.order)}
        opened = await self._sessions.hold(self._holding, latest.values())
        self._end_turn()
        refused = msgspec.structs.asdict(opened.refused)
        refused["invalid"] |= invalid
        fingerprint = self._reporting.terms.fingerprint
        return Held(**refused, terms=fingerprint, outdated=opened.outdated)

    async def _release(self, message: bytes) -> bytes:
        lives = decode_with(_RELEASES, message).release
        self._sessions.release(self._holding, (one.uuid for one in lives), SessionEnd.RELEASED)
        return b'{"released":{}}'

    async def _hear(self, message: bytes) -> bytes:
        lives = decode_with(_ANSWERS, message).answers
        self._questions.answered(self._holding, (one.uuid for one in lives))
        return b'{"answered":{}}'

    async def _register(self, message: bytes) -> bytes:
        content = bytes(decode_with(_FRAME, message).register)
        answer = await self._in_thread(register, content)
        joined = decoder(Registration).decode(answer.body)
        await self._held([Hold(joined.uuid, joined.incarnation, 1)], frozenset())
        return b'{"registered":%b}' % answer.body

    async def _leave(self, message: bytes) -> bytes:
        answer = await self._in_thread(leave, message)
        lives = decode_with(_LEAVES, message).leaves
        self._sessions.release(self._holding, (one.uuid for one in lives), SessionEnd.LEFT)
        return b'{"left":%b}' % answer.body

    async def _in_thread(self, handler: Handler, body: bytes) -> Answer:
        call = Call(
            group=self._group, caller=self._caller, method="POST", path="/v1/session",
            query="", headers={}, body=body,
        )  # fmt: skip
        return await run_in_threadpool(handler, call)


def _fault(answer: Answer) -> bytes:
    """Return a fault in the envelope of the API's, under ``error``."""
    ((_, content),) = decoder(dict[str, Fault]).decode(answer.body).items()
    return msgspec.json.encode({"error": content})
