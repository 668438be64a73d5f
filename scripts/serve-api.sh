# Sourced after need.sh and postgres.sh, not run: serves the API of the debug build with authentication, on an empty
# SQLite file and then on an empty PostgreSQL database.
# Sets API_FOLDER, API_DATABASES, API_URL and API_TOKEN.
# shellcheck shell=bash
# Callers read the variables that are set here.
# shellcheck disable=SC2034

# prepare_api NAME SCOPES: makes the databases and a token; a PostgreSQL server is started unless
# EPR_TEST_POSTGRES_URL has one. Everything is removed at the end of the shell.
prepare_api() {
    API_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/epr-$1.XXXXXX")
    API_OWN_POSTGRES=
    API_DATABASE=epr_$1_$$
    trap 'stop_api; drop_api_database; [[ -z $API_OWN_POSTGRES ]] || stop_postgres; rm -rf "$API_FOLDER"' EXIT
    if [[ -z ${EPR_TEST_POSTGRES_URL:-} ]]; then
        need_postgres
        start_postgres
        API_OWN_POSTGRES=true
    fi
    api_psql "CREATE DATABASE $API_DATABASE"
    API_DATABASES=("sqlite:///$API_FOLDER/epr.db" "$EPR_TEST_POSTGRES_URL/$API_DATABASE")
    { read -r API_TOKEN; read -r API_TOKEN_ENTRY; } < <("$CARGO_TARGET_DIR/debug/epr" token new --name "$1" \
        --scopes "$2" 2>/dev/null)
}

api_psql() {
    "$(pg_bin)/psql" -q "$EPR_TEST_POSTGRES_URL/postgres" -c "$1"
}

drop_api_database() {
    [[ -z ${EPR_TEST_POSTGRES_URL:-} ]] || api_psql "DROP DATABASE IF EXISTS $API_DATABASE" 2>/dev/null || true
}

# start_api DATABASE VARIABLE=VALUE…: starts the API on a database.
start_api() {
    local port
    port=$(free_port)
    API_URL=http://127.0.0.1:$port
    env -C "$API_FOLDER" EPR_AUTH_MODE=token EPR_API_TOKENS="[$API_TOKEN_ENTRY]" "${@:2}" EPR_DATABASE_URL="$1" \
        HOST=127.0.0.1 PORT="$port" EPR_LOG_LEVEL=WARNING "$CARGO_TARGET_DIR/debug/epr-api" >"$API_FOLDER/log" &
    API_PID=$!
    wait_for_port "$port" epr-api
}

stop_api() {
    [[ -z ${API_PID:-} ]] || { kill "$API_PID" 2>/dev/null; wait "$API_PID" 2>/dev/null; } || true
    API_PID=
}

# fail_with_api_log: ends the shell after a failed run.
fail_with_api_log() {
    echo "the log of the API ends with:"
    tail -5 "$API_FOLDER/log"
    exit 1
}

# expect_no_internal_errors: finds the errors that a caller does not see.
expect_no_internal_errors() {
    if grep -E '"(panic|request_failed|response_not_serializable)"' "$API_FOLDER/log"; then
        echo "the API logged an internal error" >&2
        exit 1
    fi
}
