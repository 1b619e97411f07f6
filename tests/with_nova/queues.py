"""Change a queue of RabbitMQ as an accident does: a program for Nova's own environment.

    queues.py URL unbind|bind|fill QUEUE

`unbind` makes the broker forget where messages for the queue go, though it is there and its
consumer too, as brokers did that lost a part of their cluster; `bind` repairs that. `fill` leaves
a message in it that never expires, as Nova's casts are.
"""

# Nova's environment has kombu, the one of whoever checks this file has not.
from __future__ import annotations

import sys

import kombu  # type: ignore[import-not-found]


def main(url: str, what: str, queue: str) -> None:
    """Do it."""
    exchange = kombu.Exchange("nova", "topic", durable=False)
    with kombu.Connection(url.replace("rabbit://", "amqp://")) as connection:
        channel = connection.channel()
        if what == "fill":
            kombu.Producer(channel).publish({}, exchange="", routing_key=queue)
            return
        bound = kombu.Queue(queue, exchange, routing_key=queue, channel=channel)
        (bound.queue_unbind if what == "unbind" else bound.queue_bind)()


if __name__ == "__main__":
    main(*sys.argv[1:])
