#!/usr/bin/env bash
# Builds the programs for arm64 with Debian's cross compiler, and runs them in the user-mode emulation of QEMU: the API,
# the command and the verifier on SQLite, and the start of the worker and of both functions.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-arm64.sh
Cross-compiles the debug programs for aarch64-unknown-linux-gnu without debug information, and runs them under
qemu-aarch64. On an arm64 machine it runs the programs as they are.
HELP
    exit 0
fi

source scripts/need.sh
need_rust
need_apt curl curl
need_apt jq jq
need_apt python3 python3
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$CARGO_TARGET_DIR/arm64
target=aarch64-unknown-linux-gnu
run=()
if [[ $(uname -m) != aarch64 ]]; then
    need_apt aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    [[ -e /usr/aarch64-linux-gnu/include/stdio.h ]] || need_apt /no/such/command libc6-dev-arm64-cross
    need_apt qemu-aarch64 qemu-user
    command -v rustup >/dev/null 2>&1 || { echo "rustup is missing: it installs Rust's library for $target" >&2; exit 1; }
    rustup --quiet target add "$target"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    run=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
fi

say "build for $target"
cargo build --quiet --locked --target "$target" --bins \
    -p epr-api -p epr-audit-worker -p epr-cli -p epr-api-lambda -p epr-audit-lambda
programs=$CARGO_TARGET_DIR/$target/debug
scripts/build-verify.sh --profile dev --target "$target" "$programs/epr-verify-static"

work=$(mktemp -d "${TMPDIR:-/tmp}/epr-arm64.XXXXXX")
api=
trap '[[ -z $api ]] || kill -KILL "$api" 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0
pass() { passed=$((passed + 1)); echo "ok $*"; }
fail() { echo "FAILED: $*" >&2; cat "$work"/*.log >&2; exit 1; }
export EPR_DATABASE_URL=sqlite:///$work/epr.db
program() { (cd "$work" && "${run[@]}" "$programs/$1" "${@:2}"); }

say "run"
for name in epr epr-api epr-audit-worker epr-api-lambda epr-audit-lambda epr-verify-static; do
    readelf -h "$programs/$name" | grep -q 'Machine: *AArch64' || fail "$name is not for arm64"
done
pass "every program is for arm64"

program epr --version | grep -q '^epr ' || fail "epr --version"
program epr migrate >"$work/migrate.log"
issuer=$(program epr --json entities create issuer 'Nord Haus' | jq -r .id)
program epr roles create reader --action document:download >"$work/role.log"
user=00000000-0000-4000-8000-000000000001
program epr assignments create "$user" reader --on "$issuer" >"$work/assignment.log"
[[ $(program epr check "$user" document:download "$issuer") == ALLOWED* ]] || fail "the check is not allowed"
pass "the command on SQLite: an entity, a role, an assignment, a check"

port=$(free_port)
# Not by `program`, because the signal below is for the program and not for a shell around it.
(cd "$work" && HOST=127.0.0.1 PORT=$port exec "${run[@]}" "$programs/epr-api") >"$work/api.log" 2>&1 &
api=$!
wait_for_port "$port" epr-api
question="{\"user_id\": \"$user\", \"action\": \"document:download\", \"resource_id\": \"$issuer\"}"
answer=$(curl -sSf "http://127.0.0.1:$port/api/v1/authorize" -H 'content-type: application/json' -d "$question")
[[ $answer == '{"authorized":true}' ]] || fail "the API answers $answer"

kill -TERM "$api"
wait "$api" || fail "the API ended with an error"
api=
pass "the API on SQLite: a check, SIGTERM"

program epr audit verify >"$work/verify.log" || fail "the ledger does not verify"
program epr audit export --output "$work/ledger.jsonl" >"$work/export.log" 2>&1
"${run[@]}" "$programs/epr-verify-static" export "$work/ledger.jsonl" >"$work/verify-export.log" \
    || fail "the export does not verify"
pass "the ledger: verified by the command, and its export by the static epr-verify"

# Without its settings each of them ends with a sentence that names the one that is missing.
for name in epr-audit-worker epr-api-lambda epr-audit-lambda; do
    ended=0
    program "$name" >"$work/$name.log" 2>&1 </dev/null || ended=$?
    [[ $ended == 2 ]] || fail "$name ended with $ended"
    grep -q '^[A-Z_]* is not set: ' "$work/$name.log" || fail "$name does not say what is missing"
done
pass "the worker and both functions start, and say which setting is missing"
echo "== $passed passed, 0 failed"
