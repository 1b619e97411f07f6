#!/bin/sh
# Run the tests beside each other; those that fail, if they are few, run once more, alone.
#
#   tools/test.sh [ARGUMENTS OF PYTEST]     WORKERS of the environment run at once, 3 by default
#
# Why twice: the outage tests use real servers and real time, and a busy machine may starve them. A
# test that fails alone is broken, and fails the run. One that fails only in company is a bug of the
# test, to be fixed: it is named at the end. Many failures at once are never chance.
set -eu
cd "$(dirname "$0")/.."

few=8
room=$((6 * 1024 * 1024)) # KiB, several times what the tests have ever used

say() { printf 'test: %s\n' "$*" >&2; }

# A shell that runs this in the background ignores interrupts, and so would all that the tests
# interrupt; a shell cannot undo that.
pytest='import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])'
run() { .venv/bin/python -c "$pytest" -o cache_dir="$scratch/cache" "$@"; }

# --- a place for the files of tests and servers --------------------------------------------------

# A directory in memory, where there is much of it: a disk that is slow to synchronize makes servers
# stand still, which reads as an outage.
in_memory() {
    [ -d /dev/shm ] && [ -w /dev/shm ] || return 1
    free=$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')
    available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
    [ "${free:-0}" -ge "$room" ] && [ "${available:-0}" -ge "$room" ] || return 1
    scratch=$(mktemp -d /dev/shm/sg.XXXXXX) || return 1
    printf '#!/bin/sh\n' >"$scratch/probe"
    chmod 700 "$scratch/probe"
    "$scratch/probe" 2>/dev/null || { rm -rf "$scratch"; return 1; }
}

trap 'rm -rf "${scratch:-}"' EXIT
trap 'exit 130' INT # of this script too, once pytest has ended: an interrupt runs nothing again
trap 'exit 143' TERM HUP
if [ -z "${TMPDIR:-}" ] && in_memory; then
    chmod 711 "$scratch" # the servers run as users of their own
    export TMPDIR="$scratch"
else
    scratch=$(mktemp -d)
fi

# --- beside each other --------------------------------------------------------------------------

failed() {
    .venv/bin/python - "$scratch/cache/v/cache/lastfailed" <<'END'
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
print(*(json.loads(path.read_text()) if path.exists() else ()), sep="\n")
END
}

status=0
run -n "${WORKERS:-3}" --dist loadgroup "$@" || status=$?
[ "$status" = 1 ] || exit "$status" # passed; or interrupted, or pytest itself is broken
failed >"$scratch/beside"
count=$(grep -c . "$scratch/beside" || true)
if [ "$count" = 0 ] || [ "$count" -gt "$few" ]; then
    say "$count tests failed; only 1 to $few would run once more."
    exit 1
fi

# --- alone --------------------------------------------------------------------------------------

say "$count tests failed beside others; each runs once more, alone."
status=0
run -n 0 --last-failed --last-failed-no-failures none "$@" || status=$?
failed >"$scratch/alone"
say '!!! FAILED BESIDE OTHERS:'
while IFS= read -r test; do
    if [ "$status" -gt 1 ]; then
        say "!!! $test"
    elif grep -qxF -- "$test" "$scratch/alone"; then
        say "!!! $test: fails alone too; it is broken"
    else
        say "!!! $test: passes alone; what it takes for granted in company is a bug to be fixed"
    fi
done <"$scratch/beside"
exit "$status"
