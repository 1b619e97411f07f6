#!/usr/bin/env bash
# psycopg: in pipeline mode, the answer to the first statement comes when the last statement is done.
#
# Version:  psycopg 3.3.9 (psycopg-binary), PostgreSQL 15.18 (Debian 12, postgresql-15 15.18-0+deb12u1).
# Guess:    fetchone() of the first statement returns as soon as the server has run it, while the second one runs.
# Seen:     it returns when the second one is done, also where the first answer is a megabyte that was sent long
#           before. psycopg asks the server to flush after the last statement only, and then for what is there: the
#           server holds back what tells that the first answer is complete. With pgconn.send_flush_request() after
#           the first statement its answer is there at once.
#
#               a small answer:                            after the second one
#               a megabyte:                                after the second one
#               a small answer, with a request to flush:   at once
#
# Follows:  who sends a quick question before a slow one, to work on its answer meanwhile, works after both; a list read
#           in parts by a pipeline takes the sum of reading and working. Ask for a flush after each statement.
. "$(dirname "$0")/setup.sh"

packages 'psycopg[binary]==3.3.9'
start_postgresql

cat >"$work/look.py" <<'PY'
import sys, time
import psycopg

where = f"host=127.0.0.1 port={sys.argv[1]} user=postgres connect_timeout=5"
for _ in range(100):
    try:
        connection = psycopg.connect(where, autocommit=True)
        break
    except psycopg.OperationalError:
        time.sleep(0.2)

SMALL, LARGE, SLOW = "SELECT 1", "SELECT repeat('x', 1000000)", "SELECT pg_sleep(2)"

def look(what, first, *, flushes=False):
    begun = time.monotonic()
    with connection.pipeline():
        one, two = connection.cursor(), connection.cursor()
        one.execute(first)
        if flushes:
            connection.pgconn.send_flush_request()
        two.execute(SLOW)
        one.fetchone()
        taken = time.monotonic() - begun
    print(f"{what + ':':42} {'at once' if taken < 1 else 'after the second one'}")

look("a small answer", SMALL)
look("a megabyte", LARGE)
look("a small answer, with a request to flush", SMALL, flushes=True)
PY
"$python" "$work/look.py" "$postgresql" | tee "$work/seen"
wanted="a small answer: after the second one
a megabyte: after the second one
a small answer, with a request to flush: at once"
[ "$(tr -s ' ' <"$work/seen")" = "$wanted" ] || { say "CHANGED: see the lines above" && exit 1; }
say "SEEN: in a pipeline the first answer comes after the last statement, unless a flush was asked for in between"
