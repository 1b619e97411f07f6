# What every finding begins with; read by `. "$(dirname "$0")/setup.sh"`. It runs nothing by itself.
#
#   say TEXT              print a line
#   nothing_learned WHY   end with 77: what is needed could not be had
#   need PROGRAM PACKAGE  the program of a Debian package has to be there
#   need_version WHAT WANTED HAVE
#   packages NAME==VERSION...   Python packages in an environment of their own, whose Python is $python
#   free_port             print a port of 127.0.0.1 that nobody listens on
#   need_memcached        it, and a port for it in $memcached
#   start_etcd, start_memcached, start_postgresql, start_redis, start_zookeeper
#                         Debian 12's server, on port $etcd, $memcached, $postgresql, $redis or $zookeeper
#   $work                 a temporary directory, removed at the end
#   $servers              process ids that are ended first
set -eu

say() { printf '%s\n' "$*"; }
nothing_learned() {
    say "$*"
    exit 77
}
need() { command -v "$1" >/dev/null || nothing_learned "$1 is not installed (Debian: $2)"; }
need_version() {
    say "$1 $3"
    [ "$2" = "$3" ] || nothing_learned "$1 $2 is needed, this is $3"
}

packages() {
    need python3 "python3-venv and python3-pip"
    python=$work/environment/bin/python
    python3 -m venv --without-pip "$work/environment" &&
        python3 -m pip --python "$python" --quiet --disable-pip-version-check install "$@" 2>"$work/pip" ||
        nothing_learned "these packages could not be installed: $*"
    say "$*"
}
free_port() { python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'; }

start_etcd() {
    need etcd etcd-server
    need_version etcd 3.4.23 "$(etcd --version | sed -n 's/^etcd Version: //p')"
    etcd=$(free_port)
    local client=http://127.0.0.1:$etcd peer
    peer=http://127.0.0.1:$(free_port)
    etcd --data-dir "$work/etcd" --initial-cluster "default=$peer" \
        --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" >"$work/etcd.log" 2>&1 &
    servers="$servers $!"
}
need_memcached() {
    need memcached memcached
    need_version memcached 1.6.18 "$(memcached --version | sed 's/.* //')"
    memcached=$(free_port)
}
start_memcached() {
    need_memcached
    memcached -u nobody -l 127.0.0.1 -p "$memcached" 2>"$work/memcached.log" &
    servers="$servers $!"
}
start_postgresql() { # whose user postgres needs no password
    local bin=/usr/lib/postgresql/15/bin data=$work/postgresql as=()
    need "$bin/postgres" postgresql-15
    need_version PostgreSQL 15.18 "$("$bin/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')"
    mkdir "$data"
    if [ "$(id -u)" = 0 ]; then # as whom the server refuses to run
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
        chmod 711 "$work" && chown postgres "$data"
    fi
    postgresql=$(free_port)
    cd /
    "${as[@]}" "$bin/initdb" -D "$data" -A trust -U postgres --no-sync >/dev/null
    "${as[@]}" "$bin/postgres" -D "$data" -p "$postgresql" -h 127.0.0.1 -k '' -F >"$work/postgresql.log" 2>&1 &
    servers="$servers $!"
}
start_redis() {
    need redis-server redis-server
    need_version Redis 7.0.15 "$(redis-server --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')"
    redis=$(free_port)
    redis-server --bind 127.0.0.1 --port "$redis" --save '' --dir "$work" >"$work/redis.log" 2>&1 &
    servers="$servers $!"
}
start_zookeeper() {
    need java default-jre-headless
    need_version ZooKeeper 3.8.0 "$(dpkg-query -W -f '${Version}' zookeeper 2>&1 | sed 's/-.*//')"
    zookeeper=$(free_port)
    printf '%s\n' tickTime=500 "dataDir=$work/zookeeper" "clientPort=$zookeeper" clientPortAddress=127.0.0.1 \
        admin.enableServer=false >"$work/zoo.cfg"
    java -Xmx128m -XX:-UsePerfData -cp /etc/zookeeper/conf:/usr/share/java/zookeeper.jar \
        org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/zoo.cfg" >"$work/zookeeper.log" 2>&1 &
    servers="$servers $!"
}

work=$(mktemp -d)
servers=
finish() {
    for server in $servers; do
        kill "$server" 2>/dev/null || :
        wait "$server" 2>/dev/null || :
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM
