# Sourced after need.sh, not run: starts a throw-away moto server (SNS and SQS) on a free port and stops it.
# Sets EPR_TEST_AWS_URL.
# shellcheck shell=bash

start_moto() {
    local port
    port=$(free_port)
    python3 "$(dirname "${BASH_SOURCE[0]}")/moto_server.py" -H 127.0.0.1 -p "$port" >/dev/null 2>&1 &
    MOTO_PID=$!
    export EPR_TEST_AWS_URL=http://127.0.0.1:$port
    wait_for_port "$port" moto
}

stop_moto() {
    [[ -n ${MOTO_PID:-} ]] || return 0
    kill "$MOTO_PID" 2>/dev/null || true
}
