#!/usr/bin/env bash
# Every check and every test, on a bare Debian or Ubuntu with Rust. Installs what it needs, starts throw-away servers
# on free ports, and cleans up after itself. CI runs exactly this.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/test.sh [--no-lint] [-- ARGUMENTS FOR cargo test]
       scripts/test.sh --quick
Runs fmt, clippy, cargo deny, then every test, on SQLite and PostgreSQL, with SNS and SQS by moto and the Lambda
runtime of cargo-lambda; without ARGUMENTS also the image (scripts/test-image.sh), a loss of the server and both
restores (scripts/game-day.sh), the deployment (scripts/test-deploy.sh), the cargo features (scripts/test-features.sh),
the programs for arm64 in QEMU (scripts/test-arm64.sh), what a caller observes over the function for AWS Lambda
(scripts/test-function.sh), the callers of examples/, generated clients, the console in Chromium, schemathesis, the
cases of AuthZEN, a small run of the bench, and 10 s of each fuzz target.
  --no-lint   only the tests
  --quick     the inner loop while editing: the unit tests of every crate and the end-to-end tests on SQLite, without
              servers, in under three minutes after the build. It leaves out by name: the case `postgres` of every
              test, the tests that need PostgreSQL, Redis, SNS, SQS or the Lambda runtime, the soak tests, and the
              slowest tests of processes (`quick_skips` in this script). A test that needs a server and is missing
              from that list fails. Run the whole before a merge.
EPR_TEST_SEED=N repeats a run of the tests with random parts (each prints its seed).
HELP
}

lint=true
quick=false
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --no-lint) lint=false; shift ;;
        --quick) quick=true; shift ;;
        --) shift; break ;;
        *) usage >&2; exit 2 ;;
    esac
done

# The end-to-end tests that --quick leaves out, by a part of their names.
quick_skips=(
    # The second case of every test on both databases, and the tests of TLS to PostgreSQL.
    postgres
    # PostgreSQL only.
    cache::a_cut_feed cache_renewals::a_running cache_renewals::a_transaction cache_renewals::changes_by
    cache_renewals::the_cost cli_transfer::an_export_is_imported cli_transfer::an_interrupted client::calls_are_repeated
    clock_offset::doctor clock_offset::readiness connections::a_connection connections::the_limit database_as_found::
    database_start:: database_url:: event_trail::a_consumer event_trail::fifty events_delivery::events_of_concurrent
    failover:: function_api:: hand_back::a_running hand_back::each_obstacle hierarchy_depth::creations ledger_lock:: ledger_readers::
    ledger_store::an_entry limits::a_slow_call limits::healthz limits::one_call memory:: metrics::the_table
    plan::a_check plan::the_result plan_ledger::no_plan pooler:: privileges:: process::a_request_that_waits
    process::the_sqlalchemy process::without_migrations races::an_abandoned races::callers unread_output::sigterm
    cli_doctor:: cli_registry::failures
    # Redis, SNS, SQS or the Lambda runtime.
    aws_regions::the_region cache_tls:: cache_upstash:: events_topic:: unread_output::the_worker vault:: worker::
    # Clients and verifiers in other languages, a bucket, and nginx.
    foreign_verifiers:: ledger_bucket::objects ledger_bucket::a_checkpoint ledger_bucket::an_error
    ledger_bucket::nothing ledger_bucket::credentials ledger_archive::a_bucket ledger_publish::a_bucket
    ledger_proofs::signers_in
    refused_bodies::a_proxy refused_bodies::python_and_node
)

source scripts/need.sh

# Many tests wait for servers and processes: with twice as many threads as processors, a third of the time is saved.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

if $quick; then
    (($# == 0)) || { echo "--quick takes no further arguments" >&2; exit 2; }
    need_rust
    need_apt python3 python3
    need_apt script bsdutils
    need_apt openssl openssl
    unset EPR_TEST_POSTGRES_URL EPR_TEST_AWS_URL
    say "build"
    cargo build --quiet --locked --workspace --bins
    cargo test --quiet --locked --workspace --lib --bins --test e2e --test store --no-run
    say "unit tests"
    SECONDS=0
    cargo test --quiet --locked --workspace --lib --bins -- --skip postgres
    say "end-to-end tests on SQLite"
    cargo test --quiet --locked --workspace --test e2e --test store -- "${quick_skips[@]/#/--skip=}"
    say "quick run without the build: $SECONDS s"
    exit
fi

source scripts/postgres.sh
source scripts/moto.sh
source scripts/redis.sh
need_rust
need_apt python3 python3
# A terminal for the tests of the command line.
need_apt script bsdutils
need_apt openssl openssl
# For the commands of docs/BACKUP.md.
need_apt sqlite3 sqlite3
need_postgres
need_redis
need_apt pgbouncer pgbouncer
# A proxy, and a client in another language, for refused bodies.
[[ -x /usr/sbin/nginx ]] || need_apt nginx nginx
need_apt node nodejs
# Other people's verifiers of the ledger: Go's x/mod/sumdb, and Python.
need_apt go golang-go
[[ -d /usr/share/gocode/src/golang.org/x/mod/sumdb ]] || need_apt /no/such/command golang-golang-x-mod-dev
need_python cryptography 50.0.2
need_python moto 5.2.5 '[server]'
need_python cargo-lambda 1.9.1
need_python upstash-redis 1.8.0

if $lint; then
    need_component fmt rustfmt
    need_component clippy clippy
    need_cargo cargo-deny cargo-deny 0.20.2
    say "cargo fmt"
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo fmt --manifest-path tests/bench/peers/Cargo.toml --check
    say "cargo clippy"
    cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
    say "cargo deny (bans, licences, sources)"
    cargo deny --log-level error check bans licenses sources
    # The advisory database is fetched from the network, which not every machine can reach.
    if cargo deny --log-level off fetch db >/dev/null 2>&1; then
        cargo deny --log-level error check advisories
    else
        echo "advisories NOT checked: their database cannot be fetched from here"
    fi
fi

trap 'stop_moto; stop_postgres' EXIT
# The tests kill processes, never the machine, so nothing has to reach the disk: on a slow one that took most of the time.
PG_OPTIONS="-c fsync=off -c full_page_writes=off"
start_postgres
start_moto
say "PostgreSQL at $EPR_TEST_POSTGRES_URL, SNS and SQS at $EPR_TEST_AWS_URL"

say "build"
cargo build --quiet --locked --workspace --bins
say "tests"
cargo test --locked --workspace "$@"
if (($# == 0)); then
    scripts/test-image.sh "$CARGO_TARGET_DIR/debug"
    scripts/game-day.sh "$CARGO_TARGET_DIR/debug"
    scripts/test-deploy.sh
    scripts/test-features.sh
    scripts/test-arm64.sh
    scripts/test-function.sh
    scripts/test-examples.sh
    scripts/test-clients.sh
    scripts/test-console.sh
    scripts/schemathesis.sh
    scripts/authzen.sh
    say "a small run of the bench (its measurements mean nothing)"
    scripts/bench.sh --smoke --profile dev
    say "fuzzing, 10 s a target"
    scripts/fuzz.sh 10
fi
