#!/usr/bin/env bash
# Runs the AuthZEN cases of tests/vectors/authzen against the running API, on SQLite and on PostgreSQL.
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
source scripts/serve-api.sh
need_rust
need_apt python3 python3
# The whole workspace: a part of it would be rebuilt with other features.
cargo build --quiet --locked --workspace --bins

prepare_api authzen epr:authorize,epr:assert,epr:list,epr:read,epr:write
pdp_id=https://pdp.example.com

for url in "${API_DATABASES[@]}"; do
    say "AuthZEN on ${url%%:*}"
    start_api "$url" EPR_ENTITY_TYPES=record,route,todo,user EPR_AUTHZEN_PDP_ID="$pdp_id"
    EPR_API_TOKEN="$API_TOKEN" PYTHONDONTWRITEBYTECODE=1 python3 scripts/authzen.py "$API_URL" "$pdp_id" "$@" ||
        fail_with_api_log
    expect_no_internal_errors
    stop_api
done
