"""Driver redis: one sorted set per group, each entry with its expiry by the server's clock."""

from servicegroup.drivers.redis.driver import RedisDriver

__all__ = ["RedisDriver"]
