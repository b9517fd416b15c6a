#!/usr/bin/env bash
# Drives the daemon with the original Python 2.7 client, command line and worker.
#
#     run.sh DAEMON_BINARY TARGET_DIRECTORY
#
# 1. the package's own test_job_client (and the two test modules that build on its
#    fixtures), unchanged and whole, against the daemon;
# 2. the word-count flow over 2,000 text files (old_flow.py).
#
# Where there is no Python 2.7 the last lines say so, and the flow is run with the
# Python 3 client instead. Any failure: status 1, the reason, and the logs' ends.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
daemon=${1:?usage: run.sh DAEMON_BINARY TARGET_DIRECTORY}
target=${2:?usage: run.sh DAEMON_BINARY TARGET_DIRECTORY}
export PYTHONDONTWRITEBYTECODE=1 # the sources stay as they are

# shellcheck source=../daemon.sh
. "$here/../daemon.sh"

made=0
environment=$("$here/environment.sh" "$target") || made=$?
if [ "$made" = 3 ]; then
    status=0
    "$here/../python3/run.sh" "$daemon" "$target" || status=$?
    say "NO PYTHON 2.7 ON THIS MACHINE (looked in PATH and pyenv):"
    say "the original client was NOT tested; the Python 3 client ran the same flow, status $status"
    exit "$status"
fi
[ "$made" = 0 ] || fail "no Python 2.7 environment"

logs=$(mktemp -d)
trap clean_up EXIT

# A worker looks its own host up and dies if it cannot; say so before that happens.
"$environment/bin/python" -c 'import socket; socket.gethostbyname(socket.gethostname())' \
    >/dev/null 2>&1 || fail "the name of this host, $(hostname), does not resolve; old workers need that"

start_daemon "$daemon"
say "daemon $daemon_pid at $daemon_address"

modules=(test_job_client test_job_flow test_task_master)
PYTHONPATH=$here COORDINATED_ADDRESS=$daemon_address timeout 120 \
    "$environment/bin/python" -m pytest -q -p daemon_fixtures -p no:cacheprovider \
    --pyargs "${modules[@]/#/coordinate.tests.}" >"$logs/tests.log" 2>&1 ||
    fail "the package's own tests"
# Whole means: what was collected has passed, each test over a connection of its own.
read -r connections passed < <(
    sed -n 's/^connections to the daemon: //p; s/^\([0-9]*\) passed in .*/\1/p' "$logs/tests.log" |
        paste -sd' '
)
[ "$connections" = "$passed" ] && [ "$passed" -ge 51 ] ||
    fail "$passed tests passed over $connections connections, 51 of each were expected"
say "the package's own tests: $passed passed"

timeout 300 python3 "$here/old_flow.py" "$daemon_address" "$environment" "$logs" \
    >"$logs/flow.log" 2>&1 || fail "the word-count flow: $(tail -n 1 "$logs/flow.log")"
say "the word-count flow: $(tail -n 1 "$logs/flow.log")"

stop_daemon || fail "stopping the daemon"
