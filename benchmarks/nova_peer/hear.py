"""Computes behind a broker by the hundred, as a probe finds them: a program for Nova's environment.

    hear.py CONFIGURATION ANSWERING SWALLOWING UNHEARD

Hosts are numbered from 1 as the seed numbers them. The first ones answer, each with an RPC server
as a nova-compute has it; the next ones take messages and answer none, as one does whose main thread
has ended; of the last ones there is the queue alone. It says `ready`, and ends with its input.
"""

# Nova must patch the standard library before anything else is imported, and is not in the
# environment of whoever checks this file.
# ruff: noqa: E402
from __future__ import annotations

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import sys
import threading

import kombu  # type: ignore[import-not-found]
import oslo_messaging
from nova import baserpc, config, rpc
from oslo_config import cfg


def answer(host: str) -> None:
    """Answer as a nova-compute does."""
    target = oslo_messaging.Target(topic="compute", server=host)
    rpc.get_server(target, [baserpc.BaseRPCAPI("compute", None)]).start()


def main(configuration: str, answering: str, swallowing: str, unheard: str) -> None:
    """Do it until the input ends."""
    # Whoever waits for the interpreter wakes up as often as this says: hundreds of threads that do
    # would leave no processor to what is measured.
    sys.setswitchinterval(0.5)
    config.parse_args(["hear", "--config-file", configuration])
    first, second = int(answering), int(answering) + int(swallowing)
    for number in range(first):
        answer(f"host-{number + 1}")
    url = cfg.CONF.transport_url.replace("rabbit://", "amqp://")
    exchange = kombu.Exchange("nova", "topic", durable=False)
    connection = kombu.Connection(url)
    channel = connection.channel()
    queues = []
    for number in range(first, second + int(unheard)):
        name = f"compute.host-{number + 1}"
        queue = kombu.Queue(name, exchange, routing_key=name, durable=False, channel=channel)
        queue.declare()
        queues.append(queue)
    consumer = kombu.Consumer(channel, queues[: second - first], no_ack=True)
    consumer.register_callback(lambda body, message: None)
    consumer.consume()
    threading.Thread(target=swallow, args=(connection,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def swallow(connection: kombu.Connection) -> None:
    """Take messages for ever."""
    while True:
        connection.drain_events()


if __name__ == "__main__":
    main(*sys.argv[1:])
