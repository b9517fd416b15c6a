#!/usr/bin/env bash
# Makes the Python 2.7 environment the old clients run in, and prints its directory.
#
#     environment.sh TARGET_DIRECTORY        (the project's `target`)
#
# The environment is TARGET_DIRECTORY/python2-env. A complete one with the same
# requirements is used again, a half-made one is made anew, and of several runs at
# once the first makes it while the others wait. About 30 seconds the first time.
#
# Exit status: 0 made or found; 3 this machine has no Python 2.7; 1 anything else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:?usage: environment.sh TARGET_DIRECTORY}
mkdir -p "$target"
environment=$(cd "$target" && pwd)/python2-env
stamp=$(cat "$here/environment.sh" "$here/requirements.txt" | sha256sum | cut -d' ' -f1)

say() { echo "python2 environment: $*" >&2; }

# The first interpreter that really is a 2.7: pyenv's shims are on PATH
# even where they only say that the version is not selected.
find_python2() {
    local candidate
    for candidate in python2.7 python2 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7 \
        /usr/local/bin/python2.7 /opt/python2*/bin/python2.7; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

# Debian packages, only when something of theirs is missing.
need() { # PACKAGE... -- COMMAND that works when they are there
    local packages=()
    while [ "$1" != -- ]; do packages+=("$1"); shift; done
    shift
    "$@" >/dev/null 2>&1 && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: ${packages[*]} (Debian names); install them, or run this as root on Debian"
        exit 1
    fi
    say "installing ${packages[*]}"
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y "${packages[@]}"; } >&2
    "$@" >/dev/null 2>&1 || { say "still not usable after installing ${packages[*]}"; exit 1; }
}

libpq_is_there() { [ -f "$(pg_config --includedir)/libpq-fe.h" ]; }

python2=$(find_python2) || { say "no Python 2.7 found (PATH, pyenv)"; exit 3; }

exec 9>"$environment.lock"
flock 9
if [ "$(cat "$environment/complete" 2>/dev/null)" = "$stamp" ]; then
    echo "$environment"
    exit
fi

say "making $environment with $python2"
need gcc libc6-dev -- cc --version
need libpq-dev -- libpq_is_there          # psycopg2, which the package demands, is built from source
need python3-venv -- python3 -c 'import ensurepip'
rm -rf "$environment" "$environment.tools"
{
    # Python 2.7 has no venv of its own; 20.21.1 is the last virtualenv that knows it.
    # pip is told to be quiet about the end of Python 2, on every line otherwise.
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore:DEPRECATION
    python3 -m venv "$environment.tools"
    "$environment.tools/bin/pip" install -q virtualenv==20.21.1
    "$environment.tools/bin/virtualenv" -q --no-download -p "$python2" "$environment"
    "$environment/bin/pip" install -q --no-deps -r "$here/requirements.txt"
    "$environment/bin/pip" check
    "$environment/bin/python" -c 'import coordinate.workers, pytest'
} >&2 9>&- # whatever is left running must not hold the lock
echo "$stamp" >"$environment/complete"
echo "$environment"
