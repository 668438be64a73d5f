#!/usr/bin/env bash
# Runs the callers in examples/ against the API on an empty SQLite file, and holds what they print.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-examples.sh
Builds the API, starts it on a free port, and runs the callers of examples/ in Python, TypeScript (typed by tsc, run by
node) and Rust. Each must be under 40 lines.
HELP
    exit 0
fi
source scripts/need.sh
need_rust
need_apt python3 python3
need_apt node nodejs
need_npm typescript 5.9.3
need_npm @types/node 20.19.0
# The whole workspace: a part of it would be built with other features, that is, anew.
cargo build --quiet --locked --workspace --bins --examples

folder=$(mktemp -d "${TMPDIR:-/tmp}/epr-examples.XXXXXX")
trap '{ [[ -z ${API_PID:-} ]] || kill "$API_PID"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
port=$(free_port)
base=http://127.0.0.1:$port
env -C "$folder" EPR_DATABASE_URL="sqlite:///$folder/epr.db" HOST=127.0.0.1 PORT="$port" EPR_LOG_LEVEL=WARNING \
    "$CARGO_TARGET_DIR/debug/epr-api" &
API_PID=$!
for _ in $(seq 300); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
done

for file in examples/check.*; do
    (($(wc -l <"$file") < 40)) || { echo "$file has 40 lines or more" >&2; exit 1; }
done
expect() {
    local said
    said=$("${@:2}" "$base")
    [[ $(tr 'FT' 'ft' <<<"$said") == $'before: false\nafter: true' ]] || { echo "$1 said: $said" >&2; exit 1; }
    echo "$1: ok"
}
say "examples"
expect Python python3 examples/check.py
types=$EPR_CACHE/npm/node_modules/@types
tsc --strict --target es2022 --module nodenext --typeRoots "$types" --types node --outDir "$folder" examples/check.mts
expect TypeScript node "$folder/check.mjs"
expect Rust "$CARGO_TARGET_DIR/debug/examples/check"
