"""What an answer means to an agent, whoever gives it; and how long an attempt may take."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.agent.client import HttpClient, Joined, attempt_timeout, understood
from servicegroup.agent.connection import Connection, Reply, _seconds
from servicegroup.agent.heart import Busy
from servicegroup.errors import (
    Conflict,
    ControlPlaneUnavailable,
    Forbidden,
    InvalidInput,
    ServiceGroupError,
)
from servicegroup.messages import Refusals
from support.control_plane import ControlPlane

PACE = {
    "report_interval": 10,
    "service_down_time": 60,
    "heartbeat_interval": 3,
    "membership_ttl": 10,
}


def refusals(status: int, body: bytes, retry_after: float = 0) -> Refusals:
    return understood("http://cp", Reply(status, retry_after, body), Refusals)


def test_refusals_are_read() -> None:
    answer = b'{"deleted": ["a"], "superseded": [], "left": ["b"], "unknown": [], "later": 1}'
    assert refusals(200, answer) == Refusals(deleted=frozenset("a"), left=frozenset("b"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidInput),
        (401, Forbidden),
        (403, Forbidden),
        (404, ControlPlaneUnavailable),
        (409, Conflict),
        (413, InvalidInput),
        (302, ControlPlaneUnavailable),
        (500, ControlPlaneUnavailable),
        (503, Busy),
    ],
)
def test_a_status_is_an_error_with_the_control_planes_sentence(
    status: int, error: type[ServiceGroupError]
) -> None:
    with pytest.raises(error) as caught:
        refusals(status, b'{"anyName": {"code": 400, "message": "Say it better."}}')
    assert str(caught.value) == f"http://cp answered {status}: Say it better."


@given(st.integers(201, 599), st.binary())
def test_any_other_answer_is_an_error_of_ours_and_one_line(status: int, body: bytes) -> None:
    with pytest.raises(ServiceGroupError) as caught:
        refusals(status, body)
    assert str(caught.value).startswith("http://cp answered ")


@given(st.binary())
def test_garbage_with_a_good_status_is_no_answer(body: bytes) -> None:
    with pytest.raises(ControlPlaneUnavailable):
        understood("http://cp", Reply(200, 0, body), Joined)


@pytest.mark.parametrize("pace", [{"report_interval": 0}, {"heartbeat_interval": -1}])
def test_a_pace_that_would_never_rest_is_refused(pace: dict[str, float]) -> None:
    body = msgspec.json.encode({"uuid": "u", "incarnation": 1, **PACE, **pace})
    with pytest.raises(ControlPlaneUnavailable):
        understood("http://cp", Reply(200, 0, body), Joined)


def test_busy_carries_the_wish() -> None:
    with pytest.raises(Busy) as caught:
        refusals(503, b"{}", retry_after=7)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("0", 0), (None, 0), ("", 0), ("soon", 0), ("-1", 0), ("1e9", 0), ("²", 0)],
)
def test_retry_after_is_seconds_or_nothing(text: str | None, seconds: float) -> None:
    assert _seconds(text) == seconds


@given(st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_several_attempts_fit_before_a_service_is_silent(interval: float, more: float) -> None:
    timeout = attempt_timeout(interval, interval + more)
    assert 0 < timeout <= interval
    assert 4 * timeout <= more * (1 + 1e-6)


def test_the_connection_is_kept_and_replaced_once_it_was_closed(
    control_plane: ControlPlane,
) -> None:
    def ask() -> object:
        reply = connection.request("GET", "/healthz", None, {}, 5)
        assert reply.status == 200
        (kept,) = connection._idle.get()
        return kept

    with closing(Connection(control_plane.url)) as connection:
        first = ask()
        assert ask() is first
        control_plane.kill()
        control_plane.start()
        assert ask() is not first


LENGTH, CHUNKS = b"content-length: 55\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [LENGTH, LENGTH + b'{"deleted"', CHUNKS, CHUNKS + b"37\r\n{", CHUNKS + b"2\r\n[]\r\n"],
)
def test_an_answer_that_is_cut_off_is_none(rest: bytes) -> None:
    """A control plane may be killed between the head of its answer and the body."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def cut_off() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(4096)
                accepted.sendall(b"HTTP/1.1 200 OK\r\n" + rest)

        thread = threading.Thread(target=cut_off)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with closing(Connection(url)) as connection, pytest.raises(ControlPlaneUnavailable) as told:
            connection.request("GET", "/v1/terms", None, {}, 5)
        thread.join()
    assert str(told.value) == f"{url} gave no answer (it closed before the end of its answer)."


def test_a_control_plane_that_answers_is_asked_first_next_time(
    control_plane: ControlPlane,
) -> None:
    nobody = "http://127.0.0.1:1"
    with closing(HttpClient(f"{nobody},{control_plane.url}")) as client:
        client.timeout = 60  # a busy machine is not the subject
        client.report([])
        assert client._planes.urls == [control_plane.url, nobody]
