#!/usr/bin/env bash
# tooz with etcd: lock.acquire(timeout=2) does not wait two seconds; it makes a lock that lasts two seconds.
#
# Versions: tooz 9.1.0, etcd3gw 2.7.0; etcd 3.4.23 (Debian 12, etcd-server 3.4.23-4).
# Guess:    `timeout` is the time to wait for a lock, as tooz's help says: a free lock is taken at once, and is
#           then held for as long as the coordinator's heart beats, as any other lock is.
# Seen:     it is the length of the lease under the lock instead. The heart beats by the coordinator's own
#           lock_timeout (30 s unless said otherwise), so the lease ends in between: the next one gets the lock, while
#           the first one's `acquired` goes on being true, also after a heartbeat, and no error is raised.
#
#               without timeout, after 6 s: the other one gets the lock: False
#               timeout=2, after 6 s: the other one gets the lock: True
#               after a heartbeat both say that they have it: True, True
#
# Follows:  with etcd two programs are in the section that the lock was to guard. Leave `timeout` away and set
#           lock_timeout in the URL; with the file, Redis and ZooKeeper drivers the same word is the time to wait.
. "$(dirname "$0")/setup.sh"

start_etcd
packages tooz==9.1.0 etcd3gw==2.7.0

cat >"$work/look.py" <<'PY'
import os
import sys
import time

from tooz import ToozError, coordination

for _ in range(100):  # until the server answers
    try:
        url = f"etcd3+http://127.0.0.1:{sys.argv[1]}?lock_timeout=30&membership_timeout=30"
        first, second = (coordination.get_coordinator(url, member) for member in (b"a", b"b"))
        first.start(start_heart=True)
        second.start(start_heart=True)
        break
    except ToozError:
        time.sleep(0.2)
else:
    os._exit(1)


def other_gets_it(name, **how):
    lock, rival = (one.get_lock(name) for one in (first, second))
    assert lock.acquire(**how)
    time.sleep(6)
    return lock, rival, rival.acquire(blocking=False)


_, _, plain = other_gets_it(b"plain")
print("without timeout, after 6 s: the other one gets the lock:", plain)
lock, rival, limited = other_gets_it(b"limited", timeout=2)
print("timeout=2, after 6 s: the other one gets the lock:", limited)
first.heartbeat()
print(f"after a heartbeat both say that they have it: {lock.acquired}, {rival.acquired}", flush=True)
os._exit(0 if (plain, limited, lock.acquired, rival.acquired) == (False, True, True, True) else 3)
PY
code=0
timeout 90 "$python" -W ignore "$work/look.py" "$etcd" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: with etcd, tooz's acquire(timeout=2) makes a lock that is lost after two seconds, unnoticed" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
