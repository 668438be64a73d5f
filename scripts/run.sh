#!/usr/bin/env bash
# Runs the service: the HTTP API, on an embedded SQLite file unless the environment names another database.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/run.sh
Builds EPR and serves its HTTP API on http://localhost:8080 with the data in ./data/epr.db.
Set HOST, PORT, EPR_DATABASE_URL ... in the environment or in a file .env to change that; docs/SETTINGS.md lists every
setting.
HELP
    exit 0
fi
source scripts/need.sh
need_rust
cargo build --quiet --locked -p epr-api
exec "$CARGO_TARGET_DIR/debug/epr-api"
