#!/usr/bin/env bash
# kazoo: Election.cancel() by a leader takes away the next candidacy: run() returns and nothing was run.
#
# Versions: kazoo 2.11.0; ZooKeeper 3.8.0 (Debian 12, zookeeper 3.8.0-11+deb12u2).
# Guess:    cancel() concerns the run() that is going on: it ends a wait, and does nothing to one who leads already
#           or who is not a candidate. The next run() is a new candidacy.
# Seen:     where nobody waits, the call is kept for later. The next run() swallows it and returns at once,
#           as if the leader's function had been run and had ended; the one after it works. The same with a
#           Lock: cancel() while holding it makes the next acquire() raise CancelledError, though it is free.
#
#               first run(), whose leader calls cancel(): led
#               second run(): did not lead
#               third run(): led
#               cancel() before the first run(): did not lead
#               cancel() while a lock is held, then release() and acquire(): CancelledError, then True
#
# Follows:  "while True: election.run(lead)" where lead() calls cancel() to step down turns round once idly;
#           code that takes the end of run() for the end of a leadership cleans up what it never had. Make a
#           new Election for each candidacy.
. "$(dirname "$0")/setup.sh"

start_zookeeper
packages kazoo==2.11.0

cat >"$work/look.py" <<'PY'
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError

client = KazooClient(f"127.0.0.1:{sys.argv[1]}")
client.start(timeout=60)
seen = []


def run(what, election, also=lambda: None):
    led = []
    election.run(lambda: (led.append(True), also()))
    assert election.contenders() == []
    seen.append(bool(led))
    print(f"{what}:", "led" if led else "did not lead", flush=True)


election = client.Election("/election", "me")
run("first run(), whose leader calls cancel()", election, election.cancel)
run("second run()", election)
run("third run()", election)
fresh = client.Election("/fresh", "me")
fresh.cancel()
run("cancel() before the first run()", fresh)
lock = client.Lock("/lock")
lock.acquire(timeout=5)
lock.cancel()
lock.release()
try:
    again = str(lock.acquire(timeout=5))
except CancelledError:
    again = f"CancelledError, then {lock.acquire(timeout=5)}"
print("cancel() while a lock is held, then release() and acquire():", again)
sys.exit(0 if seen == [True, False, True, False] and again == "CancelledError, then True" else 3)
PY
code=0
timeout 90 "$python" "$work/look.py" "$zookeeper" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: a cancel() that ends no wait makes the next run() of a kazoo Election return without leading" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
