"""What answers have to be like, as JSON schemas made from the compatibility reference."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

STAMP = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$"}
STAMP_OR_NULL = {"anyOf": [STAMP, {"type": "null"}]}
UUID = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}


def exactly(**properties: dict[str, Any]) -> dict[str, Any]:
    """Describe an object that has these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_COMMON: dict[str, dict[str, Any]] = {
    "binary": {"type": "string"},
    "host": {"type": "string"},
    "zone": {"type": "string"},
    "status": {"enum": ["enabled", "disabled"]},
    "state": {"enum": ["up", "down"]},
    "updated_at": STAMP_OR_NULL,
    "disabled_reason": {"type": ["string", "null"]},
}
_BOOLEAN = {"type": "boolean"}

SERVICE_2_1 = exactly(id={"type": "integer"}, **_COMMON)
SERVICE_2_11 = exactly(id={"type": "integer"}, forced_down=_BOOLEAN, **_COMMON)
SERVICE_2_53 = exactly(id=UUID, forced_down=_BOOLEAN, **_COMMON)

_ZONE = {"zoneName": {"type": "string"}, "zoneState": exactly(available=_BOOLEAN)}
ZONES = exactly(availabilityZoneInfo=listed(exactly(hosts={"type": "null"}, **_ZONE)))
_ZONE_SERVICE = exactly(available=_BOOLEAN, active=_BOOLEAN, updated_at=STAMP_OR_NULL)
_HOSTS = {
    "type": ["object", "null"],
    "additionalProperties": {"type": "object", "additionalProperties": _ZONE_SERVICE},
}
ZONES_DETAIL = exactly(availabilityZoneInfo=listed(exactly(hosts=_HOSTS, **_ZONE)))

HOSTS = exactly(
    hosts=listed(
        exactly(host_name={"type": "string"}, service={"type": "string"}, zone={"type": "string"})
    )
)
_COUNT = {"type": "integer"}
HOST = exactly(
    host=listed(
        exactly(
            resource=exactly(
                host={"type": "string"},
                project={"type": "string"},
                cpu=_COUNT,
                memory_mb=_COUNT,
                disk_gb=_COUNT,
            )
        )
    )
)


def check(content: object, schema: dict[str, Any]) -> None:
    """Fail, with the first difference, unless the content is as the schema says."""
    Draft202012Validator(schema).validate(content)
