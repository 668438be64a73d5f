#!/usr/bin/env bash
# Remakes the screenshots of the console that README.md and docs/CONSOLE.md show.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/console-shots.sh [FOLDER]
Builds and serves the API, fills it with a small world of companies and people, and saves screenshots of the console in
FOLDER, docs/images by default. Times and ids in them are those of the run.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/serve-console.sh
need_console
folder=${1:-docs/images}
mkdir -p "$folder"

say "build"
cargo build --quiet --locked --workspace --bins
serve_console
world=$(python3 scripts/console_world.py "$CONSOLE_URL" "$CONSOLE_OPERATOR")
say "screenshots"
node tests/console/shots.mjs "$CONSOLE_URL" "$CONSOLE_AUDITOR" "$CONSOLE_OPERATOR" "$folder" <<<"$world"
for file in "$folder"/console-*.png; do
    bytes=$(stat -c %s "$file")
    echo "$file: $bytes bytes"
    ((bytes < 200000)) || { echo "$file is too large for a page" >&2; exit 1; }
done
