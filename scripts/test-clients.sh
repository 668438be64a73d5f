#!/usr/bin/env bash
# Generates clients from docs/openapi.json with three generators, checks their types strictly, and uses each of them.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-clients.sh
Generators: openapi-python-client (checked by mypy --strict), openapi-typescript with openapi-fetch and
@hey-api/openapi-ts (checked by tsc --strict). Each client runs the tour of the README, reads a list by cursor, and
reads both forms of an error. A warning of a generator, for example about a schema that it omits, is a failure.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/serve-example.sh
need_rust
need_apt python3 python3
need_apt node nodejs
need_python openapi-python-client 0.29.1
need_python mypy 2.4.1
need_typescript
need_npm openapi-typescript 7.13.0
need_npm openapi-fetch 0.17.0
need_npm @hey-api/openapi-ts 0.99.0
# The whole workspace: a part of it would be built with other features, which compiles everything again.
cargo build --quiet --locked --workspace --bins
serve_example "$CARGO_TARGET_DIR/debug"

say "generated clients"
work=$EXAMPLE_FOLDER/clients
mkdir "$work"
cp tests/clients/* "$work"
cp docs/openapi.json "$work"
cd "$work"
openapi-python-client generate --path openapi.json --config openapi-python-client.yaml --meta none \
    --output-path epr_client --fail-on-warning >generator.log 2>&1 ||
    { cat generator.log >&2; exit 1; }
mypy --config-file mypy.ini --no-error-summary tour.py
expect_tour openapi-python-client python3 tour.py

ln -s "$EPR_CACHE/npm/node_modules" node_modules
echo '{"type": "module"}' >package.json
openapi-typescript openapi.json --output epr.d.ts >generator.log 2>&1 || { cat generator.log >&2; exit 1; }
openapi-ts --file openapi-ts.config.mjs >generator.log 2>&1 || { cat generator.log >&2; exit 1; }
tsc --strict --noUncheckedIndexedAccess --target es2022 --module nodenext --skipLibCheck --types node --outDir built \
    tour-fetch.ts tour-hey.ts
ln -s "$EPR_CACHE/npm/node_modules" built/node_modules
echo '{"type": "module"}' >built/package.json
expect_tour openapi-typescript node built/tour-fetch.js
expect_tour @hey-api/openapi-ts node built/tour-hey.js
