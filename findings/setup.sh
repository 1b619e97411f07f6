# What every finding begins with; read by `. "$(dirname "$0")/setup.sh"`. It runs nothing by itself.
#
#   say TEXT              print a line
#   nothing_learned WHY   end with 77: what is needed could not be had
#   need PROGRAM PACKAGE  the program of a Debian package has to be there
#   need_version WHAT WANTED HAVE
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
