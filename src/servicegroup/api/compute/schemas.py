"""What Nova's requests may hold, as JSON schemas, and refusals in the words of its clients.

jsonschema writes the messages, as it does in Nova; it is imported by the first request that needs
it, for it costs a tenth of a second.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from servicegroup.errors import InvalidInput

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

TRUE = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes")
FALSE = (False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no")
"""What Nova takes for a boolean; the integers 1 and 0 are not among it."""


class Schema:
    """The rules for a body or for a query, compiled when first asked."""

    def __init__(self, noun: str, rules: dict[str, Any]) -> None:
        """Check by the JSON schema ``rules``; a refusal calls a value at fault a ``noun``."""
        self._noun = noun
        self._rules = rules

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(self._rules)

    def fields(self, values: object, *, dropping: bool = False) -> dict[str, Any]:
        """Return the values when they keep every rule; ``dropping`` removes what none names.

        Raises InvalidInput, worded as in Nova, for the first rule that is broken.
        """
        if dropping and isinstance(values, dict):
            values = {name: values[name] for name in values if name in self._rules["properties"]}
        error = next(self._validator.iter_errors(values), None)
        if error is None:
            return cast("dict[str, Any]", values)
        if not error.path:
            raise InvalidInput(error.message)
        raise InvalidInput(
            f"Invalid input for {self._noun} {error.path[0]}."
            f" Value: {error.instance}. {error.message}"
        )


class QuerySchema(Schema):
    """The rules for a query, whose values are texts; most queries show at a glance to keep them."""

    def fields(self, values: object, *, dropping: bool = False) -> dict[str, Any]:
        """Return what ``Schema.fields`` does; that is asked where a rule may be broken."""
        given = cast("dict[str, str]", values)
        known = self._rules["properties"]
        if all(name in known and "\0" not in text for name, text in given.items()):
            return given
        return super().fields(values, dropping=dropping)


def _body(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> Schema:
    rules = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return Schema("field/attribute", rules)


def _query(*names: str, others: bool) -> QuerySchema:
    # PostgreSQL has no text with NUL in it, so none may reach SQL.
    value = {"type": "string", "pattern": r"^[^\0]*$"}
    rules = {
        "type": "object",
        "properties": dict.fromkeys(names, value),
        "additionalProperties": others,
    }
    return QuerySchema("query parameters", rules)


_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_HOST = {**_NAME, "pattern": "^[a-zA-Z0-9-._]*$"}
_BOOLEAN = {"type": ["boolean", "string"], "enum": [*TRUE, *FALSE]}
_STATUS = {"type": "string", "enum": ["enabled", "disabled"]}
_WHICH = {"host": _HOST, "binary": _NAME}

ACTION_2_1 = _body(("host", "binary"), **_WHICH, disabled_reason=_NAME)
ACTION_2_11 = _body(("host", "binary"), **_WHICH, disabled_reason=_NAME, forced_down=_BOOLEAN)
UPDATE_2_53 = _body(status=_STATUS, disabled_reason=_NAME, forced_down=_BOOLEAN)

SERVICES = _query("host", "binary", others=True)
SERVICES_2_75 = _query("host", "binary", others=False)
HOSTS = _query("zone", others=True)
ANYTHING = _query(others=True)
NOTHING = _query(others=False)
