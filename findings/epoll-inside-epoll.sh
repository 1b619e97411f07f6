#!/usr/bin/env bash
# epoll: to wait for an epoll object in an event loop costs a look at each of its members, every time that one begins.
#
# Versions: uvloop 0.23.0, and asyncio of Python 3.11, on Linux 6.
# Guess:    loop.add_reader on an epoll object takes the same time whatever is in it: it is one file descriptor.
# Seen:     with 8,000 sockets in it each add_reader takes many times as long as with 80, and so does asyncio's. The
#           kernel (EPOLL_CTL_ADD, reverse_path_check) looks at all members of an epoll object that is put into another
#           one, so that no cycle comes to be.
#
#               asyncio: 8,000 members cost more than 20 times as much as 80
#               uvloop: 8,000 members cost more than 20 times as much as 80
#
# Follows:  whoever collects many connections in an epoll object of its own, and takes it out of the loop while a
#           round of them is handled, so that rounds are apart, spends more on that than on the connections: with
#           10,000 of them and 200 rounds a second two thirds of a core. Leave it in the loop, or poll it by a timer.
. "$(dirname "$0")/setup.sh"

packages uvloop==0.23.0
cat >"$work/nested.py" <<'PY'
import asyncio
import resource
import select
import socket
import time

import uvloop

FEW, MANY, ROUNDS = 80, 8_000, 50


async def cost(members: int) -> float:
    """Return the seconds that a loop takes to begin to wait for an epoll object."""
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(members // 2)]
    collected = select.epoll()
    for pair in pairs:
        for one in pair:
            collected.register(one, select.EPOLLIN)
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        loop.add_reader(collected.fileno(), print)
        await asyncio.sleep(0)  # uvloop tells the kernel at its next turn
        times.append(time.perf_counter() - begun)
        loop.remove_reader(collected.fileno())
        await asyncio.sleep(0)
    collected.close()
    for pair in pairs:
        for one in pair:
            one.close()
    return min(times)


async def main(name: str) -> None:
    few, many = await cost(FEW), await cost(MANY)
    more = "more" if many > 20 * few else "less"
    print(f"{name}: {MANY:,} members cost {more} than 20 times as much as {FEW}")


_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
for name, factory in loops.items():
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(name))
PY
seen=$("$python" "$work/nested.py")
say "$seen"
if [ "$seen" = "asyncio: 8,000 members cost more than 20 times as much as 80
uvloop: 8,000 members cost more than 20 times as much as 80" ]; then
    say "SEEN: a loop that begins to wait for an epoll object pays for each member of it"
else
    say "CHANGED: see the lines above"
    exit 1
fi
