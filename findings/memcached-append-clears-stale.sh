#!/usr/bin/env bash
# memcached: append to an item that was marked stale makes it fresh, with the stale value in it; incr does not.
#
# Version:  memcached 1.6.18 (Debian 12, memcached 1.6.18-1+deb12u1).
# Guess:    an item that "md key I" has invalidated stays stale (X), and its one winner (W) is the only one to renew it,
#           until a set replaces its value. A command that changes the old value leaves the mark.
# Seen:     incr, decr and touch leave it. append and prepend, and ms in the same modes, take it away: the next
#           reader is given the old value and the addition as a plain hit, and the winner's renewal by its
#           CAS number is refused with EX.
#
#               incr: VA 1 X W, touch: VA 1 X W
#               append: VA 2, prepend: VA 2, ms in append mode: VA 2
#               the winner's set, after an append: EX
#
# Follows:  one client that appends, and knows nothing of invalidation, brings back what another one has
#           declared out of date, for the whole time to live. Do not invalidate keys that are appended to: delete them.
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


def ask(command):
    """Return the first line of the answer; a value below it is read too."""
    link.sendall(command.encode() + b"\r\n")
    first = lines.readline().decode().strip()
    if first.startswith("VA"):
        lines.readline()
    return first


def invalidated(command):
    assert [ask("set key 0 0 1\r\n5"), ask("md key I T30")] == ["STORED", "HD"]
    ask(command)
    return ask("mg key v")


seen = [invalidated(command) for command in ("incr key 1", "touch key 60")]
print(f"incr: {seen[0]}, touch: {seen[1]}")
seen += [invalidated(command) for command in ("append key 0 0 1\r\n6", "prepend key 0 0 1\r\n6", "ms key 1 MA\r\n6")]
print(f"append: {seen[2]}, prepend: {seen[3]}, ms in append mode: {seen[4]}")
assert [ask("set key 0 0 1\r\n5"), ask("md key I T30")] == ["STORED", "HD"]
winner = ask("mg key v c").split()
assert "W" in winner
ask("append key 0 0 1\r\n6")
seen.append(ask(f"ms key 1 C{winner[2][1:]}\r\n7"))
print("the winner's set, after an append:", seen[-1])
sys.exit(0 if seen == ["VA 1 X W", "VA 1 X W", "VA 2", "VA 2", "VA 2", "EX"] else 3)
PY
code=0
timeout 60 python3 "$work/look.py" "$memcached" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: append makes an invalidated item fresh again, incr and touch do not" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
