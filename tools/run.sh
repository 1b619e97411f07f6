#!/bin/sh
# The control plane on its embedded default, with this host's agent joined, until Ctrl-C.
set -eu
cd "$(dirname "$0")/.."

export STATE_DIRECTORY="${STATE_DIRECTORY:-$PWD/.run}"
url="${SERVICEGROUP_URL:-http://127.0.0.1:8774}"
mkdir -p "$STATE_DIRECTORY"

.venv/bin/servicegroup serve --log-level warning &
server=$!
agent=
trap 'trap - INT TERM EXIT; kill $agent $server 2>/dev/null; wait' INT TERM EXIT

tries=0
until .venv/bin/python -c "import urllib3, sys; urllib3.PoolManager(retries=False).request('GET', sys.argv[1])" \
    "$url/readyz" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || { wait "$server" || exit $?; }
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "the control plane does not answer on $url" >&2; exit 1; }
    sleep 0.2
done

.venv/bin/servicegroup agent --url "$url" --binary host-agent --group hosts &
agent=$!

cat <<TEXT

  The control plane runs, and this host has joined it. Its record is in $STATE_DIRECTORY.

  Open    $url/ui/                           the dashboard
          $url/v1/services                   every service, with its verdict and why
          $url/v1/openapi.json               the API
          $url/metrics                       for Prometheus

  Type    .venv/bin/servicegroup --url $url service list
          .venv/bin/servicegroup --url $url service list --watch
          .venv/bin/servicegroup agent --binary demo -- sleep 600
          .venv/bin/openstack --os-auth-type none --os-endpoint $url/v2.1 compute service list

  Stop    with Ctrl-C.

TEXT
wait "$server"
