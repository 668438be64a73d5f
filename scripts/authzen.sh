#!/usr/bin/env bash
# Runs the AuthZEN cases of tests/vectors/authzen/cases.json against the running API, on SQLite and on PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/authzen.sh [LEVEL...]
Starts the API on an empty SQLite file and on an empty PostgreSQL database, loads the fixtures of all scenarios through
the API, and runs every case: the seven levels of the certification scenario of AuthZEN 1.0, the interop scenarios, and
the cases of this project. LEVELs (such as basic or search-core) select cases by the beginning of their level.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_rust
need_apt python3 python3
# The whole workspace: a part of it would be rebuilt with other features.
cargo build --quiet --locked --workspace --bins

own_postgres=
folder=$(mktemp -d "${TMPDIR:-/tmp}/epr-authzen.XXXXXX")
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
database=epr_authzen_$$
psql=$(pg_bin)/psql
"$psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c "CREATE DATABASE $database"
{ read -r token; read -r entry; } < <("$CARGO_TARGET_DIR/debug/epr" token new --name authzen \
    --scopes epr:authorize,epr:assert,epr:list,epr:read,epr:write 2>/dev/null)
pdp_id=https://pdp.example.com

for url in "sqlite:///$folder/epr.db" "$EPR_TEST_POSTGRES_URL/$database"; do
    port=$(free_port)
    say "AuthZEN on ${url%%:*}"
    env -C "$folder" EPR_AUTH_MODE=token EPR_API_TOKENS="[$entry]" EPR_ENTITY_TYPES=record,route,todo,user \
        EPR_AUTHZEN_PDP_ID="$pdp_id" EPR_DATABASE_URL="$url" HOST=127.0.0.1 PORT="$port" EPR_LOG_LEVEL=WARNING \
        "$CARGO_TARGET_DIR/debug/epr-api" >"$folder/log" &
    API_PID=$!
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        sleep 0.1
    done
    EPR_API_TOKEN="$token" PYTHONDONTWRITEBYTECODE=1 python3 scripts/authzen.py "http://127.0.0.1:$port" "$pdp_id" "$@" ||
        { echo "the log of the API ends with:"; tail -5 "$folder/log"; exit 1; }
    if grep -E '"(panic|request_failed|response_not_serializable)"' "$folder/log"; then
        echo "the API logged an internal error" >&2
        exit 1
    fi
    stop
done
"$psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c "DROP DATABASE $database"
