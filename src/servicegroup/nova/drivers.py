"""The drivers that Nova may obey, by name: those that have a backend, and a register beside it.

The register's own ``session`` reads sessions with its record, which Nova has not.
"""

from __future__ import annotations

from oslo_config import cfg

from servicegroup.config import DriverChoice, choice_of
from servicegroup.driver import Driver, driver_class, driver_names
from servicegroup.nova.session import SessionDriver

NAMES = {name: name for name in driver_names() if name != "db"} | {"zk": "zookeeper"}
"""What ``servicegroup_driver`` may say besides Nova's own names, and the driver it means."""


def _class_of(name: str) -> type[Driver]:
    return SessionDriver if name == SessionDriver.name else driver_class(name)


def holds_crowds(driver: Driver) -> bool:
    """Tell whether its answers are verdicts, of which crowds are held already: a register's."""
    return driver.name == SessionDriver.name


def choice(conf: cfg.ConfigOpts, name: str) -> DriverChoice:
    """Read the section of a driver. Raises ConfigError as ``config.driver_choice``."""
    return choice_of(conf, name, _class_of(name).Options)


def load(choice: DriverChoice) -> Driver:
    """Return the driver with its options. Raises ConfigError as ``driver.load``."""
    return _class_of(choice.name).from_options(choice.options)
