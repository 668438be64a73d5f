#!/usr/bin/env bash
# Measures a ledger of 100 million entries beside a new one, on a throw-away PostgreSQL with its durability on.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/bench-large-ledger.sh
Prints appends, look-ups, proofs, checkpoints and the verification of a ledger of 1,000,000 entries and of one of
100,000,000, and how long archiving and dropping the first one takes. Of the larger one only the last 10,000,000
entries have rows (EPR_BENCH_ROWS changes that); of the others it has the complete tree of hashes. Takes about fifteen
minutes and 16 GB of disk; every row is 1 KB more.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_rust
need_apt python3 python3
need_postgres
cargo build --quiet --locked --profile measure -p epr-bench --bin large-ledger-bench
trap stop_postgres EXIT
start_postgres
"$CARGO_TARGET_DIR/measure/large-ledger-bench"
