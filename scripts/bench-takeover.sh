#!/usr/bin/env bash
# Measures the takeover of a large database of the older service on a throw-away PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/bench-takeover.sh [ASSIGNMENTS [ENTRIES]]
Fills a database of the older service with ASSIGNMENTS (1,000,000) role assignments and a ledger of ENTRIES (5,000,000)
chained entries, takes it over with `epr migrate`, and verifies the chain. Prints the seconds of each step and the peak
memory of the command. EPR_BENCH_PROGRAM names the command; without it, an optimized one is built.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_apt python3 python3
[[ -x /usr/bin/time ]] || need_apt /no/such/command time
need_postgres
program=${EPR_BENCH_PROGRAM:-}
if [[ -z $program ]]; then
    need_rust
    cargo build --quiet --locked --profile measure -p epr-cli
    program=$CARGO_TARGET_DIR/measure/epr
fi
trap stop_postgres EXIT
start_postgres
database=$EPR_TEST_POSTGRES_URL/takeover
bin=$(pg_bin)
"$bin/psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c 'CREATE DATABASE takeover'

# timed NAME COMMAND…: runs it, and prints its seconds and its peak memory.
timed() {
    local name=$1
    shift
    /usr/bin/time -f "$name: %e s, %M KiB" "$@"
}

say "the older tables: ${1:-1000000} assignments, ${2:-5000000} entries"
scripts/older_database.py "${1:-1000000}" "${2:-5000000}" | "$bin/psql" -q -v ON_ERROR_STOP=1 "$database"
export EPR_DATABASE_URL=$database
say "epr migrate"
timed "takeover" "$program" migrate 2>&1 | awk '!/rows copied/ || NR % 200 == 0'
say "epr audit verify"
timed "verification" "$program" audit verify
