"""The oslo.messaging notification driver that frees a deleted service's presence (spec S4).

Nova announces a deletion when the record is gone, in the process that deleted it.
"""

from __future__ import annotations

from typing import Any

from oslo_messaging.notify.notifier import Driver

from servicegroup.nova import layer

DELETED = "service.delete"


class ServiceGroupNotifier(Driver):
    """Entry point ``servicegroup`` of ``oslo.messaging.notify.drivers``; sends nothing."""

    def notify(self, ctxt: Any, message: dict[str, Any], priority: str, retry: int) -> None:
        """Have a deleted service leave, soon; all other notifications are of no interest."""
        if message["event_type"] != DELETED:
            return
        record = message["payload"]["nova_object.data"]
        if record["topic"]:
            layer.current().leave(record["topic"], record["host"], record["uuid"])
