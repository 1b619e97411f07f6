#!/usr/bin/env bash
# tooz: waiting in vain for a lock ends in three different ways, two of them no error of tooz's.
#
# Versions: tooz 9.1.0 with etcd3gw 2.7.0, fasteners 0.20, kazoo 2.11.0, redis 8.1.0, tenacity 9.2.1;
#           Debian 12: etcd 3.4.23, Redis 7.0.15, ZooKeeper 3.8.0.
# Guess:    `lock.acquire(blocking=1.0)` on a lock that somebody else holds returns False after a second, with each
#           driver: so tooz's own help for acquire() tells of the number and of the answer.
# Seen:     two drivers do so. One raises tenacity's RetryError and one kazoo's LockTimeout, neither of them a
#           ToozError, though `acquire(blocking=False)` is False with all four.
#
#               file: at once False, within a second False
#               redis: at once False, within a second False
#               etcd3gw: at once False, within a second tenacity.RetryError
#               zookeeper: at once False, within a second kazoo.exceptions.LockTimeout
#
# Follows:  a program tested with Redis ends at its first busy lock with etcd, though it catches ToozError. Ask
#           with blocking=False in a loop of one's own, which is the same everywhere.
. "$(dirname "$0")/setup.sh"

start_redis
start_etcd
start_zookeeper
packages tooz==9.1.0 etcd3gw==2.7.0 fasteners==0.20 kazoo==2.11.0 redis==8.1.0 tenacity==9.2.1

cat >"$work/look.py" <<'PY'
import socket
import sys
import time

from tooz import ToozError, coordination

seen = []
for name, url in (argument.split("=", 1) for argument in sys.argv[1:]):
    for _ in range(150):  # until the server answers
        try:
            pair = [coordination.get_coordinator(url, member) for member in (b"a", b"b")]
            for one in pair:
                one.start()
            first, second = (one.get_lock(b"lock") for one in pair)
            assert first.acquire()
            break
        except ToozError:
            time.sleep(0.2)
    at_once = second.acquire(blocking=False)
    try:
        waited = str(second.acquire(blocking=1.0))
    except Exception as error:
        waited = f"{type(error).__module__}.{type(error).__name__}"
        waited += " (a ToozError)" if isinstance(error, ToozError) else ""
    print(f"{name}: at once {at_once}, within a second {waited}", flush=True)
    seen.append((at_once, waited))
outcomes = ["False", "False", "tenacity.RetryError", "kazoo.exceptions.LockTimeout"]
sys.exit(0 if seen == [(False, outcome) for outcome in outcomes] else 3)
PY
code=0
timeout 120 "$python" -W ignore "$work/look.py" "file=file://$work/locks" "redis=redis://127.0.0.1:$redis" \
    "etcd3gw=etcd3+http://127.0.0.1:$etcd" "zookeeper=kazoo://127.0.0.1:$zookeeper" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: a lock waited for in vain is False, tenacity's RetryError or kazoo's LockTimeout, by the driver" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the servers could not be asked" ;;
esac
