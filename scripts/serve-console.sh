# Sourced after need.sh, not run: serves the console of the debug build on an empty SQLite file until the shell ends.
# Sets CONSOLE_URL, CONSOLE_AUDITOR and CONSOLE_OPERATOR (tokens), and CONSOLE_FOLDER, which is removed at the end.
# shellcheck shell=bash
# Callers read the variables that are set here.
# shellcheck disable=SC2034

need_console() {
    need_rust
    need_apt python3 python3
    need_apt chromium chromium
    need_npm playwright-core 1.65.1
    need_npm axe-core 4.14.1
    CHROMIUM=$(command -v chromium)
    CONSOLE_MODULES=$EPR_CACHE/npm
    export CHROMIUM CONSOLE_MODULES
}

# serve_console: starts the API with a token of an auditor, who may only read, and one of an operator.
serve_console() {
    local programs=$CARGO_TARGET_DIR/debug port scopes=epr:read,epr:list,epr:explain,epr:audit,epr:events,epr:operate
    local auditor operator
    CONSOLE_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/epr-console.XXXXXX")
    trap '{ [[ -z ${CONSOLE_PID:-} ]] || kill "$CONSOLE_PID"; } 2>/dev/null || true; rm -rf "$CONSOLE_FOLDER"' EXIT
    mapfile -t auditor < <("$programs/epr" token new --name auditor --scopes "$scopes" 2>/dev/null)
    mapfile -t operator < <("$programs/epr" token new --name operator --scopes "$scopes,epr:write,epr:authorize" \
        2>/dev/null)
    CONSOLE_AUDITOR=${auditor[0]}
    CONSOLE_OPERATOR=${operator[0]}
    port=$(free_port)
    CONSOLE_URL=http://127.0.0.1:$port
    # Nobody logs in at the provider here: the login page leads there.
    env -C "$CONSOLE_FOLDER" EPR_DATABASE_URL="sqlite:///$CONSOLE_FOLDER/epr.db" HOST=127.0.0.1 PORT="$port" \
        EPR_CONSOLE=on EPR_AUTH_MODE=token EPR_API_TOKENS="[${auditor[1]},${operator[1]}]" EPR_LOG_LEVEL=WARNING \
        EPR_CONSOLE_ORIGIN="$CONSOLE_URL" EPR_OIDC_ISSUER=https://id.example.com EPR_OIDC_CLIENT_ID=epr-console \
        EPR_LEDGER_ORIGIN=epr.test/ledger EPR_LEDGER_KEY="$(printf '00%.0s' {1..31})01" \
        EPR_LEDGER_CHECKPOINT_INTERVAL=1 "$programs/epr-api" >"$CONSOLE_FOLDER/log" &
    CONSOLE_PID=$!
    wait_for_port "$port" epr-api
}
