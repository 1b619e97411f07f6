"""Nova's servicegroup drivers, as ``servicegroup_driver`` chooses them.

Each adds the layer to one of Nova's own, which goes on reporting as it does. The import of this
module, by the first servicegroup API of a process, gives Nova's service object its ``is_up``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from nova.exception import ServiceNotFound
from nova.objects.service import Service
from nova.servicegroup.api import API
from nova.servicegroup.drivers.db import DbDriver
from nova.servicegroup.drivers.mc import MemcachedDriver

from servicegroup.nova import layer
from servicegroup.nova.working import why_idle


class _JoiningDriver(DbDriver):
    """Reports as Nova's db driver does, and joins the backends besides."""

    def join(self, member: str, group: str, service: Any = None) -> None:
        """Start Nova's report, and the heartbeats of the membership."""
        super().join(member, group, service)
        record, idle = service.service_ref, partial(why_idle, service)
        _when_gone(record, layer.current().join(group, member, record.uuid, idle).end)


class LayerDriver(_JoiningDriver):
    """RPC liveness AND driver liveness; either "down" wins (spec S2)."""

    def is_up(self, service_ref: Any) -> bool:
        """Apply the rule to Nova's service object; never raises."""
        return layer.current().is_up(service_ref)


class ShadowedDbDriver(_JoiningDriver):
    """Nova's ``db``, obeyed, while a shadow driver is written beside it."""


class ShadowedMemcachedDriver(MemcachedDriver):
    """Nova's ``mc``, obeyed, while a shadow driver and Nova's report are written beside it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Build both."""
        super().__init__(*args, **kwargs)
        self._joining = _JoiningDriver(*args, **kwargs)

    def join(self, member: str, group: str, service: Any = None) -> None:
        """Start what ``mc`` writes, Nova's report, and the heartbeats of the membership."""
        super().join(member, group, service)
        self._joining.join(member, group, service)


def _when_gone(record: Any, gone: Callable[[], None]) -> None:
    """Call ``gone`` when a save finds that the record was deleted.

    Nova's report catches that, says so in the log, and goes on; the object is the only witness.
    """
    save = record.save

    def saving(*args: Any, **kwargs: Any) -> Any:
        try:
            return save(*args, **kwargs)
        except ServiceNotFound:
            gone()
            raise

    record.save = saving


@cache
def _nova() -> API:
    """Return one of Nova's servicegroup APIs, with the driver that is obeyed."""
    return API()


def _is_up(service: Any) -> bool:
    """Tell whether the service is up: RPC liveness and service liveness (spec S2)."""
    return bool(_nova().service_is_up(service))


Service.is_up = property(_is_up)
