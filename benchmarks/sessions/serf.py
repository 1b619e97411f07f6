"""Serf, the gossip of Consul: ten agents on loopback, and how soon one that died is `failed`."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from servers.process import LOOPBACK, Server, free_port
from support.waiting import until

NODES = 10
PROFILE = "lan"


class Serf(Server):
    """One agent, which joins those at the addresses ``others``."""

    name = "serf"
    package = "serf"

    def __init__(self, node: str, others: Sequence[str] = ()) -> None:
        super().__init__()
        self.node = node
        self.others = tuple(others)
        self._rpc = free_port()

    @classmethod
    def installed(cls) -> bool:
        """Say whether this machine has it."""
        return shutil.which("serf") is not None

    def command(self) -> Sequence[str | Path]:
        """Return the command."""
        join = [f"-retry-join={address}" for address in self.others]
        return [
            "serf", "agent", f"-node={self.node}", f"-bind={self.address}",
            f"-rpc-addr={LOOPBACK}:{self._rpc}", f"-profile={PROFILE}", *join,
        ]  # fmt: skip

    def answers(self) -> bool:
        """Ask whether its own clients would be let in."""
        socket.create_connection((LOOPBACK, self._rpc), timeout=5).close()
        return True

    def told(self, event: str, node: str) -> int:
        """Return how often it has said so much of a node."""
        return self.log.read_text().count(f"EventMember{event}: {node} ")


@contextmanager
def cluster() -> Iterator[list[Serf]]:
    """Give agents of which each knows all others."""
    with ExitStack() as stack:
        nodes = [Serf("n0")]
        nodes += [Serf(f"n{number}", [nodes[0].address]) for number in range(1, NODES)]
        for node in nodes:
            stack.enter_context(node)
        for node in nodes[1:]:
            until(partial(nodes[0].told, "Join", node.node), 60, what=f"{node.node} in the cluster")
        yield nodes


def kill_all(nodes: Sequence[Serf], kills: int) -> Iterator[float]:
    """Give the seconds from each kill until the first agent says so; who died comes back."""
    witness, *others = nodes
    for number in range(kills):
        victim = others[number % len(others)]
        failed, joined = (witness.told(event, victim.node) for event in ("Failed", "Join"))
        victim.kill()
        killed = time.monotonic()
        _until_told(witness, "Failed", victim.node, failed)
        yield time.monotonic() - killed
        victim.start()
        _until_told(witness, "Join", victim.node, joined)


def _until_told(witness: Serf, event: str, node: str, before: int) -> None:
    """Wait until the witness says so once more than before."""
    until(lambda: witness.told(event, node) > before, 60, 0.01, f"{event} of {node}")
