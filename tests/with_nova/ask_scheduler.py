"""Ask a real scheduler for hosts, as a conductor does: a program for Nova's own environment.

    ask_scheduler.py CONFIGURATION

It prints the hosts that would take a small instance as JSON: the one chosen, then the alternates.
What the scheduler claimed for the instance is given back.
"""

# Nova must patch the standard library before anything else is imported, and is not in the
# environment of whoever checks this file.
# ruff: noqa: E402
from __future__ import annotations

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import json
import sys

from nova import config, context, exception, objects
from nova.scheduler.client import query, report
from oslo_utils import uuidutils


def instance() -> objects.RequestSpec:
    """Describe an instance that fits everywhere."""
    flavor = objects.Flavor(
        flavorid="small", name="small", vcpus=1, memory_mb=1, root_gb=0, ephemeral_gb=0, swap=0,
        extra_specs={}, id=1, vcpu_weight=0, rxtx_factor=1.0, is_public=True, disabled=False,
    )  # fmt: skip
    image = objects.ImageMeta(properties=objects.ImageMetaProps())
    return objects.RequestSpec.from_components(
        context.get_admin_context(), uuidutils.generate_uuid(), image, flavor,
        None, None, {}, None, None, None, project_id="admin", user_id="admin",
    )  # fmt: skip


def hosts(configuration: str) -> list[str]:
    """Return who would take it."""
    config.parse_args(["ask", "--config-file", configuration])
    objects.register_all()
    admin, wanted = context.get_admin_context(), instance()
    select = query.SchedulerQueryClient().select_destinations
    instances = [wanted.instance_uuid]
    try:
        (found,) = select(admin, wanted, instances, return_objects=True, return_alternates=True)
    except exception.NoValidHost:
        return []
    placement = report.SchedulerReportClient()
    placement.delete_allocation_for_instance(admin, wanted.instance_uuid, force=True)
    return [each.service_host for each in found]


if __name__ == "__main__":
    print(json.dumps(hosts(sys.argv[1])))
