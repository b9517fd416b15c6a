# Starting and stopping the daemon under test. Sourced by the run.sh of each client.
#
# Needs `here`, the folder of that run.sh, and `logs`, an existing directory.
# Sets daemon_pid and daemon_address.

# The one place that knows what the start-up log line looks like: a JSON object on
# standard error with a member "listen", at any depth: "listen":"127.0.0.1:40123".
listening_address() { # LOG
    sed -n 's/.*"listen": *"\([^"]*:[1-9][0-9]*\)".*/\1/p' "$1" | head -n 1
}

start_daemon() { # BINARY
    # A seed, so that what depends on the scheduler's lots is the same in every run.
    "$1" --backend memory --listen 127.0.0.1:0 --log-format json --random-seed 1 \
        >"$logs/daemon.out" 2>"$logs/daemon.log" </dev/null &
    daemon_pid=$!
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        daemon_address=$(listening_address "$logs/daemon.log")
        [ -n "$daemon_address" ] && return
        kill -0 "$daemon_pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "the daemon did not say within 10 s where it listens"
}

stop_daemon() {
    local pid=${daemon_pid:-} tries
    daemon_pid=
    [ -n "$pid" ] || return 0
    kill "$pid" 2>/dev/null || { say "the daemon had ended by itself"; return 1; }
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if ((tries == 100)); then
        kill -KILL "$pid"
        say "the daemon did not stop within 10 s of SIGTERM"
        return 1
    fi
    # Nothing these clients do is an error of the daemon's, whatever came out in the end.
    if grep -qE '"level": *"ERROR"|panicked' "$logs/daemon.log"; then
        say "the daemon logged errors"
        return 1
    fi
}

say() { echo "$(basename "$here"): $*"; }

fail() {
    say "FAILED: $*" >&2
    exit 1
}

# For `trap clean_up EXIT`: logs are shown if anything failed, and never kept.
clean_up() {
    local status=$? log
    stop_daemon || status=1
    if [ "$status" != 0 ]; then
        for log in "$logs"/*.log; do
            [ -s "$log" ] || continue
            echo "----- the end of $(basename "$log")"
            tail -n 60 "$log" | cut -c 1-400
        done >&2
    fi
    rm -rf "$logs"
    exit "$status"
}
