#!/usr/bin/env bash
# Measures the service on this machine, on a throw-away PostgreSQL with its durability on and a throw-away Redis,
# together with yardsticks in the same run.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/bench.sh [--smoke] [--only PART] [--profile PROFILE] [--out FOLDER]
       scripts/bench.sh --peers [--smoke] [--profile PROFILE] [--out FOLDER]
Builds the programs, creates 100,000 entities, 100,000 principals and 300,000 assignments, and prints a table of
measurements and ratios; docs/PERFORMANCE.md says how to read it. Takes about six minutes after the build, which takes
about ten.
  --smoke            few rows and short measurements: shows that the bench runs; the numbers are meaningless
  --only PART        one of starts, warm, conditions, cold, batch, growth, revocation, writes, ledger, lists, authzen,
                     access (lists of access: a world of 1,000,000 entities and 1,000,000 assignments),
                     graph (the registry in memory: worlds of 10,000, 100,000 and 1,000,000 assignments),
                     history (the past: 1,000,000 changes are appended first, which takes some minutes),
                     proofs (checkpoints, and the verification of 1,000,000 entries),
                     console (its pages in a world of 1,000,000 entities and 1,000,000 assignments)
  --peers            only EPR beside Cedar, casbin, Cerbos and SpiceDB, in a world of 10,000 assignments: compares their
                     answers, then measures them for three minutes; installs Cerbos and SpiceDB by npm
  --profile PROFILE  cargo profile; default: release. `measure` builds faster, nearly as fast; `dev` is for --smoke
  --out FOLDER       writes performance.json, performance.md and performance.svg there; with --peers, peers.md
EPR_TEST_SEED=N repeats a run with the same world and questions.
HELP
}

profile=release
peers=false
part=
arguments=()
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --smoke) arguments+=(--smoke); shift ;;
        --only) part=${2:?--only needs a part}; arguments+=(--only "$part"); shift 2 ;;
        --peers) peers=true; arguments+=(--peers); shift ;;
        --profile) profile=${2:?--profile needs a name}; shift 2 ;;
        --out) arguments+=(--out "$(realpath -m "${2:?--out needs a folder}")"); shift 2 ;;
        *) usage >&2; exit 2 ;;
    esac
done
if $peers && [[ -n $part ]]; then
    echo "--peers measures the peers alone: leave out --only $part" >&2
    exit 2
fi
source scripts/need.sh
source scripts/postgres.sh
source scripts/redis.sh
need_rust
need_apt python3 python3
need_postgres
need_redis
what=(-p epr-bench -p epr-api -p epr-audit-lambda -p epr-api-lambda -p epr-verify)
what+=(--bin bench --bin epr-api --bin epr-audit-lambda --bin epr-api-lambda --bin epr-verify)
folder=$CARGO_TARGET_DIR/$profile
if [[ $profile == dev ]]; then
    # The build of the tests, so that nothing is built twice.
    what=(--workspace --bins)
    folder=$CARGO_TARGET_DIR/debug
fi
cargo build --quiet --locked --profile "$profile" "${what[@]}"
if $peers; then
    source scripts/peers.sh
    need_peers "$profile" "$folder"
fi

EPR_BENCH_PROFILE=$profile
EPR_BENCH_COMMIT=$(git describe --always --dirty 2>/dev/null || echo unknown)
redis_version=$(redis-server --version | grep -o 'v=[0-9.]*' | sed 's/v=/Redis /')
EPR_BENCH_SERVERS="$("$(pg_bin)/postgres" --version), $redis_version"
if [[ $profile == release ]]; then
    EPR_BENCH_ZIP_BYTES=$(python3 - "$folder/epr-audit-lambda" <<'PYTHON'
import io, sys, zipfile
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    archive.write(sys.argv[1], "bootstrap")
print(len(packed.getvalue()))
PYTHON
)
    export EPR_BENCH_ZIP_BYTES
fi
export EPR_BENCH_PROFILE EPR_BENCH_COMMIT EPR_BENCH_SERVERS
trap stop_postgres EXIT
start_postgres
"$folder/bench" "${arguments[@]}"
