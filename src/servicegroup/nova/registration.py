"""Makes the layer's drivers known to the Nova of this process, by names that nova.conf may use."""

from __future__ import annotations

from importlib.metadata import version

from nova.conf import paths as nova_paths
from nova.conf import service as nova_service
from nova.conf import servicegroup as nova_options
from nova.servicegroup import api as nova_api
from oslo_config import cfg

from servicegroup.nova import drivers
from servicegroup.nova.early import separate_requests
from servicegroup.nova.reloads import tell_of_changes
from servicegroup.nova.settings import load as settings_of
from servicegroup.nova.settings import register_options, require_tested

_DRIVER = "servicegroup.nova.driver.LayerDriver"
_SHADOWED = {
    "db": "servicegroup.nova.driver.ShadowedDbDriver",
    "mc": "servicegroup.nova.driver.ShadowedMemcachedDriver",
}


def register(conf: cfg.ConfigOpts) -> None:
    """Let ``servicegroup_driver`` name our drivers too.

    Nova's own ``db`` and ``mc`` stay Nova's own, unless a shadow driver is to run beside them.
    Raises ConfigError for a Nova that was not tested, and for a configuration that cannot work.
    """
    register_options(conf)
    require_tested(version("nova"), allowed=conf.servicegroup.allow_untested_nova)
    choices = _choices()
    for name, driver in drivers.NAMES.items():
        nova_api._driver_name_class_mapping[name] = _DRIVER  # noqa: SLF001 - there is no other way in
        choices.setdefault(name, f"{driver} beside the record, by servicegroup")
    settings = settings_of(conf)
    for choice in filter(None, (settings.driver, settings.shadow)):
        drivers.load(choice)  # opens nothing, and refuses what cannot work
    if settings.shadow is not None:
        nova_api._driver_name_class_mapping.update(_SHADOWED)  # noqa: SLF001
    tell_of_changes(conf, _register_novas_own, settings)
    separate_requests()


def _register_novas_own(conf: cfg.ConfigOpts) -> None:
    """Let a configuration hold the options of Nova's that the layer's settings are made of."""
    nova_options.register_opts(conf)
    nova_service.register_opts(conf)
    nova_paths.register_opts(conf)  # state_path, below which the results of probes are kept


def _choices() -> dict[str, str]:
    """Return what ``servicegroup_driver`` may be, as Nova's own option holds it."""
    option = next(o for o in nova_options.SERVICEGROUP_OPTS if o.name == "servicegroup_driver")
    found: dict[str, str] = option.type.choices
    return found
