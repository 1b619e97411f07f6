"""One cell's RabbitMQ, asked over oslo.messaging as Nova's own conductors ask.

A question is sent only where somebody takes messages and none are waiting, and RabbitMQ drops it
when its time is over: so a deaf service's queue does not grow by being asked, even where messages
without an end lie before ours. The queue for our answers ends soon after us, where those of Nova's
own processes stay for half an hour.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgspec

from servicegroup.errors import Unavailable
from servicegroup.model import Member

REPLY_QUEUE_TTL = 20
"""Seconds after which RabbitMQ deletes the reply queue of a probe that has ended."""

GRACE = 2.0
"""Seconds by which a broker may be late with telling us that nobody answered."""

MOST_AT_ONCE = 500
"""Questions that may be under way; each waits in a thread of its own."""

_MISSING = 404

_room = threading.BoundedSemaphore(MOST_AT_ONCE)


class BrokerAway(Unavailable):
    """The broker could not be asked, so nothing is known of any service behind it."""


class Unanswered(msgspec.Struct, frozen=True):
    """What there is instead of an answer: why, in a few words."""

    why: str


class Call:
    """A question under way, in a thread that keeps no process from ending."""

    def __init__(self, broker: Broker, member: Member) -> None:
        """Ask at once, and wait only where too many questions are under way."""
        _room.acquire()
        self._begun = time.monotonic()
        self._patience = broker.timeout + GRACE
        self._answer: float | Unanswered | BrokerAway = BrokerAway(
            f"{broker.name} did not take a question in time."
        )
        self._done = threading.Event()
        threading.Thread(
            target=self._run, args=(broker, member), name="servicegroup-rpc", daemon=True
        ).start()

    def answer(self) -> float | Unanswered:
        """Return the seconds that the answer took, or why there is none. Raises BrokerAway."""
        self._done.wait(max(0.0, self._begun + self._patience - time.monotonic()))
        if isinstance(self._answer, BrokerAway):
            raise self._answer
        return self._answer

    def _run(self, broker: Broker, member: Member) -> None:
        try:
            self._answer = broker.ask(member)
        except BrokerAway as away:
            self._answer = away
        finally:
            _room.release()
            self._done.set()


class Broker:
    """The way to the services of one cell; used by one thread, but for ``ask``."""

    def __init__(self, name: str, url: str | None, timeout: float) -> None:
        """Name the cell; ``url`` None is that of nova.conf. Connects when it is opened."""
        self.name = f"RabbitMQ of cell {name}"
        self.timeout = timeout
        self._url = url
        self._transport: Any = None
        self._connection: Any = None
        self._amqp: Any = None
        self._channel: Any = None

    def open(self) -> None:
        """Connect anew. Raises BrokerAway."""
        self.close()
        try:
            self._connect()
        except Exception as error:
            raise BrokerAway(f"{self.name} does not answer: {_words(error)}.") from error

    def close(self) -> None:
        """Close the connection that looks at queues."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception:  # noqa: BLE001 - it was lost, which is what is wanted
                logging.getLogger("servicegroup.nova").debug("A lost connection is closed.")

    def look(self, member: Member) -> Unanswered | None:
        """Tell why a question would not be heard; None where it may be sent. Raises BrokerAway.

        It is asked over the connection that was opened, which does not connect again by itself: as
        long as it answers, the broker was not away in between.
        """
        queue = f"{member.group}.{member.host}"
        try:
            if self._channel is None or not self._channel.is_open:
                self._channel = self._amqp.channel()
            _, waiting, consumers = self._channel.queue_declare(queue, passive=True)
        except Exception as error:
            if getattr(error, "code", None) == _MISSING:
                return Unanswered(f"there is no queue {queue}")
            raise BrokerAway(f"{self.name} is gone: {_words(error)}.") from error
        if not consumers:
            return Unanswered(f"nobody takes messages from its queue, where {waiting} wait")
        if waiting:
            return Unanswered(f"{waiting} messages wait in its queue")
        return None

    def send(self, member: Member) -> Call:
        """Ask a service, and do not wait for its answer."""
        return Call(self, member)

    def ask(self, member: Member) -> float | Unanswered:
        """Ask a service whether it is there, as Nova's ``baseapi`` has it. Raises BrokerAway.

        Returns the seconds that its answer took; a refusal is an answer. Threads may share it.
        """
        import oslo_messaging as messaging
        from nova.context import get_admin_context
        from nova.rpc import RequestContextSerializer

        client = messaging.get_rpc_client(
            self._transport,
            messaging.Target(
                topic=member.group, server=member.host, namespace="baseapi", version="1.0"
            ),
            timeout=self.timeout,
            retry=0,
            serializer=RequestContextSerializer(None),
            # RabbitMQ says so where no queue takes the question.
            transport_options=messaging.TransportOptions(at_least_once=True),
        )
        begun = time.monotonic()
        try:
            client.call(get_admin_context(), "ping", arg="servicegroup")
        except messaging.MessagingTimeout:
            return Unanswered(f"it took no question in {self.timeout:g} s")
        except messaging.MessageUndeliverable:
            return Unanswered("RabbitMQ has no way to its queue")
        except messaging.RemoteError:
            pass  # it answers
        except Exception as error:
            raise BrokerAway(f"{self.name} took no question: {_words(error)}.") from error
        return time.monotonic() - begun

    def _connect(self) -> None:
        import oslo_messaging as messaging
        from nova import rpc
        from oslo_config import cfg
        from oslo_messaging._drivers.common import PURPOSE_LISTEN

        url = rpc.get_transport_url(self._url)
        if self._transport is None:
            self._transport = messaging.get_rpc_transport(cfg.CONF, url=url)
        if url.transport.partition("+")[0] not in ("rabbit", "kombu"):
            raise BrokerAway(f"{url.transport} is no RabbitMQ")
        cfg.CONF.set_override(
            "rabbit_transient_queues_ttl", REPLY_QUEUE_TTL, "oslo_messaging_rabbit"
        )
        # oslo.messaging knows nova.conf's TLS, hosts and passwords, and has no public question of
        # what is in a queue.
        pool = self._transport._driver._connection_pool  # noqa: SLF001
        self._connection = pool.create(PURPOSE_LISTEN, retry=max(0, len(url.hosts) - 1))
        self._connection.set_transport_socket_timeout(self.timeout)
        self._amqp = self._connection.channel.connection
        self._channel = None


def brokers(timeout: float) -> dict[str, Broker]:
    """Return the broker of each cell, by the cell's uuid; Nova has listed its cells before."""
    import nova.context as context

    _keep_quiet()
    return {
        cell.uuid: Broker(
            cell.name or cell.uuid,
            None if cell.transport_url.startswith("none") else cell.transport_url,
            timeout,
        )
        for cell in context.CELLS
    }


def _keep_quiet() -> None:
    """Have failures told once, by us, and no outage logged again and again."""
    for name in ("oslo_messaging", "amqp", "kombu"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _words(error: BaseException) -> str:
    """Return the first line of what went wrong, without an address that may hold a password."""
    said = str(error).partition("\n")[0].rstrip(". ")
    return type(error).__name__ if "://" in said or not said else said
