#!/usr/bin/env bash
# uvloop: after its loop is closed, the next large print to a pipe ends after 64 KiB, unbuffered, with exit code 0.
#
# Versions: uvloop 0.23.0 on Python 3.11, Linux 6.18 (any Linux whose io_uring a process may use).
# Guess:    print() to a blocking pipe writes all of a text, or fails; what ran before does not matter.
# Seen:     the first write after the loop was closed writes what the pipe has room for and returns, though the pipe
#           is blocking: the end of libuv's io_uring is a signal to the thread. With PYTHONUNBUFFERED=1, as in most
#           images of containers, nothing lies between print() and that write, and the rest is lost without an error.
#
#               asyncio's loop, buffered: 900001 bytes arrived, exit code 0
#               asyncio's loop, unbuffered: 900001 bytes arrived, exit code 0
#               uvloop, buffered: 900001 bytes arrived, exit code 0
#               uvloop, unbuffered: 65537 bytes arrived, exit code 0
#
# Follows:  a program that prints its result once its loop has ended is cut off where a reader is slower. Print
#           before the loop ends, or through a buffer of one's own: open(1, "w", closefd=False).
. "$(dirname "$0")/setup.sh"

packages uvloop==0.23.0
cat >"$work/print.py" <<'PY'
import asyncio
import sys

import uvloop


async def main() -> None:
    pass


loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
with asyncio.Runner(loop_factory=loops[sys.argv[1]]) as runner:
    runner.run(main())
print("x" * 900_000)
PY
cat >"$work/read.py" <<'PY'
import os
import subprocess
import sys
import time

program, loop, unbuffered = sys.argv[1:]
environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
with subprocess.Popen(
    [sys.executable, program, loop], stdout=subprocess.PIPE, env=environment
) as process:
    time.sleep(1.0)  # a reader that does something else first
    print(len(process.stdout.read()), process.wait())
PY
arrived() { # LOOP UNBUFFERED NAME
    seen=$("$python" "$work/read.py" "$work/print.py" "$1" "$2")
    say "$3: ${seen% *} bytes arrived, exit code ${seen#* }"
}
arrived asyncio '' "asyncio's loop, buffered"
[ "$seen" = "900001 0" ] || nothing_learned "that is no matter of uvloop"
arrived asyncio 1 "asyncio's loop, unbuffered"
[ "$seen" = "900001 0" ] || nothing_learned "that is no matter of uvloop"
arrived uvloop '' "uvloop, buffered"
buffered=$seen
arrived uvloop 1 "uvloop, unbuffered"
if [ "$buffered" = "900001 0" ] && [ "${seen% *}" -lt 900000 ] && [ "${seen#* }" = 0 ]; then
    say "SEEN: an unbuffered print after uvloop's loop was closed lost its end, with exit code 0"
else
    say "CHANGED: see the lines above"
    exit 1
fi
