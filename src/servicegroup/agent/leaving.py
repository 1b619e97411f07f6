"""The last message: that a service left, tried again while there is time, and never an error."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from servicegroup.agent.client import Client
    from servicegroup.messages import Leave

log = logging.getLogger("servicegroup.agent")

_RETRY = 0.5


def leave_until(client: Client, leave: Leave, who: str, deadline: float) -> None:
    """Tell the control plane until it knows or the monotonic clock reaches ``deadline``.

    Whoever is not told finds out by silence. Says once that it tries, and whether it gave up.
    """
    tried = False
    while True:
        remaining = deadline - time.monotonic()
        client.timeout = max(0.1, min(client.timeout, remaining))
        try:
            refused = client.leave([leave])
            if leave.detail and leave.uuid in refused.invalid:
                # That it left is worth more than the words for it (F-2).
                client.leave([msgspec.structs.replace(leave, detail=None)])
        except Exception as error:  # noqa: BLE001 - nothing may keep the host from ending
            if remaining <= _RETRY:
                log.warning("%s left without the control plane knowing: %s", who, error)
                return
            if not tried:
                log.warning(
                    "%s cannot tell that it left: %s Trying for %.0f s.", who, error, remaining
                )
                tried = True
            time.sleep(_RETRY)
        else:
            log.info("%s left (%s).", who, leave.detail or leave.how)
            return
