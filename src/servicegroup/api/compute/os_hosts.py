"""``os-hosts``: the enabled services by host, for clients of before 2.43."""

from __future__ import annotations

from collections.abc import Mapping

from servicegroup.api.access.policy import NOVA_HOST, NOVA_HOSTS
from servicegroup.api.call import Answer, Call, json_answer
from servicegroup.api.compute.os_services import COMPUTE
from servicegroup.api.compute.rows import UNLISTED
from servicegroup.errors import NotFound
from servicegroup.model import ServiceFilter

_PROJECTS = ("(total)", "(used_now)", "(used_max)")


def list_hosts(call: Call, query: Mapping[str, str]) -> Answer:
    """List each enabled service as a host; ``zone`` filters."""
    call.caller.must(NOVA_HOSTS)
    filters = ServiceFilter(zone=query.get("zone") or None, disabled=False)

    def answer() -> Answer:
        hosts = [
            {"host_name": s.host, "service": s.topic, "zone": s.zone}
            for batch in call.group.states(filters)
            for s in batch.services
            if s.binary not in UNLISTED
        ]
        return json_answer({"hosts": hosts})

    return Answer(later=answer, question=("os-hosts", filters))


def show_host(call: Call, _: Mapping[str, str]) -> Answer:
    """Show a compute host's resources: all zero, for the register keeps none."""
    call.caller.must(NOVA_HOST)
    host = call.params["id"]
    if not call.group.services(ServiceFilter(host=host, binary=COMPUTE)):
        raise NotFound(f"Host '{host}' is not mapped to any cell")
    nothing = {"cpu": 0, "memory_mb": 0, "disk_gb": 0}
    shown = [{"resource": {"host": host, "project": name, **nothing}} for name in _PROJECTS]
    return json_answer({"host": shown})
