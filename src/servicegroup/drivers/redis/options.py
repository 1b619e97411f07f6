"""The section ``[redis]``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from servicegroup.driver import Options
from servicegroup.drivers.timeouts import AnswerTimeout, ConnectTimeout


class RedisOptions(Options, frozen=True, kw_only=True):
    """The section ``[redis]``."""

    url: Annotated[
        str,
        msgspec.Meta(
            extra={"secret": True},
            description="The primary, as redis://[user:password@]host:port/db, or rediss:// for"
            " TLS (with ?ssl_ca_certs=FILE). With sentinels,"
            " redis+sentinel://[user:password@]host:26379,host:26379/MASTER/db, or"
            " rediss+sentinel://; what the sentinels want is ?sentinel_username= and"
            " sentinel_password=. A cluster is redis+cluster://[user:password@]host:port,host:port,"
            " or rediss+cluster://. Valkey is the same, also as valkey://. Agents get it without"
            " user and password. The server must not evict (maxmemory-policy noeviction): while it"
            " does, no member can be reported absent.",
        ),
    ] = "redis://127.0.0.1:6379/0"
    connect_timeout: ConnectTimeout = 1.0
    answer_timeout: AnswerTimeout = 1.0
