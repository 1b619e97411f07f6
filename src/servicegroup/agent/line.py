"""What is said in a session, from the agent's side: questions, their answers in turn, and orders.

Answers come in the order of the questions. Whoever reads gives each to its question; what the
control plane says unasked is kept for the reader.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from servicegroup.agent.client import REFUSALS, Terms, understood
from servicegroup.agent.connection import Reply
from servicegroup.agent.heart import Busy
from servicegroup.agent.websocket import Rejected, WebSocket
from servicegroup.decoding import decoder
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.messages import Held, OfLife, Reported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servicegroup.agent.connection import Connection
    from servicegroup.keepalive import Keepalive


class NoTunnel(ControlPlaneUnavailable):
    """Something on the way lets no WebSocket through, or the control plane knows no sessions."""


class _Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Said(msgspec.Struct):
    """A frame of a control plane; one of the first five is an answer."""

    held: Held | None = None
    released: dict[str, Any] | None = None
    answered: dict[str, Any] | None = None
    reported: Reported | None = None
    error: _Fault | None = None
    terms: Terms | None = None
    deleted: list[str] = []
    superseded: list[str] = []
    questions: list[OfLife] = []
    drain: str | None = None

    @property
    def answer(self) -> Held | Reported | _Fault | dict[str, Any] | None:
        """What answers a question, None for what was said unasked."""
        for found in (self.held, self.reported, self.error, self.released, self.answered):
            if found is not None:
                return found
        return None


_SAID = decoder(_Said)
_Slot = SimpleQueue[Any]


class Line:
    """An open session with one control plane; any thread may ask, one reads."""

    def __init__(self, plane: Connection, socket: WebSocket) -> None:
        """Talk over ``socket`` to ``plane``."""
        self.url = plane.url
        self._plane = plane
        self._socket = socket
        self._asking = threading.Lock()
        self._slots: deque[_Slot] = deque()
        self.draining: str | None = None
        self.has_news = False
        self.questions: list[OfLife] = []
        self.answers: list[OfLife] = []
        self.fingerprint = ""
        self._unanswered_since: float | None = None

    @classmethod
    def open(
        cls, plane: Connection, headers: Mapping[str, str], keepalive: Keepalive, timeout: float
    ) -> Line:
        """Open a line within so many seconds.

        Raises ControlPlaneUnavailable, NoTunnel where no WebSocket gets through, and Forbidden.
        """
        deadline = time.monotonic() + timeout
        try:
            sock = plane.dial(deadline)
        except (OSError, UnicodeError) as error:
            raise plane.no_answer(error) from error
        keepalive.apply(sock)
        sock.settimeout(timeout)  # of each sending
        socket = WebSocket(sock, plane.authority, plane.path + "/v1/session")
        try:
            socket.shake_hands(headers, deadline)
        except Rejected as error:
            socket.close()
            if error.status in (401, 403, 429, 503):
                understood(plane.url, Reply(error.status, 0.0, error.body), object)
            raise NoTunnel(
                f"{plane.url} lets no session through (it answered {error.status});"
                " reports go by POST meanwhile."
            ) from error
        except OSError as error:
            socket.close()
            raise plane.no_answer(error) from error
        except BaseException:
            socket.close()
            raise
        return cls(plane, socket)

    def fileno(self) -> int:
        """Return what can be polled for input."""
        return self._socket.fileno()

    def ask(self, frame: object) -> _Slot:
        """Send a question, and return where its answer will be. Raises ControlPlaneUnavailable."""
        slot: _Slot = SimpleQueue()
        message = msgspec.json.encode(frame)
        with self._asking:
            self._slots.append(slot)
            try:
                self._socket.send(message)
            except OSError as error:
                raise self._plane.no_answer(error) from error
        return slot

    @property
    def silence(self) -> float:
        """Seconds since a sign of life was sent that nothing has come after."""
        since = self._unanswered_since
        return 0.0 if since is None else time.monotonic() - since

    def ping(self) -> None:
        """Send a sign of life. Raises ControlPlaneUnavailable."""
        if self._unanswered_since is None:
            self._unanswered_since = time.monotonic()
        try:
            self._socket.ping()
        except OSError as error:
            raise self._plane.no_answer(error) from error

    def read(self, seconds: float) -> None:
        """Wait so long for input, and take what came. Raises ControlPlaneUnavailable at the end."""
        if not (self._socket.has_messages or self._socket.wait(seconds)):
            return
        try:
            messages = self._socket.receive()
        except OSError as error:
            raise self._plane.no_answer(error) from error
        self._unanswered_since = None
        for message in messages:
            self._take(message)

    def answer(self, slot: _Slot, seconds: float) -> Any:
        """Return an answer, reading until it is there. Raises ControlPlaneUnavailable, Busy."""
        deadline = time.monotonic() + seconds
        while slot.empty() and (left := deadline - time.monotonic()) > 0:
            self.read(left)
        return self.taken(slot, 0.0)

    def taken(self, slot: _Slot, seconds: float) -> Any:
        """Return the answer that another thread reads. Raises ControlPlaneUnavailable, Busy."""
        try:
            answer = slot.get(timeout=seconds) if seconds else slot.get_nowait()
        except Empty:
            raise self._plane.no_answer(TimeoutError()) from None
        if answer is None:
            raise self._plane.no_answer(OSError("its session ended"))
        if isinstance(answer, _Fault):
            message = f"{self.url} answered {answer.code}: {answer.message}"
            if answer.code in (429, 503):
                raise Busy(message, 0.0)
            raise REFUSALS.get(answer.code, ControlPlaneUnavailable)(message)
        return answer

    def close(self) -> None:
        """Close, and leave nobody waiting for an answer."""
        self._socket.close()
        with self._asking:
            while self._slots:
                self._slots.popleft().put(None)

    def _take(self, message: bytes) -> None:
        try:
            said = _SAID.decode(message)
        except msgspec.MsgspecError as error:
            raise ControlPlaneUnavailable(
                f"{self.url} said what is not a control plane's ({error})."
            ) from error
        answer = said.answer
        if answer is not None:
            if self._slots:
                self._slots.popleft().put(answer)
        elif said.terms is not None:
            self.fingerprint = said.terms.fingerprint
        elif said.drain is not None:
            self.draining = said.drain
        elif said.deleted or said.superseded:
            self.has_news = True
        elif said.questions:
            self.questions = said.questions
