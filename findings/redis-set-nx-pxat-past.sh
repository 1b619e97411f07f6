#!/usr/bin/env bash
# Redis: SET key value NX PXAT <a moment already past> grants the same lock to everybody.
#
# Version:  Redis 7.0.15 (Debian 12, redis-server and redis-tools 7.0.15-1~deb12u10).
# Guess:    an expiry that lies in the past is refused, "invalid expire time in 'set' command", as
#           PX 0 is.
# Seen:     it is answered OK, and nothing is stored. With NX each caller in a row hears OK, so all
#           of them hold the "lock"; with a plain SET a value that was there is deleted under an OK.
#
#               SET lock a PX 0 NX:                  ERR invalid expire time in 'set' command
#               SET lock a PXAT (now - 2000) NX:     OK
#               SET lock b PXAT (now - 2000) NX:     OK
#               EXISTS lock:                         0
#               SET kept new PXAT (now - 2000):      OK, and EXISTS kept: 0
#
# Follows:  a client whose clock is behind by more than its time to live, or whose request waited
#           for so long, is told OK for a key that never was. Give a length (PX), or take the moment
#           from the server's own TIME, and read back what must be there.
. "$(dirname "$0")/setup.sh"

need redis-server redis-server
need redis-cli redis-tools
need_version Redis 7.0.15 "$(redis-server --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')"

# A Unix socket: no port is needed.
redis-server --port 0 --unixsocket "$work/redis" --save '' --dir "$work" >"$work/log" 2>&1 &
servers=$!
ask() { timeout 5 redis-cli -s "$work/redis" "$@" 2>&1 | head -n 1; }
for _ in $(seq 50); do
    [ "$(ask PING)" = PONG ] && break
    sleep 0.1
done
[ "$(ask PING)" = PONG ] || nothing_learned "Redis did not start"

past=$(($(ask TIME) * 1000 - 2000))
zero=$(ask SET lock a PX 0 NX)
first=$(ask SET lock a PXAT "$past" NX)
second=$(ask SET lock b PXAT "$past" NX)
held=$(ask EXISTS lock)
ask SET kept old >/dev/null
third=$(ask SET kept new PXAT "$past")
kept=$(ask EXISTS kept)
say "PX 0: $zero"
say "NX, past moment, first and second caller: $first, $second; EXISTS: $held"
say "over an old value: $third; EXISTS: $kept"

case "$zero/$first/$second/$held/$third/$kept" in
"ERR invalid expire time"*/OK/OK/0/OK/0)
    say "SEEN: SET with a moment already past is answered OK and stores nothing; with NX everybody holds the lock"
    ;;
*)
    say "CHANGED: see the lines above"
    exit 1
    ;;
esac
