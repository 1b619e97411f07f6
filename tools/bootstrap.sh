#!/bin/sh
# Make this checkout ready to work in: the virtual environment, and the servers the tests drive.
#
#   tools/bootstrap.sh                       create or refresh .venv
#   tools/bootstrap.sh --servers [PROFILE]   the same, then install what bindep.txt lists for the
#                                            profile (test, unless named) and is missing
#
# Silent and quick when there is nothing to do. Progress goes to stderr.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'bootstrap: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

profile=${2:-test}
case "${1-}" in
    '' | --servers) ;;
    *)
        say "\"$1\" is not an argument; give --servers, with a profile or without, or nothing"
        exit 2
        ;;
esac

# --- the virtual environment --------------------------------------------------------------------

stamp=.venv/bootstrap.stamp

wanted() {
    for file in pyproject.toml requirements.lock; do
        [ ! -e "$file" ] || cksum "$file"
    done
}

make_venv() {
    say "creating .venv"
    rm -rf .venv 2>/dev/null || { say ".venv is broken and not yours to remove"; exit 1; }
    if has uv; then
        uv venv --quiet .venv
        return
    fi
    for python in python3.11 python3; do
        if has "$python" && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            "$python" -m venv .venv && return
            rm -rf .venv
            say "$python cannot create it; apt-get install python3-venv"
            exit 1
        fi
    done
    say "Python 3.11 or later is not on PATH; apt-get install python3 python3-venv"
    exit 1
}

# What is installed takes a minute or two, so it is counted while it happens.
install() {
    if has uv; then
        uv pip install --python .venv/bin/python "$@"
        return
    fi
    {
        .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off "$@" ||
            echo "exit status $?"
    } | awk -v of="$(grep -c '^[a-zA-Z].*==' requirements.lock 2>/dev/null || true)" -v tty="$(
        [ ! -t 2 ] || echo 1
    )" '
        function say(text) { printf tty ? "\rbootstrap: %-60s" : "bootstrap: %s\n", text >"/dev/stderr" }
        /^Collecting / { if (++n % (tty ? 1 : 25) == 0) say(n " of " of " packages: " $2) }
        /^Installing collected/ { say("unpacking them") }
        /^exit status / { status = $3 }
        END { if (tty) printf "\n" >"/dev/stderr"; exit status }'
}

fill_venv() {
    rm -f "$stamp"
    if [ -e requirements.lock ]; then
        say "installing requirements.lock and this checkout"
        install --require-hashes -r requirements.lock
        install --no-deps -e .
    else
        say "no requirements.lock: installing the newest of everything"
        # Dependency groups need a pip younger than the one Debian 12 puts into a new environment.
        has uv || install 'pip>=25.1'
        install -e '.[all]' --group dev
    fi
    say "compiling the packages"
    # Every test starts processes, and most of their start would be compiling; uv does not compile.
    .venv/bin/python -m compileall -q .venv/lib >/dev/null 2>&1 || true
    wanted >"$stamp"
}

[ -x .venv/bin/python ] || make_venv
[ "$(wanted)" = "$(cat "$stamp" 2>/dev/null || true)" ] || fill_venv
[ "${1-}" = --servers ] || exit 0

# --- the servers --------------------------------------------------------------------------------

missing() {
    installed=" $(dpkg-query -W -f '${db:Status-Status}/${Package} ' 2>/dev/null || true)"
    sed -e 's/#.*//' -e 's/[][]/ /g' bindep.txt | while read -r package profiles; do
        case " $profiles " in *" $profile "*) ;; *) continue ;; esac
        case "$installed" in
            *" installed/$package "*) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

starting_at_boot() {
    ls /etc/systemd/system/*.wants 2>/dev/null | grep '\.service$' | sort -u || true
}

apt_install() {
    # The tests start servers of their own: no system service may start now or at the next boot.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    scratch=$(mktemp -d)
    starting_at_boot >"$scratch/before"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    wait_for_lock="-o DPkg::Lock::Timeout=300"
    # shellcheck disable=SC2086  # words are meant to be split: one package, one argument
    apt-get update -qq $wait_for_lock >&2 &&
        apt-get install -qq -y --no-install-recommends $wait_for_lock $1 >&2 ||
        say "apt-get failed"
    starting_at_boot >"$scratch/after"
    if has systemctl; then
        comm -13 "$scratch/before" "$scratch/after" | while read -r unit; do
            systemctl --quiet disable "$unit" >&2 || say "$unit starts at boot; disable it by hand"
        done
    fi
    rm -rf "$scratch"
}

lacking=$(missing | xargs)
if [ -n "$lacking" ] && [ "$(id -u)" = 0 ] && has apt-get; then
    say "installing $lacking"
    apt_install "$lacking"
    lacking=$(missing | xargs)
fi
if [ -n "$lacking" ]; then
    say "!!! MISSING: $lacking"
    say "!!! The tests that need them are skipped here and fail where CI=true."
    say "!!! As root: apt-get install --no-install-recommends $lacking"
fi
