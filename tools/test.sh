#!/bin/sh
# Run the tests beside each other, with their files in memory where there is much of it.
#
#   tools/test.sh [ARGUMENTS OF PYTEST]     WORKERS of the environment run at once, 4 by default
set -eu
cd "$(dirname "$0")/.."

room=$((6 * 1024 * 1024)) # KiB, several times what the tests have ever used

# A disk that is slow to synchronize makes servers stand still, which reads as an outage.
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
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [ -z "${TMPDIR:-}" ] && in_memory; then
    chmod 711 "$scratch" # the servers run as users of their own
    export TMPDIR="$scratch"
fi

# Every test starts processes, and a third of a start would be compiling if that were not kept.
unset PYTHONDONTWRITEBYTECODE

# A shell that runs this in the background ignores interrupts, and so would all that the tests
# interrupt; a shell cannot undo that.
pytest='import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])'
.venv/bin/python -c "$pytest" -n "${WORKERS:-4}" --dist loadfile "$@"
