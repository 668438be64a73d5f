#!/usr/bin/env bash
# Measures the ledger on a throw-away PostgreSQL with its durability on: appends, group commit, verification.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/bench-ledger.sh
Prints the disk's fsync rate, appends by lists of 1, 10, 100 and 1000 beside the same rows in a table without a chain,
group commit with 1, 8 and 64 callers, and the verification of a million entries (EPR_BENCH_ENTRIES changes that) with
its peak memory. Takes about two minutes.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_rust
need_apt python3 python3
need_postgres
cargo build --quiet --locked --profile measure -p epr-bench --bin ledger-bench
trap stop_postgres EXIT
start_postgres
"$CARGO_TARGET_DIR/measure/ledger-bench"
