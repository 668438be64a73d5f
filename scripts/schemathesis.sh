#!/usr/bin/env bash
# Holds the running API against its OpenAPI document with schemathesis: every check, on SQLite and on PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/schemathesis.sh
Starts the API on an empty SQLite file and on an empty PostgreSQL database, and sends both what schemathesis makes of
/openapi.json. Fails on a 5xx, an answer that the document does not tell, valid input that is refused, invalid input that
is taken. EPR_TEST_SEED=N repeats a run (the seed is printed), EPR_SCHEMATHESIS_EXAMPLES (30) sets how much is tried.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_rust
need_apt python3 python3
need_python schemathesis 4.32.5
# The whole workspace: a part of it would be built with other features, that is, anew.
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

# As callers do who must say who they are: that nobody else gets in is one of the checks.
{ read -r token; read -r entry; } < <("$CARGO_TARGET_DIR/debug/epr" token new --name schemathesis \
    --scopes epr:authorize,epr:read,epr:write,epr:events,epr:audit,epr:operate,epr:act-as 2>/dev/null)

for url in "sqlite:///$folder/epr.db" "$EPR_TEST_POSTGRES_URL/$database"; do
    port=$(free_port)
    say "schemathesis on ${url%%:*}, EPR_TEST_SEED=$seed"
    env -C "$folder" EPR_AUTH_MODE=token EPR_API_TOKENS="[$entry]" EPR_OPEN_PATHS=/readyz,/metrics,/docs \
        EPR_DATABASE_URL="$url" HOST=127.0.0.1 PORT="$port" EPR_LOG_LEVEL=WARNING \
        "$CARGO_TARGET_DIR/debug/epr-api" >"$folder/log" &
    API_PID=$!
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        sleep 0.1
    done
    # In its own folder: it keeps what it found and would begin with that.
    env -C "$folder" EPR_API_TOKEN="$token" SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH="$PWD/scripts" PYTHONDONTWRITEBYTECODE=1 \
        schemathesis --config-file "$PWD/scripts/schemathesis.toml" run \
        "http://127.0.0.1:$port/openapi.json" --header "Authorization: Bearer $token" \
        --seed "$seed" --max-examples "${EPR_SCHEMATHESIS_EXAMPLES:-30}" ||
        { echo "the log of the API ends with:"; tail -5 "$folder/log"; exit 1; }
    # What schemathesis would not see.
    if grep -E '"(panic|request_failed|response_not_serializable)"' "$folder/log"; then
        echo "the API met a fault of its own" >&2
        exit 1
    fi
    stop
done
"$psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c "DROP DATABASE $database"
