"""What doctor says of the node of a Galera cluster that the register is reached by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from servicegroup.cli.checks import Check

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SYNCED = "Synced"
"""What a node says of itself that serves."""

LONGEST_WAIT = 5.0
"""Seconds from which on a node that lags lets questions wait for too long."""

MOST_WAITING = 100
"""Commits of other nodes that may wait to be applied before it is worth a word."""

_STATUS = "SHOW GLOBAL STATUS LIKE 'wsrep_%%'"
_NODE = "SELECT @@wsrep_node_name, @@wsrep_provider_options"


def galera_checks(engine: Engine) -> Iterator[Check]:
    """Check the node that answers now, if it is one of a cluster. Raises StoreUnavailable."""
    from servicegroup.store.database import reading

    if engine.dialect.name != "mysql":
        return
    with reading(engine) as connection:
        status = _status(connection)
        if status.get("wsrep_cluster_size", "0") == "0":
            return  # a server of its own
        name, options = connection.exec_driver_sql(_NODE).one()
    state, size = status["wsrep_local_state_comment"], status["wsrep_cluster_size"]
    waiting = int(status["wsrep_local_recv_queue"])
    finding = (
        f"Node {name} is {state}, one of {size}, {status['wsrep_cluster_status']};"
        f" {waiting} commits of others wait to be applied."
    )
    yield _node(finding, state, waiting)
    yield _wait(_seconds(options))


def _status(connection: Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql(_STATUS).all()
    return {name.lower(): str(value) for name, value in rows}


def _node(finding: str, state: str, waiting: int) -> Check:
    if state != SYNCED:
        remedy = "A backup or a state transfer holds it, or it lost the others: use another node."
        return Check("FAIL", "cluster", finding, remedy)
    if waiting > MOST_WAITING:
        return Check("WARN", "cluster", finding, "It lags: see what it is busy with.")
    return Check("OK", "cluster", finding)


def _wait(seconds: float | None) -> Check:
    """Check for how long a question waits on a node that lags (F-24); None: it does not say."""
    if seconds is None or seconds > LONGEST_WAIT:
        said = "an unknown time" if seconds is None else f"{seconds:g} s"
        return Check(
            "WARN",
            "cluster wait",
            f"On a node that lags, questions wait for {said}.",
            "Set repl.causal_read_timeout=PT3S in wsrep_provider_options of every node.",
        )
    return Check("OK", "cluster wait", f"On a node that lags, questions wait for {seconds:g} s.")


def _seconds(options: str) -> float | None:
    """Return the limit among a provider's options, such as PT30S, in seconds."""
    pairs = (part.partition("=") for part in options.split(";"))
    named = {name.strip(): value.strip() for name, _, value in pairs}
    text = named.get("repl.causal_read_timeout", "")
    try:
        return float(text.removeprefix("PT").removesuffix("S"))
    except ValueError:
        return None
