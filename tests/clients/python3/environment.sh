#!/usr/bin/env bash
# Makes the Python 3 environment of our own client, and prints its directory.
#
#     environment.sh TARGET_DIRECTORY        (the project's `target`)
#
# TARGET_DIRECTORY/python3-env; reused and rebuilt as ../python2/environment.sh does.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:?usage: environment.sh TARGET_DIRECTORY}
mkdir -p "$target"
environment=$(cd "$target" && pwd)/python3-env
stamp=$(cat "$here/environment.sh" "$here/requirements.txt" | sha256sum | cut -d' ' -f1)

say() { echo "python3 environment: $*" >&2; }

command -v python3 >/dev/null || { say "no python3 found"; exit 1; }

exec 9>"$environment.lock"
flock 9
if [ "$(cat "$environment/complete" 2>/dev/null)" = "$stamp" ]; then
    echo "$environment"
    exit
fi

say "making $environment"
if ! python3 -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: python3-venv (Debian name); install it, or run this as root on Debian"
        exit 1
    fi
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y python3-venv; } >&2
fi
rm -rf "$environment"
{
    python3 -m venv "$environment"
    "$environment/bin/pip" install -q --disable-pip-version-check --no-deps -r "$here/requirements.txt"
} >&2 9>&-
echo "$stamp" >"$environment/complete"
echo "$environment"
