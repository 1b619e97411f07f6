"""Keystone's sections of the configuration, read for its own libraries and checked before they run.

What would fail with the first request is refused at the start, and found by ``doctor``: they load
some packages only then (F-41).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from servicegroup.errors import ConfigError
from servicegroup.values import register

if TYPE_CHECKING:
    from oslo_config import cfg

    from servicegroup.config import Settings

SECTION = "keystone_authtoken"

TIMEOUT = 5
"""Seconds one request to Keystone may take."""

_PACKAGES = {
    "memcache": "python-memcached",
    "bmemcached": "python-binary-memcached",
    "cryptography": "cryptography",
}


def for_libraries(settings: Settings) -> cfg.ConfigOpts:
    """Return the file and the environment for keystonemiddleware and oslo.policy, checked.

    Raises ConfigError for what they cannot use, and for a package that they would miss.
    """
    from oslo_config import cfg

    try:
        from keystoneauth1 import loading
        from keystoneauth1.exceptions import ClientException
        from keystonemiddleware.auth_token import list_opts
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"auth_strategy = keystone needs {error.name}; pip install 'servicegroup[keystone]'."
        ) from error
    conf = cfg.ConfigOpts()
    files = [settings.config_file] if settings.config_file else []
    conf(args=[], project="servicegroup", default_config_files=files)
    for section, options in list_opts():
        register(conf, section, options)
    conf.set_default("http_connect_timeout", TIMEOUT, SECTION)
    conf.set_default("http_request_max_retries", 1, SECTION)
    own = conf[SECTION]
    if own.auth_section:
        register(conf, own.auth_section, loading.get_auth_common_conf_options())
    where = own.auth_section or SECTION
    if not conf[where].auth_type:
        raise ConfigError(
            f"[{where}] names no auth_type; write auth_type = password with auth_url, username,"
            " password, project_name and the domains of user and project."
        )
    try:
        plugin: Any = loading.get_plugin_loader(conf[where].auth_type)
    except ClientException as error:
        raise ConfigError(f"[{where}] auth_type cannot be used: {error}.") from error
    register(conf, where, loading.get_auth_plugin_conf_options(plugin))
    _check_cache(own)
    return conf


def _check_cache(section: Any) -> None:
    """Refuse a cache of tokens that lacks what only the first request would load."""
    strategy = section.memcache_security_strategy.upper()
    needs = {}
    if section.memcached_servers:
        binary = section.memcache_sasl_enabled or section.memcache_tls_enabled
        needs["memcached_servers"] = "bmemcached" if binary else "memcache"
    if strategy != "NONE" and not section.memcache_secret_key:
        raise ConfigError(
            f"[{SECTION}] memcache_security_strategy = {strategy} needs memcache_secret_key."
        )
    if strategy == "ENCRYPT":
        needs["memcache_security_strategy = ENCRYPT"] = "cryptography"
    for option, module in needs.items():
        if find_spec(module) is None:
            raise ConfigError(
                f"[{SECTION}] {option} needs {_PACKAGES[module]}; pip install {_PACKAGES[module]}."
            )
