#!/usr/bin/env bash
# Serf: a crashed agent that comes back at another address joins with success, and is `failed` for 30 s to all others.
#
# Versions: serf 0.9.4~ds1-1+b13 of Debian 12, three agents on loopback, profile `local`.
# Guess:    a node that has been declared failed is alive again as soon as an agent of its name joins, wherever it
#           listens: its incarnation says that it is newer, and containers come back with another address.
# Seen:     the join succeeds, and the agent that came back sees everybody alive. All others note a conflict of
#           names, go on with the address of the dead one and say `failed`, until 30 s after they had declared it.
#           At its former address an agent is alive at once.
#
#               back at its former address: alive after 0 s for the others
#               back at another address: its join succeeded, and it sees three alive
#               back at another address: alive after 27 s for the others
#
# Follows:  for half a minute whoever acts on `failed` acts on a service that works, and its own log says nothing.
#           Keep the address of a node, give each start a name of its own, or wait for longer than that.
. "$(dirname "$0")/setup.sh"

need serf serf
need_version serf '0.9.4~ds1-1+b13' "$(dpkg-query -W -f '${Version}' serf 2>&1)"
first=$(free_port)
asked=$(free_port)

agent() { # NAME PORT RPC_PORT
    serf agent -node="$1" -bind="127.0.0.1:$2" -rpc-addr="127.0.0.1:$3" -profile=local \
        -retry-join="127.0.0.1:$first" >>"$work/$1.log" 2>&1 &
    pid=$!
    servers="$servers $pid"
}
status() { serf members -rpc-addr="127.0.0.1:$1" 2>/dev/null | awk -v node="$2" '$1 == node { print $3 }'; }
alive() { serf members -rpc-addr="127.0.0.1:$1" 2>/dev/null | grep -c ' alive' || :; }
seconds_until() { # WANTED NODE: as the first agent sees it
    local begun=$SECONDS
    until [ "$(status "$asked" "$2")" = "$1" ]; do
        [ $((SECONDS - begun)) -lt 120 ] || nothing_learned "$2 was never $1"
        sleep 0.2
    done
    took=$((SECONDS - begun))
}
crash() { # PID NODE
    kill -9 "$1"
    wait "$1" 2>/dev/null || :
    seconds_until failed "$2"
}

agent a "$first" "$asked"
agent b "$(free_port)" "$(free_port)"
former=$(free_port)
agent c "$former" "$(free_port)"
seconds_until alive c
crash "$pid" c
agent c "$former" "$(free_port)"
seconds_until alive c
same=$took
say "back at its former address: alive after $same s for the others"

crash "$pid" c
own=$(free_port)
agent c "$(free_port)" "$own"
begun=$SECONDS
until [ "$(alive "$own")" = 3 ]; do
    [ $((SECONDS - begun)) -lt 60 ] || nothing_learned "the agent that came back did not join"
    sleep 0.2
done
say "back at another address: its join succeeded, and it sees three alive"
there=$(status "$asked" c)
seconds_until alive c
took=$((SECONDS - begun))
say "back at another address: alive after $took s for the others"
if [ "$there" = failed ] && [ "$took" -ge 15 ] && [ "$same" -le 10 ]; then
    say "SEEN: for about 30 s an agent that has joined from another address is failed to all others"
else
    say "CHANGED: see the lines above"
    exit 1
fi
