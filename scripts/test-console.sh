#!/usr/bin/env bash
# The console in Chromium: every page in both themes, narrow and wide, with and without script, with axe.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-console.sh
Builds and serves the API with the example world of `epr seed`, and opens every page of the console in Chromium. Fails
on a violation of the content security policy, a console error, a request to another host, a page that is wider than
its window, or a serious finding of axe. Screenshots are in target/console/.
HELP
    exit 0
fi
source scripts/need.sh
need_rust
need_apt python3 python3
need_apt chromium chromium
need_npm playwright-core 1.65.1
need_npm axe-core 4.14.1

say "build"
cargo build --quiet --locked --workspace --bins
programs=$CARGO_TARGET_DIR/debug
folder=$(mktemp -d "${TMPDIR:-/tmp}/epr-console.XXXXXX")
trap '{ [[ -z ${pid:-} ]] || kill "$pid"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
shots=target/console
mkdir -p "$shots"

export EPR_DATABASE_URL=sqlite:///$folder/epr.db
cd "$folder"
scopes=epr:read,epr:list,epr:explain,epr:audit,epr:events,epr:operate
mapfile -t auditor < <("$programs/epr" token new --name auditor --scopes "$scopes")
"$programs/epr" migrate >/dev/null
"$programs/epr" seed >/dev/null
port=$(free_port)
HOST=127.0.0.1 PORT=$port EPR_CONSOLE=on EPR_AUTH_MODE=token EPR_API_TOKENS="[${auditor[1]}]" EPR_LOG_LEVEL=WARNING \
    EPR_LEDGER_ORIGIN=epr.test/ledger EPR_LEDGER_KEY=$(printf '00%.0s' {1..31})01 "$programs/epr-api" >"$folder/log" &
pid=$!
wait_for_port "$port" epr-api
cd - >/dev/null

base=http://127.0.0.1:$port
pages=$(python3 scripts/console_pages.py "$base" "${auditor[0]}")
say "pages in Chromium"
CHROMIUM=$(command -v chromium) CONSOLE_MODULES=$EPR_CACHE/npm node tests/console/pages.mjs \
    "$base" "${auditor[0]}" "$shots" <<<"$pages"
