#!/usr/bin/env bash
# Loses a database server and restores the service from a copy with the log, and from a dump, by the commands of
# docs/BACKUP.md, on throw-away servers. Asserts what the service answers afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/game-day.sh [BINARIES]
BINARIES is the folder with epr-api and epr; default: those of the last debug build, which is made if it is not there.
Prints what was lost in each way, and the seconds of each step.
HELP
    exit 0
fi

source scripts/need.sh
source scripts/postgres.sh
source scripts/redis.sh
need_apt python3 python3
need_apt curl curl
need_apt jq jq
need_postgres
need_redis
binaries=${1:-}
if [[ -z $binaries ]]; then
    need_rust
    cargo build --quiet --locked --workspace --bins
    binaries=$CARGO_TARGET_DIR/debug
fi
binaries=$(realpath "$binaries")

work=$(mktemp -d "${TMPDIR:-/tmp}/epr-game-day.XXXXXX")
started=()
finish() {
    local pid
    for pid in "${started[@]}"; do
        kill -KILL -- "-$pid" "$pid" 2>/dev/null || true
        # The shell would report each as killed.
        wait "$pid" 2>/dev/null || true
    done
    (cd "$work" && as_pg "$(pg_bin)/pg_ctl" -D "$work/copy" -m immediate stop >/dev/null 2>&1) || true
    stop_postgres
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAILED: $*" >&2
    tail -n 5 "$work"/*.log >&2 || true
    exit 1
}
[[ $(id -u) != 0 ]] || { chmod 755 "$work"; chown postgres "$work"; }
# The user of the server, who runs the commands of the page, may not be able to read the folder of the build.
mkdir "$work/bin"
install -m 755 "$binaries/epr" "$binaries/epr-api" "$work/bin"
PATH=$(pg_bin):$work/bin:$PATH
page=$PWD/docs/BACKUP.md

# page_commands HEADING: prints the commands of the page under this comment.
page_commands() {
    local commands
    commands=$(awk -v heading="# $1" '/^```/ { inside = 0 } inside { print } $0 == heading { inside = 1 }' "$page")
    [[ -n $commands ]] || fail "docs/BACKUP.md has no commands '$1'"
    echo "$commands"
}
# on_page HEADING: runs them in the folder of this run; those of the server as the user that runs it.
on_page() {
    local commands began=$SECONDS
    commands=$(page_commands "$1")
    (cd "$work" && as_pg env SERVER_URL="$server" EPR_DATABASE_URL="$database" RESTORED_URL="${restored:-}" \
        RESTORED_PORT="${restored_port:-}" RESTORED_SERVER_URL="${restored_server:-}" PATH="$PATH" bash -euo pipefail -c "$commands") >"$work/page.log" 2>&1 ||
        fail "$1: $(cat "$work/page.log")"
    steps+=("$((SECONDS - began)) s  $1")
}
steps=()

# start_api DATABASE PREFIX: serves; sets `api`.
start_api() {
    local port
    port=$(free_port)
    env -C "$work" EPR_DATABASE_URL="$1" EPR_REDIS_CACHE_PREFIX="$2" EPR_REDIS_URL="redis://127.0.0.1:$redis_port" \
        HOST=127.0.0.1 PORT="$port" EPR_LOG_LEVEL=WARNING "$binaries/epr-api" >>"$work/api.log" 2>&1 &
    started+=($!)
    api=http://127.0.0.1:$port
    wait_for_port "$port" epr-api
}
# post PATH BODY: prints the response; its headers are in a file.
post() { curl -sf --dump-header "$work/headers" "$api/api/v1$1" --json "$2" || fail "POST $1 $2"; }
# allowed USER: prints true or false.
allowed() {
    post /authorize "{\"user_id\": \"$1\", \"action\": \"document:download\", \"resource_id\": \"$entity\"}" |
        jq .authorized
}
grant() { post /assignments "{\"principal_id\": \"$1\", \"role_id\": \"$role\", \"entity_id\": \"$entity\"}" | jq -r .id; }

say "a service with a shared cache"
start_postgres
server=$EPR_TEST_POSTGRES_URL/postgres
psql -q "$server" -c 'CREATE DATABASE epr'
database=$EPR_TEST_POSTGRES_URL/epr
redis_port=$(free_port)
redis-server --port "$redis_port" --save '' --dir "$work" >"$work/redis.log" 2>&1 &
started+=($!)
wait_for_port "$redis_port" redis-server
start_api "$database" epr
first_api=${started[-1]}
entity=$(post /entities '{"name": "Harbour Two", "type": "spv"}' | jq -r .id)
role=$(post /roles '{"name": "Reader", "permissions": ["document:download"]}' | jq -r .id)
ann=00000000-0000-4000-8000-00000000000a
ben=00000000-0000-4000-8000-00000000000b
of_ann=$(grant $ann)
[[ $(allowed $ann) == true && $(allowed $ben) == false ]] || fail "the checks before the backup"

say "backups: the log, a copy, a dump"
log_commands=$(page_commands "postgres: receive the log")
# With a process group of its own, so that its end reaches the program.
set -m
(cd "$work" && as_pg env SERVER_URL="$server" PATH="$PATH" bash -euo pipefail -c "$log_commands") \
    >"$work/receive.log" 2>&1 &
started+=($!)
set +m
# A change is answered only once the log has it.
psql -q "$server" -c "ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'" -c 'SELECT pg_reload_conf()' >/dev/null
until [[ $(psql -qtA "$server" -c "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1 ]]; do
    ((SECONDS < 120)) || fail "the log is not received"
    sleep 0.1
done
on_page "postgres: copy the server"
on_page "postgres: save"

say "afterwards: a revocation and a grant"
curl -sf -X DELETE "$api/api/v1/assignments/$of_ann" >/dev/null || fail "the revocation"
grant $ben >/dev/null
revision=$(sed -n 's/^epr-revision: *\(.*[^[:space:]]\).*/\1/ip' "$work/headers")
[[ -n $revision ]] || fail "a change has no revision: $(cat "$work/headers")"
[[ $(allowed $ann) == false && $(allowed $ben) == true ]] || fail "the checks after the backup"
# The export that is kept elsewhere.
EPR_DATABASE_URL=$database epr audit export --output "$work/ledger.jsonl"
chmod 644 "$work/ledger.jsonl"

say "the server is lost"
kill -KILL "$first_api"
wait "$first_api" 2>/dev/null || true
(cd "$PG_DIR" && as_pg "$PG_CTL" -D "$PG_DIR/data" -m immediate stop >/dev/null)

say "the copy and the log"
restored_port=$(free_port)
restored_server=postgres://epr@127.0.0.1:$restored_port/postgres
on_page "postgres: start the copy"
restored=${restored_server%/postgres}/epr
# The log of the lost server is not received any more.
psql -q "$restored_server" -c "ALTER SYSTEM SET synchronous_standby_names = ''" -c 'SELECT pg_reload_conf()' \
    >/dev/null
on_page "both: check"
cmp "$work/ledger.jsonl" "$work/restored.jsonl" || fail "the copy and the log lack entries"
start_api "$restored" epr
[[ $(allowed $ann) == false && $(allowed $ben) == true ]] || fail "the checks on the copy and the log"
curl -sf -H "EPR-At-Least: $revision" "$api/api/v1/entities/$entity" >/dev/null || fail "a revision from before"
EPR_DATABASE_URL=$restored epr reconcile >"$work/reconcile.log" || fail "epr reconcile: $(cat "$work/reconcile.log")"
physical="the copy and the log: 0 entries lost, the revocation holds, revisions and caches are valid"

say "the dump"
psql -q "$restored_server" -c 'CREATE DATABASE dumped'
restored=${restored_server%/postgres}/dumped
on_page "postgres: restore"
on_page "both: check"
lost=$(($(wc -l <"$work/ledger.jsonl") - $(wc -l <"$work/restored.jsonl")))
((lost > 0)) || fail "the dump lacks no entries"
repeat=$(tail -n "$lost" "$work/ledger.jsonl" | grep -c role_assignment.delete) || fail "no revocation in the export"
on_page "both: reincarnate"
start_api "$restored" restored
[[ $(allowed $ann) == true && $(allowed $ben) == false ]] ||
    fail "the checks on the dump, whose cache has answers from after it"
code=$(curl -s -o "$work/refused" -w '%{http_code}' -H "EPR-At-Least: $revision" "$api/api/v1/entities/$entity")
[[ $code == 409 ]] || fail "a revision from before: $code $(cat "$work/refused")"
curl -sf -X DELETE "$api/api/v1/assignments/$of_ann" >/dev/null || fail "the revocation, repeated"
[[ $(allowed $ann) == false && $repeat == 1 ]] || fail "the repeated revocation"
EPR_DATABASE_URL=$restored epr audit verify
EPR_DATABASE_URL=$restored epr reconcile >"$work/reconcile.log" || fail "epr reconcile: $(cat "$work/reconcile.log")"

printf '%s\n' "" "${steps[@]}" "" "$physical" \
    "the dump: $lost entries lost; they are in the export, with the revocation to repeat; revisions from before are refused"
