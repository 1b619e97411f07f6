#!/usr/bin/env bash
# memcached: flush_all with a delay has a second in which each new item is dropped, and add is granted to everybody.
#
# Version:  memcached 1.6.18 (Debian 12, memcached 1.6.18-1+deb12u1).
# Guess:    "flush_all N" makes the items go that were stored before its moment; what is stored afterwards stays,
#           as it does after a plain flush_all.
# Seen:     in the last of the N seconds, with N = 1 at once, an item is lost as it comes: add is answered
#           STORED, the same add again is answered STORED too, and get finds nothing. Plain flush_all has no such second.
#
#               flush_all: 0 keys were added twice, 0 of them are found
#               flush_all 1: 10 keys were added twice, 0 of them are found
#               flush_all 3: 19 keys were added twice, 0 of them are found
#
# Follows:  who locks by add is not alone in that second, and a heartbeat written in it is gone until the
#           next one. To flush servers one after the other, send plain flush_all at different moments instead.
. "$(dirname "$0")/setup.sh"

need python3 python3
start_memcached

cat >"$work/look.py" <<'PY'
import socket
import sys
import time

for _ in range(100):
    try:
        link = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
        break
    except OSError:
        time.sleep(0.1)
lines = link.makefile("rb")


def ask(*commands):
    """Send them all at once; END ends the answers of the last one, a get."""
    link.sendall(b"".join(command.encode() + b"\r\n" for command in commands))
    answers = []
    while not answers or answers[-1] != b"END":
        answers.append(lines.readline().strip())
    return answers


def twice_added(flush):
    """Flush, and lock by add for five seconds: how many locks are granted twice, and how many of these exist."""
    ask(flush, "get nothing")
    twice, kept, start = 0, 0, time.monotonic()
    while time.monotonic() - start < 5:
        key = f"lock-{time.monotonic()}"
        answers = ask(f"add {key} 0 0 1\r\na", f"add {key} 0 0 1\r\nb", f"get {key}")
        if answers[:2] == [b"STORED", b"STORED"]:
            twice += 1
            kept += len(answers) > 3
        time.sleep(0.05)
    return twice, kept


seen = []
for flush in ("flush_all", "flush_all 1", "flush_all 3"):
    twice, kept = twice_added(flush)
    if flush == "flush_all 1" and not twice:  # its second was nearly over
        twice, kept = twice_added(flush)
    print(f"{flush}: {twice} keys were added twice, {kept} of them are found", flush=True)
    seen.append(twice > kept)
sys.exit(0 if seen == [False, True, True] else 3)
PY
code=0
timeout 60 python3 "$work/look.py" "$memcached" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: memcached drops what is stored in the second in which a delayed flush_all takes place" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
