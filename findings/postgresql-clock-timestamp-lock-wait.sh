#!/usr/bin/env bash
# PostgreSQL: clock_timestamp() in an UPDATE that waits for a row's lock is read before the wait, or after it.
#
# Version:  PostgreSQL 15.18 (Debian 12, postgresql-15 15.18-0+deb12u1), READ COMMITTED.
# Guess:    clock_timestamp() is read when the row is written, so after the wait, whoever held the lock.
# Seen:     the new row is worked out first, then the lock is waited for. Only when the other transaction changed
#           the row and committed is it worked out again. If it held the row by FOR UPDATE or FOR SHARE, or
#           rolled back, the old moment is written: the stamp is as old as the wait was long. An upsert, a row locked
#           in the same statement and a trigger stamp after the wait; excluded.ts and (SELECT clock_timestamp()) never do.
#
#               UPDATE, the other held FOR UPDATE:                     before the wait
#               UPDATE, the other held FOR SHARE:                      before the wait
#               UPDATE, the other changed the row and rolled back:     before the wait
#               UPDATE, the other changed the row and committed:       after the wait
#               UPDATE with (SELECT clock_timestamp()), the same:      before the wait
#               ON CONFLICT DO UPDATE, the other held FOR UPDATE:      after the wait
#               ON CONFLICT ... excluded.ts, the same:                 before the wait
#               UPDATE of a row locked by a WITH ... FOR UPDATE:       after the wait
#
# Follows:  heartbeats so stamped age while they wait, and of two commits the later may bear the older stamp: a
#           living service is found dead, and "changed since" misses rows. Lock first, then stamp.
. "$(dirname "$0")/setup.sh"

need psql postgresql-client-15
start_postgresql
ask() { PGCONNECT_TIMEOUT=5 psql -XqAt -h 127.0.0.1 -p "$postgresql" -U postgres "$@"; }
for _ in $(seq 100); do
    ask -c 'SELECT' 2>/dev/null && break
    sleep 0.2
done
ask -c 'CREATE TABLE beat (id int PRIMARY KEY, n int, ts timestamptz)' \
    -c 'INSERT INTO beat SELECT g, 0 FROM generate_series(1, 8) g' || nothing_learned "PostgreSQL did not start"

rows=0 writers=()
look() { # WHAT HELD END STATEMENT: all looks run at once, each with a row of its own
    rows=$((rows + 1))
    ask -c BEGIN -c "${2//ROW/$rows}" -c 'SELECT pg_sleep(12)' -c "$3" >/dev/null &
    writers+=("$1" "${4//ROW/$rows}")
}
update='UPDATE beat SET ts = clock_timestamp() WHERE id = ROW'
upsert='INSERT INTO beat VALUES (ROW, 0, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET ts ='
locked='SELECT FROM beat WHERE id = ROW FOR UPDATE' changed='UPDATE beat SET n = n + 1 WHERE id = ROW'
look 'UPDATE, the other held FOR UPDATE' "$locked" COMMIT "$update"
look 'UPDATE, the other held FOR SHARE' "${locked/UPDATE/SHARE}" COMMIT "$update"
look 'UPDATE, the other changed the row and rolled back' "$changed" ROLLBACK "$update"
look 'UPDATE, the other changed the row and committed' "$changed" COMMIT "$update"
look 'UPDATE with (SELECT clock_timestamp()), the same' "$changed" COMMIT \
    "${update/clock_timestamp()/(SELECT clock_timestamp())}"
look 'ON CONFLICT DO UPDATE, the other held FOR UPDATE' "$locked" COMMIT "$upsert clock_timestamp()"
look 'ON CONFLICT ... excluded.ts, the same' "$locked" COMMIT "$upsert excluded.ts"
look 'UPDATE of a row locked by a WITH ... FOR UPDATE' "$locked" COMMIT \
    'WITH l AS (SELECT id FROM beat WHERE id = ROW FOR UPDATE) UPDATE beat b SET ts = clock_timestamp() FROM l WHERE b.id = l.id'
until [ "$(ask -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")" = 8 ]; do sleep 0.1; done
for row in $(seq 8); do
    when="SELECT CASE WHEN clock_timestamp() - ts > '1.5 s' THEN 'before' ELSE 'after' END FROM beat WHERE id = $row"
    ask -c BEGIN -c "${writers[row * 2 - 1]}" -c "$when" -c COMMIT >"$work/$row" &
    waiting[row]=$!
done
wait "${waiting[@]}"
for row in $(seq 8); do say "$(printf '%-55s' "${writers[row * 2 - 2]}:") $(cat "$work/$row") the wait"; done
[ "$(cat "$work"/[1-8] | xargs)" = "before before before after before after before after" ] ||
    { say "CHANGED: see the lines above" && exit 1; }
say "SEEN: an UPDATE reads clock_timestamp() before it waits for the lock, unless the row was changed and committed meanwhile"
