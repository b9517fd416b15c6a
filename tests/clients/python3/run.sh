#!/usr/bin/env bash
# Drives the daemon with our own Python 3 client: the word-count flow over 2,000 files.
#
#     run.sh DAEMON_BINARY TARGET_DIRECTORY
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
daemon=${1:?usage: run.sh DAEMON_BINARY TARGET_DIRECTORY}
target=${2:?usage: run.sh DAEMON_BINARY TARGET_DIRECTORY}
export PYTHONDONTWRITEBYTECODE=1 # the sources stay as they are

# shellcheck source=../daemon.sh
. "$here/../daemon.sh"

environment=$("$here/environment.sh" "$target") || fail "no Python 3 environment"
logs=$(mktemp -d)
trap clean_up EXIT

start_daemon "$daemon"
say "daemon $daemon_pid at $daemon_address"
timeout 200 "$environment/bin/python" "$here/flow.py" "$daemon_address" \
    >"$logs/flow.log" 2>&1 || fail "the word-count flow: $(tail -n 1 "$logs/flow.log")"
say "the word-count flow: $(tail -n 1 "$logs/flow.log")"
stop_daemon || fail "stopping the daemon"
