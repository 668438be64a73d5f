#!/usr/bin/env bash
# Runs the callers in examples/ against the API on an empty SQLite file, and compares their output.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-examples.sh
Builds the API, starts it on a free port, and runs the callers of examples/ in Python, TypeScript (typed by tsc, run by
node) and Rust, and the tour of docs/AUTHZEN.md. Each caller must be under 40 lines.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/serve-example.sh
need_rust
need_apt python3 python3
need_apt curl curl
need_apt jq jq
need_apt node nodejs
need_typescript
# The whole workspace: building a part of it would select other features and compile everything again.
cargo build --quiet --locked --workspace --bins --examples

serve_example "$CARGO_TARGET_DIR/debug"

for file in examples/check.* examples/authzen.*; do
    (($(wc -l <"$file") < 40)) || { echo "$file has 40 lines or more" >&2; exit 1; }
done
say "examples"
expect_tour Python python3 examples/check.py
types=$EPR_CACHE/npm/node_modules/@types
tsc --strict --target es2022 --module nodenext --typeRoots "$types" --types node --outDir "$EXAMPLE_FOLDER" \
    examples/check.mts
expect_tour TypeScript node "$EXAMPLE_FOLDER/check.mjs"
expect_tour Rust "$CARGO_TARGET_DIR/debug/examples/check"
expect_tour "AuthZEN in Python" python3 examples/authzen.py
tsc --strict --target es2022 --module nodenext --typeRoots "$types" --types node --outDir "$EXAMPLE_FOLDER" \
    examples/authzen.mts
expect_tour "AuthZEN in TypeScript" node "$EXAMPLE_FOLDER/authzen.mjs"
say "the tour of docs/AUTHZEN.md"
python3 scripts/tour.py docs/AUTHZEN.md "$EXAMPLE_URL"
