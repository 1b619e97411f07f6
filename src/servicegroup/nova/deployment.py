"""A whole Nova as its operator sees it: every cell's records, judged as its own processes judge.

It is opened from nova.conf in an environment that Nova is installed in, and changes nothing.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import msgspec

from servicegroup.comparison import Compared, Disagreement, is_undetermined
from servicegroup.errors import ConfigError
from servicegroup.liveness import judge
from servicegroup.model import Evidence, Presence, PresenceState, Service, Verdict
from servicegroup.nova import cells, layer
from servicegroup.nova.cells import Away
from servicegroup.nova.settings import GROUP

_NEVER_REPORT = ("nova-osapi_compute", "nova-metadata")
"""Binaries that never report: Nova leaves them out of its lists, and so do we."""


class Listing(msgspec.Struct, frozen=True):
    """All services with their verdicts, and the cells that did not answer."""

    services: list[Service]
    missing: list[Away]


class Deployment:
    """Nova's records over all cells, and the layer that judges them."""

    def __init__(self, config_file: str) -> None:
        """Read nova.conf. Raises ConfigError where that or Nova cannot be used."""
        _open(config_file)
        from nova.servicegroup import API

        self._nova = API()  # first: it mends an option that the limits are made of
        self.layer = layer.current()
        self._records: dict[str, Any] = {}

    def close(self) -> None:
        """Close the connections to the backends."""
        self.layer.close()

    @property
    def announces_deletes(self) -> bool:
        """Whether Nova tells the layer when a service is deleted."""
        from oslo_config import cfg

        versioned = cfg.CONF.notifications.notification_format in ("versioned", "both")
        return versioned and GROUP in cfg.CONF.oslo_messaging_notifications.driver

    def services(self) -> Listing:
        """Return who exists and who is up. Raises StoreUnavailable where no cell answers."""
        answered, missing = cells.records()
        records = [one for one in answered if one.binary not in _NEVER_REPORT]
        self._records = {record.uuid: record for record in records}
        self.layer.meet(records)
        services = [_service(record, self._verdict(record)) for record in records]
        services.sort(key=lambda one: (one.binary, one.host))
        return Listing(services, missing)

    def cell_of(self, service: Service) -> str:
        """Return the uuid of the cell that has the record of a service just listed."""
        return str(self._records[service.uuid].obj_context.cell_uuid)

    def compare(self, services: list[Service]) -> Compared:
        """Tell what obeying the shadow driver would change of services just listed.

        Raises ConfigError without a shadow driver.
        """
        if self.layer.shadow is None:
            raise ConfigError(
                "There is nothing to compare with; set [servicegroup] shadow_driver to the driver"
                " to move to, and restart Nova's services."
            )
        shadows = [self.layer.shadow_verdict(self._records[one.uuid]) for one in services]
        found = [
            Disagreement(service, shadow, 0.0)
            for service, shadow in zip(services, shadows, strict=True)
            if service.is_up != shadow.is_up
        ]
        undetermined = sum(map(is_undetermined, shadows))
        limits = self.layer.limits
        return Compared(limits.driver, self.layer.shadow.name, len(services), undetermined, found)

    def _verdict(self, record: Any) -> Verdict:
        if self.layer.limits.driver == "mc":
            return self._verdict_of_mc(record)
        return self.layer.verdict(record)

    def _verdict_of_mc(self, record: Any) -> Verdict:
        """Return the verdict of Nova's ``mc``, for which a report and a presence are the same key.

        Nova has decided, and only the reason follows here: a stamp that is not there has expired.
        """
        present = self._nova.service_is_up(record)
        stamp = self._nova.get_updated_time(record) or record.created_at
        state = PresenceState.PRESENT if present else PresenceState.ABSENT
        return judge(
            Evidence(
                self.layer.limits,
                (self.layer.now() - stamp.replace(tzinfo=None)).total_seconds(),
                forced_down=record.forced_down,
                presence=Presence(state, detail="as Nova's driver mc has it"),
                rpc=self.layer.rpc(record.uuid),
            )
        )


def _open(config_file: str) -> None:
    """Let Nova read its configuration. Raises ConfigError."""
    if not os.access(config_file, os.R_OK):
        raise ConfigError(f"{config_file} cannot be read; name Nova's file by --nova-config-file.")
    # Nova would read the command line of this process to learn how it is to run.
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "true"
    from nova.monkey_patch import patch

    patch(backend="threading")
    from nova.config import parse_args
    from nova.objects import register_all
    from oslo_config import cfg

    try:
        parse_args(["servicegroup", "--config-file", config_file])
    except (cfg.Error, ValueError) as error:
        raise ConfigError(f"{config_file}: {str(error).rstrip('.')}.") from error
    except SystemExit as refusal:  # of the source, which ends processes of Nova so
        raise ConfigError(f"{config_file}: {refusal}") from refusal
    if GROUP not in cfg.CONF:  # a Nova without the layer can be looked at all the same
        from servicegroup.nova.registration import register

        register(cfg.CONF)
    register_all()


def _service(record: Any, verdict: Verdict) -> Service:
    """Return Nova's record as the register knows one; Nova has no incarnations and no leaves."""

    def naive(stamp: datetime | None) -> datetime | None:
        return stamp and stamp.replace(tzinfo=None)

    created_at = record.created_at.replace(tzinfo=None)
    return Service(
        id=record.id,
        uuid=record.uuid,
        host=record.host,
        binary=record.binary,
        topic=record.topic,
        zone=record.availability_zone,
        version=record.version,
        incarnation=0,
        report_count=record.report_count,
        disabled=record.disabled,
        disabled_reason=record.disabled_reason,
        forced_down=record.forced_down,
        created_at=created_at,
        updated_at=naive(record.updated_at),
        last_seen_up=naive(record.last_seen_up),
        registered_at=created_at,
        left_at=None,
        departure=None,
        detail=None,
        absent_since=None,
        held_since=None,
        observed_state=None,
        observed_since=None,
        flapping_until=None,
        mirror=None,
        backend_error=None,
        deleted=0,
        deleted_at=None,
        verdict=verdict,
    )
