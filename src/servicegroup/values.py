"""What the text of an option means: one language for the file, one for the environment (F-9).

In the file it is oslo.config's, as in every OpenStack configuration: ``$name`` is the value of
another option, and ``$$`` a dollar sign. In the environment a value is taken as it stands, which is
how agents take it, who have no file: a password needs no escapes there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from servicegroup.errors import ConfigError

if TYPE_CHECKING:
    from oslo_config import cfg


def register(conf: cfg.ConfigOpts, section: str, options: Sequence[cfg.Opt]) -> None:
    """Let the section hold these options, with what the environment says of them.

    Raises ConfigError, which quotes no secret, for a value that cannot be used.
    """
    from oslo_config import cfg

    group = None if section == "DEFAULT" else section
    conf.register_opts(options, group)
    for option in options:
        text = os.environ.get(variable := _variable(section, option.name))
        where = f"[{section}] {option.name}" if text is None else variable
        try:
            if text is not None:
                conf.set_override(option.dest, _escaped(option, text), group)
            _read(conf, group, option)
        except _references():
            raise ConfigError(
                f"{where} holds a $ that no option's name follows; write $$ for a dollar sign."
            ) from None
        except (cfg.Error, ValueError) as error:
            why = "" if option.secret else f": {_cause(error)}"
            raise ConfigError(f"{where} cannot be used{why}.") from None


def _references() -> tuple[type[Exception], ...]:
    """Return what oslo.config raises for a ``$`` that leads nowhere, or back to itself."""
    from oslo_config import cfg

    return (
        *(cfg.TemplateSubstitutionError, cfg.NoSuchOptError, cfg.NoSuchGroupError),
        RecursionError,
    )


def _variable(section: str, name: str) -> str:
    return f"OS_{section}__{name}".upper().replace("-", "_")


def _escaped(option: cfg.Opt, text: str) -> str | list[str]:
    """Return a variable's value as oslo.config reads it; a repeatable option has several in it."""
    literal = text.replace("$", r"\$")
    if not option.multi:
        return literal
    return [value for part in re.split(r"[,\n]", literal) if (value := part.strip())]


def _read(conf: cfg.ConfigOpts, group: str | None, option: cfg.Opt) -> Any:
    return conf[option.dest] if group is None else conf[group][option.dest]


def _cause(error: Exception) -> str:
    """Return what is wrong with a value, without oslo.config's word of where it found it."""
    text = str(error)
    return " ".join((text.partition(" is not valid: ")[2] or text).split()).rstrip(".")
