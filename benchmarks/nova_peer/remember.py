"""Reports of computes to Nova's `mc` driver by the thousand: a program for Nova's own environment.

    remember.py CONFIGURATION HOST...

It stores what `mc` stores when a compute reports, once for each host.
"""

# Nova must patch the standard library before anything else is imported, and is not in the
# environment of whoever checks this file.
# ruff: noqa: E402
from __future__ import annotations

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import sys

from nova import cache_utils, config
from oslo_utils import timeutils


def main(configuration: str, *hosts: str) -> None:
    """Report for these hosts."""
    config.parse_args(["remember", "--config-file", configuration])
    memcached = cache_utils.get_memcached_client(config.CONF.service_down_time)
    for host in hosts:
        memcached.set(f"compute:{host}", timeutils.utcnow())


if __name__ == "__main__":
    main(*sys.argv[1:])
