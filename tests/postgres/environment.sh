#!/usr/bin/env bash
# Sees to it that PostgreSQL's server programs are there: the tests make a throw-away
# cluster of their own with them (tests/support/postgres.rs). And PgBouncer, which some go
# through (tests/support/pooler.rs). Installs the Debian packages that are missing if this
# is run as root.
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

pgbouncer_is_there() { PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null; }

missing=()
[ -n "${COORDINATED_TEST_POSTGRES:-}" ] || initdb_is_there || missing+=(postgresql)
pgbouncer_is_there || missing+=(pgbouncer)
[ "${#missing[@]}" = 0 ] && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "missing: ${missing[*]} (the Debian names); install them, or run this as root on" \
        "Debian; COORDINATED_TEST_POSTGRES can name a server instead of postgresql"
    exit 1
fi
say "installing ${missing[*]}"
# The tests start what they need themselves; the packages' would only take ports.
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/coordinated-tests.conf
has_policy=$([ -e /usr/sbin/policy-rc.d ] && echo yes || echo no)
if [ "$has_policy" = no ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y "${missing[@]}"; } >&2
[ -n "${COORDINATED_TEST_POSTGRES:-}" ] || initdb_is_there ||
    { say "still not there after installing postgresql"; exit 1; }
pgbouncer_is_there || { say "still not there after installing pgbouncer"; exit 1; }
