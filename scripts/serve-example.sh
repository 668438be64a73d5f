# Sourced after need.sh, not run: serves an empty SQLite file on a free port until the shell ends.
# Sets EXAMPLE_URL, and EXAMPLE_FOLDER, which is removed at the end.
# shellcheck shell=bash

# serve_example PROGRAMS: starts the API of the folder PROGRAMS.
serve_example() {
    local port
    EXAMPLE_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/epr-example.XXXXXX")
    trap '{ [[ -z ${EXAMPLE_PID:-} ]] || kill "$EXAMPLE_PID"; } 2>/dev/null || true; rm -rf "$EXAMPLE_FOLDER"' EXIT
    port=$(free_port)
    EXAMPLE_URL=http://127.0.0.1:$port
    env -C "$EXAMPLE_FOLDER" EPR_DATABASE_URL="sqlite:///$EXAMPLE_FOLDER/epr.db" HOST=127.0.0.1 PORT="$port" \
        EPR_LOG_LEVEL=WARNING "$1/epr-api" &
    EXAMPLE_PID=$!
    wait_for_port "$port" epr-api
}

# expect_tour NAME COMMAND…: fails unless the command prints a denied check before the assignment and an allowed one
# after.
expect_tour() {
    local printed
    printed=$("${@:2}" "$EXAMPLE_URL")
    [[ $(tr 'FT' 'ft' <<<"$printed") == $'before: false\nafter: true' ]] || { echo "$1 printed: $printed" >&2; exit 1; }
    echo "$1: ok"
}
