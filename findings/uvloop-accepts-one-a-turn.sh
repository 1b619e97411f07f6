#!/usr/bin/env bash
# uvloop: a server accepts one connection in a turn of its loop, however many wait; asyncio accepts all of them.
#
# Versions: uvloop 0.23.0 on Python 3.11 (0.19.0 to 0.22.1 do the same).
# Guess:    like asyncio, and like libuv once did, it accepts in a loop until nobody waits.
# Seen:     of 200 connections that wait, each turn accepts one; with eight copies of the socket it accepts eight.
#
#               asyncio, 1 socket: 200 accepted in 1 turns
#               uvloop, 1 socket: 200 accepted in 200 turns
#               uvloop, 8 sockets: 200 accepted in 25 turns
#
# Follows:  a loop whose turns take 5 ms, because it is busy with those who were let in, accepts 200 a second. A fleet
#           that comes at once, as after a failover, fills the backlog; then the kernel drops SYNs, which clients
#           repeat after 1, 3 and 7 s. A processor that is not busy hides none of that. Serve on several copies of
#           the socket (socket.dup), each of which is a listener of the loop.
. "$(dirname "$0")/setup.sh"

packages uvloop==0.23.0
cat >"$work/accept.py" <<'PY'
import asyncio
import socket

import uvloop

CLIENTS = 200


async def main(name: str, copies: int) -> None:
    loop = asyncio.get_running_loop()
    turn = 0
    accepted = []

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(turn)

    listener = socket.create_server(("127.0.0.1", 0), backlog=2 * CLIENTS)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
    for sock in [listener, *(listener.dup() for _ in range(copies - 1))]:
        await loop.create_server(Server, sock=sock, backlog=2 * CLIENTS)
    while len(accepted) < len(clients):
        turn += 1
        await asyncio.sleep(0)
    print(f"{name}, {copies} socket{'s' * (copies > 1)}: {len(accepted)} accepted in {len(set(accepted))} turns")


loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
for name, copies in (("asyncio", 1), ("uvloop", 1), ("uvloop", 8)):
    with asyncio.Runner(loop_factory=loops[name]) as runner:
        runner.run(main(name, copies))
PY
seen=$("$python" "$work/accept.py")
say "$seen"
if [ "$seen" = "asyncio, 1 socket: 200 accepted in 1 turns
uvloop, 1 socket: 200 accepted in 200 turns
uvloop, 8 sockets: 200 accepted in 25 turns" ]; then
    say "SEEN: uvloop accepted one connection of each listening socket in a turn, asyncio all that waited"
else
    say "CHANGED: see the lines above"
    exit 1
fi
