#!/usr/bin/env bash
# Records the SQL statements that this program runs, so that tests of later versions can show that their schema still
# admits it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/record-program.sh
Runs the store suite on SQLite and on PostgreSQL and writes its statements to tests/vectors/programs, named by the newest
migration. Run it for a release whose schema changes, and commit the files (CONTRIBUTING.md, "Releases").
HELP
    exit 0
fi

source scripts/need.sh
source scripts/postgres.sh
need_rust
need_postgres
work=$(mktemp -d "${TMPDIR:-/tmp}/epr-record.XXXXXX")
trap 'stop_postgres; rm -rf "$work"' EXIT
start_postgres

suite=(cargo test --quiet --locked --workspace --test store --)
mkdir -p tests/vectors/programs
for kind in sqlite postgres; do
    other=postgres
    [[ $kind == sqlite ]] || other=sqlite
    say "the statements on $kind"
    # Before the first record there is nothing that the tests of older programs could read.
    EPR_TEST_RECORD=$work/$kind "${suite[@]}" "$kind" --skip older_programs::
    EPR_TEST_KEEP=$work/$kind "${suite[@]}" older_programs::every_statement --nocapture --skip "$other"
done
ls -l tests/vectors/programs
