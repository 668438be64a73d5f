#!/usr/bin/env bash
# The console in Chromium: every page in both themes, narrow and wide, with and without script, with axe.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-console.sh
Builds and serves the API with the example world of `epr seed`, opens every page of the console in Chromium as a guest,
an auditor and an operator, makes changes by its forms, and answers the questions of an auditor. Fails on a violation of
the content security policy, a console error, a request to another host, a page that is wider than its window, a serious
finding of axe, a control that the visitor may not use, a change without its entry, a name that is more than text, or an
answer that takes more than three clicks. Screenshots are in target/console/.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/serve-console.sh
need_console

say "build"
cargo build --quiet --locked --workspace --bins
shots=target/console
mkdir -p "$shots"
serve_console
EPR_DATABASE_URL=sqlite:///$CONSOLE_FOLDER/epr.db "$CARGO_TARGET_DIR/debug/epr" seed >/dev/null
# Events that could not be delivered, with an error of the topic that tries to be more than text.
python3 - "$CONSOLE_FOLDER/epr.db" <<'PYTHON'
import sqlite3
import sys

with sqlite3.connect(sys.argv[1], timeout=30) as database:
    database.execute("UPDATE platform_events SET delivery_state = 'failed', last_error = ?",
                     ["<img src=x onerror=\"window.hostile = 1\">\u202e" + "x" * 255])
PYTHON

pages=$(python3 scripts/console_pages.py "$CONSOLE_URL" "$CONSOLE_AUDITOR")
say "pages in Chromium"
node tests/console/pages.mjs "$CONSOLE_URL" "$CONSOLE_AUDITOR" "$CONSOLE_OPERATOR" "$shots" <<<"$pages"
