#!/usr/bin/env bash
# kazoo: a Lock is granted while somebody holds a ReadLock on the same path.
#
# Versions: kazoo 2.11.0; ZooKeeper 3.8.0 (Debian 12, zookeeper 3.8.0-11+deb12u2).
# Guess:    a Lock excludes whatever else there is on its path: a WriteLock is the same as a Lock, since the two
#           exclude each other, so a Lock waits for readers as a WriteLock does.
# Seen:     it excludes them in one direction only. A ReadLock waits for a Lock that is held; a Lock does not
#           wait for a ReadLock that is held, and both are acquired at once, without an error.
#
#               a ReadLock is held: WriteLock waits, Lock is granted
#               a Lock is held: WriteLock waits, ReadLock waits
#
# Follows:  services that go over from Lock to ReadLock and WriteLock one by one are not safe from each
#           other in between: the old ones write while the new ones read. Change the path with the kind of lock.
. "$(dirname "$0")/setup.sh"

start_zookeeper
packages kazoo==2.11.0

cat >"$work/look.py" <<'PY'
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout

mine, other = (KazooClient(f"127.0.0.1:{sys.argv[1]}") for _ in range(2))
for client in (mine, other):
    client.start(timeout=60)


def tried(kind, path):
    lock = getattr(other, kind)(path)
    try:
        lock.acquire(timeout=2)
    except LockTimeout:
        return "waits"
    lock.release()
    return "is granted"


seen = []
for held, kinds in (("ReadLock", ["WriteLock", "Lock"]), ("Lock", ["WriteLock", "ReadLock"])):
    lock = getattr(mine, held)("/" + held)
    assert lock.acquire(timeout=5)
    outcomes = [tried(kind, "/" + held) for kind in kinds]
    assert lock.is_acquired
    print(f"a {held} is held:", ", ".join(f"{kind} {outcome}" for kind, outcome in zip(kinds, outcomes)), flush=True)
    seen.append(outcomes)
sys.exit(0 if seen == [["waits", "is granted"], ["waits", "waits"]] else 3)
PY
code=0
timeout 90 "$python" "$work/look.py" "$zookeeper" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: kazoo's Lock is granted beside a ReadLock that is held, while a ReadLock waits for a Lock" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
