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
source scripts/serve-api.sh
need_rust
need_apt python3 python3
need_python schemathesis 4.32.5
# The whole workspace: a part of it would be rebuilt with other features.
cargo build --quiet --locked --workspace --bins

seed=${EPR_TEST_SEED:-$((RANDOM * 32768 + RANDOM))}
# With authentication, because one of the checks is that the API rejects requests without it.
scopes=epr:authorize,epr:assert,epr:explain,epr:list,epr:read,epr:write,epr:erase,epr:events,epr:audit,epr:operate
prepare_api schemathesis "$scopes,epr:act-as"

for url in "${API_DATABASES[@]}"; do
    say "schemathesis on ${url%%:*}, EPR_TEST_SEED=$seed"
    start_api "$url" EPR_OPEN_PATHS=/readyz,/metrics,/docs,/.well-known/authzen-configuration \
        EPR_AUTHZEN_PDP_ID=https://pdp.example.com
    # In a folder of its own: it stores its findings and would begin the next run with them.
    env -C "$API_FOLDER" EPR_API_TOKEN="$API_TOKEN" SCHEMATHESIS_HOOKS=schemathesis_hooks \
        PYTHONPATH="$PWD/scripts" PYTHONDONTWRITEBYTECODE=1 \
        schemathesis --config-file "$PWD/scripts/schemathesis.toml" run \
        "$API_URL/openapi.json" --header "Authorization: Bearer $API_TOKEN" \
        --seed "$seed" --max-examples "${EPR_SCHEMATHESIS_EXAMPLES:-30}" ||
        fail_with_api_log
    expect_no_internal_errors
    stop_api
done
