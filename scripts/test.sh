#!/usr/bin/env bash
# Every check and every test, on a bare Debian or Ubuntu with Rust. Installs what it needs, starts throw-away servers
# on free ports, and cleans up after itself. CI runs exactly this.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/test.sh [--no-lint] [-- ARGUMENTS FOR cargo test]
Runs fmt, clippy, cargo deny, then every test, on SQLite and PostgreSQL, with SNS and SQS by moto and the Lambda
runtime of cargo-lambda; without ARGUMENTS also the image (scripts/test-image.sh), the deployment (scripts/test-deploy.sh), the
callers of examples/, generated clients, schemathesis, a small run of the bench, and 10 s of each fuzz target.
  --no-lint   only the tests
EPR_TEST_SEED=N repeats a run of the tests with random parts (each prints its seed).
HELP
}

lint=true
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --no-lint) lint=false; shift ;;
        --) shift; break ;;
        *) usage >&2; exit 2 ;;
    esac
done

source scripts/need.sh
source scripts/postgres.sh
source scripts/moto.sh
source scripts/redis.sh
need_rust
need_apt python3 python3
# A terminal for the tests of the command.
need_apt script bsdutils
need_apt openssl openssl
# For the commands of docs/BACKUP.md.
need_apt sqlite3 sqlite3
need_postgres
need_redis
need_apt pgbouncer pgbouncer
# A proxy in front, and a client of another language, for refused bodies.
[[ -x /usr/sbin/nginx ]] || need_apt nginx nginx
need_apt node nodejs
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
start_postgres
start_moto
say "PostgreSQL at $EPR_TEST_POSTGRES_URL, SNS and SQS at $EPR_TEST_AWS_URL"

say "build"
cargo build --quiet --locked --workspace --bins
say "tests"
cargo test --locked --workspace "$@"
if (($# == 0)); then
    scripts/test-image.sh "$CARGO_TARGET_DIR/debug"
    scripts/test-deploy.sh
    scripts/test-examples.sh
    scripts/test-clients.sh
    scripts/schemathesis.sh
    say "the bench runs (its figures here say nothing)"
    scripts/bench.sh --smoke --profile dev
    say "fuzzing, 10 s a target"
    scripts/fuzz.sh 10
fi
