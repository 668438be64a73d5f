#!/usr/bin/env bash
# Compares the running API with its OpenAPI document by schemathesis: every check, on SQLite and on PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/schemathesis.sh
Starts the API on an empty SQLite file and on an empty PostgreSQL database, and sends both the requests that
schemathesis generates from /openapi.json. Fails on a 5xx, a response that the document does not describe, rejected
valid input, or accepted invalid input. EPR_TEST_SEED=N repeats a run (the seed is printed);
EPR_SCHEMATHESIS_EXAMPLES (30) sets the number of examples.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_rust
need_apt python3 python3
need_python schemathesis 4.32.5
# The whole workspace: a part of it would be rebuilt with other features.
cargo build --quiet --locked --workspace --bins

own_postgres=
folder=$(mktemp -d "${TMPDIR:-/tmp}/epr-schemathesis.XXXXXX")
stop() {
    [[ -z ${API_PID:-} ]] || { kill "$API_PID" 2>/dev/null; wait "$API_PID" 2>/dev/null; } || true
    API_PID=
}
trap 'stop; [[ -z $own_postgres ]] || stop_postgres; rm -rf "$folder"' EXIT
if [[ -z ${EPR_TEST_POSTGRES_URL:-} ]]; then
    need_postgres
    start_postgres
    own_postgres=true
fi
seed=${EPR_TEST_SEED:-$((RANDOM * 32768 + RANDOM))}
database=epr_schemathesis_$$
psql=$(pg_bin)/psql
"$psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c "CREATE DATABASE $database"

# With authentication, because one of the checks is that the API rejects requests without it.
{ read -r token; read -r entry; } < <("$CARGO_TARGET_DIR/debug/epr" token new --name schemathesis \
    --scopes epr:authorize,epr:assert,epr:explain,epr:list,epr:read,epr:write,epr:erase,epr:events,epr:audit,epr:operate,epr:act-as 2>/dev/null)

for url in "sqlite:///$folder/epr.db" "$EPR_TEST_POSTGRES_URL/$database"; do
    port=$(free_port)
    say "schemathesis on ${url%%:*}, EPR_TEST_SEED=$seed"
    env -C "$folder" EPR_AUTH_MODE=token EPR_API_TOKENS="[$entry]" EPR_OPEN_PATHS=/readyz,/metrics,/docs,/.well-known/authzen-configuration \
        EPR_AUTHZEN_PDP_ID=https://pdp.example.com \
        EPR_DATABASE_URL="$url" HOST=127.0.0.1 PORT="$port" EPR_LOG_LEVEL=WARNING \
        "$CARGO_TARGET_DIR/debug/epr-api" >"$folder/log" &
    API_PID=$!
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        sleep 0.1
    done
    # In a folder of its own: it stores its findings and would begin the next run with them.
    env -C "$folder" EPR_API_TOKEN="$token" SCHEMATHESIS_HOOKS=schemathesis_hooks \
        PYTHONPATH="$PWD/scripts" PYTHONDONTWRITEBYTECODE=1 \
        schemathesis --config-file "$PWD/scripts/schemathesis.toml" run \
        "http://127.0.0.1:$port/openapi.json" --header "Authorization: Bearer $token" \
        --seed "$seed" --max-examples "${EPR_SCHEMATHESIS_EXAMPLES:-30}" ||
        { echo "the log of the API ends with:"; tail -5 "$folder/log"; exit 1; }
    # Errors that schemathesis does not see.
    if grep -E '"(panic|request_failed|response_not_serializable)"' "$folder/log"; then
        echo "the API logged an internal error" >&2
        exit 1
    fi
    stop
done
"$psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c "DROP DATABASE $database"
