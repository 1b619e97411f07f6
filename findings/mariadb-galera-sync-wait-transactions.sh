#!/usr/bin/env bash
# Galera: wsrep_sync_wait = 6, "wait before UPDATE, DELETE, INSERT and REPLACE", waits for nothing in a transaction.
#
# Version:  MariaDB 10.11.19 with galera-4 26.4.23 (Debian 12); PyMySQL 1.1.1. One node is enough to count waits.
# Guess:    each statement of the kinds that the mask names waits, inside of a transaction too.
# Seen:     only a statement that finds no transaction open can wait, and BEGIN belongs to 1 alone. So 2, 4 and 6
#           do nothing between BEGIN and COMMIT; with autocommit = 0 (what Python's drivers begin with) they wait
#           only where the very first statement is of their kind. INSERT ... SELECT waits under 2 and 4, though it
#           reads, not under 1. Even 15 leaves out SET @v = (SELECT ...), DO f() and HANDLER ... READ.
#           Waits counted by the status wsrep_causal_reads, under 1, 2, 4 and 15:
#
#               0101 UPDATE
#               1001 BEGIN; UPDATE; REPLACE; COMMIT
#               1001 SET autocommit = 0; SELECT; UPDATE; COMMIT; SET autocommit = 1
#               0101 SET autocommit = 0; UPDATE; SELECT; COMMIT; SET autocommit = 1
#               0111 INSERT t SELECT 3, n FROM t s WHERE s.id = 1 ON DUPLICATE KEY UPDATE n = 0
#               0000 SET @v = (SELECT n FROM t WHERE id = 1)
#               0000 DO f()
#               0000 HANDLER h READ FIRST
#
# Follows:  oslo.db's mysql_wsrep_sync_wait, or a session, set to 2, 4 or 6 protects no transaction: an UPDATE ...
#           WHERE there decides by rows that another node has changed long since. Only masks with 1 hold, and but
#           once, where a transaction begins: under READ COMMITTED its later reads may be stale.
. "$(dirname "$0")/setup.sh"

galera=/usr/lib/galera/libgalera_smm.so
need mariadbd mariadb-server
need python3 python3
[ -e "$galera" ] || nothing_learned "$galera is not there (Debian: galera-4)"
need_version MariaDB 10.11.19 "$(mariadbd --version | sed 's/.*Ver \([0-9.]*\)-.*/\1/')"
python3 -m venv "$work/environment"
"$work/environment/bin/pip" --quiet install PyMySQL==1.1.1 2>"$work/log" || nothing_learned "PyMySQL could not be had"

me=$(id -un)
mariadb-install-db --no-defaults --user="$me" --datadir="$work/data" --auth-root-authentication-method=normal \
    >"$work/log" 2>&1 || nothing_learned "the database could not be made"
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
mariadbd --no-defaults --user="$me" --datadir="$work/data" --socket="$work/s" --pid-file="$work/pid" --skip-networking \
    --wsrep-on=ON --wsrep-provider="$galera" --wsrep-cluster-address=gcomm:// --wsrep-node-address=127.0.0.1 \
    --wsrep-provider-options="base_port=$port;gmcast.listen_addr=tcp://127.0.0.1:$port;gcache.size=16M" \
    --binlog-format=ROW --innodb-autoinc-lock-mode=2 >>"$work/log" 2>&1 &
servers=$!

cat >"$work/look.py" <<'PY'
import re, sys, time
import pymysql

for _ in range(300):
    try:
        mine, other = (pymysql.connect(unix_socket=sys.argv[1], user="root", autocommit=True).cursor() for _ in "ab")
        mine.execute("CREATE DATABASE d")
        break
    except pymysql.err.Error:  # not started, or not ready yet
        time.sleep(0.2)
else:
    sys.exit("MariaDB did not start")
for statement in ("USE d", "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT t VALUES (1, 0)", "HANDLER t OPEN AS h"):
    mine.execute(statement)
mine.execute("CREATE FUNCTION f() RETURNS int READS SQL DATA RETURN (SELECT n FROM t WHERE id = 1)")
SHORT = {"UPDATE": "UPDATE t SET n = n + 1 WHERE id = 1", "SELECT": "SELECT * FROM t", "REPLACE": "REPLACE t VALUES (2, 0)"}


def waits():
    other.execute("SHOW GLOBAL STATUS LIKE 'wsrep_causal_reads'")
    return int(other.fetchone()[1])


same = True
for expected, look in re.findall(r"^# {15}([01]{4}) (.*)$", open(sys.argv[2]).read(), re.M):
    seen = ""
    for mask in (1, 2, 4, 15):
        mine.execute(f"SET wsrep_sync_wait = {mask}")
        before = waits()
        for statement in look.split("; "):
            mine.execute(SHORT.get(statement, statement))
        seen += str(waits() - before)
    print(seen, look)
    same = same and seen == expected
sys.exit(0 if same else 3)
PY
code=0
timeout 120 "$work/environment/bin/python" "$work/look.py" "$work/s" "$0" || code=$?
kill -9 $servers # nothing of them is kept, and an orderly end can take minutes
case $code in
0) say "SEEN: wsrep_sync_wait without 1 waits for nothing inside of a transaction" ;;
3) say "CHANGED: the waits above are not those at the top of this script" && exit 1 ;;
*) nothing_learned "the server could not be asked" ;;
esac
