#!/usr/bin/env bash
# Sees to it that PostgreSQL's server programs are there: the tests make a throw-away
# cluster of their own with them (tests/support/postgres.rs). Installs the Debian
# package if they are missing and this is run as root.
#
# Exit status: 0 they are there, or not needed; 1 they are not.
set -euo pipefail

say() { echo "postgres environment: $*" >&2; }

initdb_is_there() {
    command -v initdb >/dev/null && return
    local programs
    for programs in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$programs" ] && return
    done
    return 1
}

[ -n "${COORDINATED_TEST_POSTGRES:-}" ] && exit
initdb_is_there && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "missing: postgresql (the Debian name); install it, or run this as root on Debian," \
        "or name a server in COORDINATED_TEST_POSTGRES"
    exit 1
fi
say "installing postgresql"
# The tests start a cluster of their own; the package's would only take a port.
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/coordinated-tests.conf
{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y postgresql; } >&2
initdb_is_there || { say "still not there after installing postgresql"; exit 1; }
