"""Why a server was of no use, in its own words, with the remedy where its kind is the cause."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    RedisError,
    TryAgainError,
)

IN_A_CLUSTER = (
    "it is part of a Redis Cluster; write redis+cluster://host:port,host:port with several of the"
    " cluster's servers"
)
_NOT_IN_A_CLUSTER = "write redis://host:port for a server that is in no cluster"

_PLACE = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_SENT = re.compile(r", with args beginning with|,? script: ")


class NoPrimary(RedisError):
    """Nobody names a primary that can be used; the message says why, for each who was asked."""


def cause_of(error: BaseException, *, by_cluster: bool = False) -> str:
    """Return what went wrong, with the remedy where the server is not of the kind that is needed.

    ``by_cluster`` tells that a cluster was expected. What was sent is cut off: a server may quote
    it, and it may be a secret. So is where in a script it was refused.
    """
    if isinstance(error, NoPrimary):
        return str(error)
    text = _SENT.split(_PLACE.sub("", str(error), count=1), maxsplit=1)[0].rstrip(".")
    upper = text.upper()
    if "UNKNOWN COMMAND" in upper and "SENTINEL" in upper:
        return "it is no sentinel; the port of sentinels is usually 26379"
    if "UNKNOWN COMMAND" in upper:
        return f"{text}; if it is a sentinel, write redis+sentinel://host:26379/MASTER"
    if "NO SUCH MASTER" in upper:
        return f"{text}; write the name that sentinel monitor has, after the hosts"
    if "CLUSTER SUPPORT DISABLED" in upper:
        return f"{text}; {_NOT_IN_A_CLUSTER}"
    return _of_a_cluster(error, text, by_cluster=by_cluster) or text or type(error).__name__


def _of_a_cluster(error: BaseException, text: str, *, by_cluster: bool) -> str:
    """Return what servers of a cluster alone say, or nothing."""
    down = isinstance(error, ClusterDownError) and not isinstance(error, MasterDownError)
    moving = isinstance(error, AskError | TryAgainError)
    apart = "SAME SLOT" in text.upper() or "CROSSSLOT" in text.upper()
    if not by_cluster:
        return IN_A_CLUSTER if down or moving or apart else ""
    if down:
        return f"CLUSTERDOWN {text}; see CLUSTER INFO"
    if isinstance(error, AskError):
        return f"the members' slot {error.slot_id} is on its way to {error.host}:{error.port}"
    return f"the members' slot is on its way to another server: {text}" if moving else ""
