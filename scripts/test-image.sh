#!/usr/bin/env bash
# Puts the image's file system together without a container engine, by the script that the Dockerfile runs, and starts
# the API, the worker and the commands in it: as another user, on a root file system that cannot be written to, with
# process id 1.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-image.sh [BINARIES]
BINARIES is the folder with epr-api, epr-audit-worker and epr, whose name is that of a cargo profile; default: those of
the last debug build, which is made if it is not there. Builds the static epr-verify of the same profile. Prints the
sizes of the programs and of the image.
HELP
    exit 0
fi

source scripts/need.sh
source scripts/postgres.sh
source scripts/moto.sh
need_rust
need_apt python3 python3
need_apt readelf binutils
need_apt openssl openssl
need_apt curl curl
need_apt jq jq
need_apt ps procps
[[ -e /etc/ssl/certs/ca-certificates.crt ]] || need_apt /etc/ssl/certs/ca-certificates.crt ca-certificates
need_postgres
need_python moto 5.2.5 '[server]'
need_python cyclonedx-python-lib 11.12.0 '[json-validation]'
binaries=${1:-}
if [[ -z $binaries ]]; then
    cargo build --quiet --locked --workspace --bins
    binaries=$CARGO_TARGET_DIR/debug
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/epr-image.XXXXXX")
started=()
finish() {
    local pid
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    stop_moto
    stop_postgres
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
passed=0
pass() { passed=$((passed + 1)); echo "ok $*"; }

say "the file system of the image"
profile=$(basename "$binaries")
scripts/build-verify.sh --profile "${profile/#debug/dev}" "$work/epr-verify"
root=$work/root
scripts/image-root.sh "$binaries" "$work/epr-verify" "$root"
find "$root/usr/local/bin" -type f -printf '%10s  %P\n' | sort -k2
du -sb "$root" | awk '{printf "%10d  the whole image, %.1f MB\n", $1, $1 / 1e6}'
[[ -z $(find "$root" -name '*sh' -type f) ]] || fail "there is a shell in the image"
[[ -z $(find "$root" -perm /6000) ]] || fail "there is a program that changes the user"
pass "no shell, nothing that changes the user"

say "the bill of materials"
python3 tests/deploy/sbom_check.py "$root/usr/local/share/epr/sbom.cdx.json" "$root"/usr/local/bin/{epr-api,epr-audit-worker,epr,epr-verify} ||
    fail "the bill of materials"
pass "CycloneDX 1.5, with every crate whose code is in a program, its licence and its checksum"

# What an engine makes before it starts a container.
mkdir -p "$root/proc"
touch "$root/etc/hosts" "$root/etc/resolv.conf"
data=$work/data
mkdir "$data"
if [[ $(id -u) == 0 ]]; then
    chmod 711 "$work"
    chown 65532:65532 "$data"
    isolate=(unshare --mount --pid --fork --kill-child)
else
    isolate=(unshare --user --map-root-user --mount --pid --fork --kill-child)
fi
# in_image NAME=VALUE... -- PROGRAM...
in_image() { "${isolate[@]}" python3 tests/deploy/in_image.py "$root" "$data" "$@"; }

# start NAME SETTING... -- PROGRAM...: in the background, its output in a file.
start() {
    local name=$1
    shift
    "${isolate[@]}" python3 tests/deploy/in_image.py "$root" "$data" "$@" >"$work/$name.log" 2>&1 &
    pid=$!
    started+=("$pid")
}
# until_healthy NAME SETTING -- PROGRAM --health
until_healthy() {
    local name=$1 tries
    shift
    for tries in $(seq 300); do
        if in_image "$@" 2>"$work/health.log"; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/$name.log" "$work/health.log" >&2
    fail "$name is not healthy after $tries tries"
}
# stop PID: SIGTERM to the program, which is the child of unshare; its exit code is unshare's.
stop() {
    local code=0 child
    child=$(ps -o pid= --ppid "$1")
    kill -TERM "${child// /}"
    wait "$1" || code=$?
    [[ $code == 0 ]] || { cat "$work"/*.log >&2; fail "$2 ended with $code after SIGTERM"; }
    pass "$2: SIGTERM ends it with exit code 0"
}

say "the API on SQLite"
port=$(free_port)
start api PORT="$port" -- epr-api
until_healthy api PORT="$port" -- epr-api --health
pass "the API serves on a read-only root file system, and its health check says so"
if in_image PORT="$(free_port)" -- epr-api --health 2>/dev/null; then fail "healthy where nothing listens"; fi
pass "the health check fails where nothing listens"
scripts/smoke.sh "http://127.0.0.1:$port" || fail "the smoke test"
pass "scripts/smoke.sh"
curl -sf "http://127.0.0.1:$port/api/v1/entities" --json '{"name": "In the image", "type": "issuer"}' >/dev/null
# The entry point takes the other programs' names, so that a one-off task needs to say nothing but a command.
[[ $(in_image -- epr-api epr audit verify) == "The chain holds: 1 entries, 1 to 1." ]] || fail "epr audit verify"
pass "epr-api epr audit verify: the entry point runs the command"
if in_image -- epr-api sh 2>/dev/null; then fail "epr-api ran something else"; fi
pass "the entry point runs nothing else"
in_image -- epr-api epr audit export --output /app/data/ledger.jsonl 2>/dev/null || fail "epr audit export"
[[ $(in_image -- epr-api epr-verify export /app/data/ledger.jsonl) == "AGREES: 1 entries from 1, "* ]] ||
    fail "epr-verify export"
cp -r tests/vectors/tlog "$data/"
for run in in_image "$root/usr/local/bin/epr-verify"; do
    # The same file in the image and on this machine.
    [[ $run == in_image ]] && verify=(in_image -- epr-verify) log=/app/data/tlog || verify=("$run") log=$data/tlog
    said=$("${verify[@]}" published "$log/log" --key "$log/vkey" --checkpoint "$log/old-checkpoint")
    [[ $said == "AGREES: 600 entries, tiles and root of epr.example/ledger/"* ]] || fail "epr-verify: $said"
done
pass "epr-verify, a static program, verifies an export and a published ledger, in the image and outside of it"
# Commands of the older implementation's task definitions, as the command and as the entry point.
for older in "epr-api python -m scripts.verify_audit_chain --verbose" \
    "python -m scripts.verify_audit_chain --start-sequence 0" \
    "python scripts/verify_audit_chain.py --end-sequence 9" "python3 -u ./scripts/verify_audit_chain.py"; do
    # shellcheck disable=SC2086 # words
    [[ $(in_image -- $older) == "The chain holds: 1 entries, 1 to 1." ]] || fail "$older"
    pass "$older: verifies the chain"
done
in_image -- epr-api python scripts/verify_audit_chain.py --start-sequence 99 >/dev/null || fail "a start after the end"
pass "python scripts/verify_audit_chain.py --start-sequence 99: nothing to verify, exit code 0"
if in_image -- python -c 'print(1)' 2>/dev/null; then fail "python ran a program"; fi
pass "python runs nothing else"
older_port=$(free_port)
api=$pid
start older EPR_DATABASE_URL=sqlite:///./data/older.db -- \
    epr-api uvicorn app.main:app --host 0.0.0.0 --port "$older_port" --workers 2
until_healthy older PORT="$older_port" -- epr-api --health
pass "uvicorn app.main:app --host 0.0.0.0 --port N: the API serves there"
stop "$pid" "uvicorn app.main:app"
pid=$api
stop "$pid" "the API"
grep -q '"message":"stopped"' "$work/api.log" || fail "the API did not say that it stopped"

say "the worker"
code=0
in_image EPR_AUDIT_SQS_URL= -- epr-api epr-audit-worker >"$work/none.log" 2>&1 || code=$?
[[ $code == 2 && $(wc -l <"$work/none.log") == 1 ]] || {
    cat "$work/none.log"
    fail "the worker without a queue: exit code $code"
}
pass "without a queue it ends at once with exit code 2: $(cat "$work/none.log")"
for older in "python -m app.workers.audit_consumer" "epr-api python3 -m app.workers.audit_consumer"; do
    code=0
    # shellcheck disable=SC2086 # words
    in_image EPR_AUDIT_SQS_URL= -- $older >"$work/older.log" 2>&1 || code=$?
    if [[ $code != 2 ]] || ! cmp -s "$work/none.log" "$work/older.log"; then
        cat "$work/older.log"
        fail "$older: exit code $code"
    fi
    pass "$older: the worker"
done
start_moto
# sqs ACTION BODY
sqs() {
    local credential=x/20260101/us-east-1/sqs/aws4_request
    curl -sf "$EPR_TEST_AWS_URL" -H "X-Amz-Target: AmazonSQS.$1" -H 'Content-Type: application/x-amz-json-1.0' \
        -H "Authorization: AWS4-HMAC-SHA256 Credential=$credential, SignedHeaders=host, Signature=x" -d "$2" >/dev/null
}
sqs CreateQueue '{"QueueName": "audit"}'
queue=$EPR_TEST_AWS_URL/123456789012/audit
aws=(AWS_ENDPOINT_URL="$EPR_TEST_AWS_URL" AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_REGION=us-east-1)
port=$(free_port)
start worker "${aws[@]}" EPR_AUDIT_SQS_URL="$queue" EPR_AUDIT_HEALTH_PORT="$port" -- epr-api epr-audit-worker
until_healthy worker EPR_AUDIT_HEALTH_PORT="$port" -- epr-audit-worker --health
pass "the worker works, and its health check says so"
sqs SendMessage "$(jq -n --arg url "$queue" \
    '{QueueUrl: $url, MessageBody: "{\"source\": \"vault\", \"action\": \"document.upload\"}"}')"
for tries in $(seq 300); do
    if grep -q audit_event_ingested "$work/worker.log"; then break; fi
    sleep 0.1
done
grep -q audit_event_ingested "$work/worker.log" || {
    cat "$work/worker.log"
    fail "nothing recorded after $tries tries"
}
pass "a message of the queue is recorded"
stop "$pid" "the worker"
[[ $(in_image -- epr audit verify) == "The chain holds: 2 entries, 1 to 2." ]] ||
    fail "epr audit verify after the worker"
pass "the worker's entry is in the chain"

say "PostgreSQL over TLS, sslmode=verify-full"
start_postgres
pki=$work/pki
mkdir "$pki"
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$pki/$1.key" -out "$pki/$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
}
authority right-authority
authority another-authority
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=database \
    -keyout "$pki/server.key" -out "$pki/server.csr" 2>/dev/null
openssl x509 -req -in "$pki/server.csr" -CA "$pki/right-authority.pem" -CAkey "$pki/right-authority.key" \
    -days 2 -set_serial 1 -extfile <(echo subjectAltName=DNS:localhost) -out "$pki/server.pem" 2>/dev/null
chmod 600 "$pki/server.key"
cp "$pki/server.key" "$pki/server.pem" "$PG_DIR/data/"
[[ $(id -u) != 0 ]] || chown postgres "$PG_DIR"/data/server.{key,pem}
cat >>"$PG_DIR/data/postgresql.conf" <<CONF
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
CONF
# The server admits only connections with TLS.
sed -i 's/^host\b/hostssl/' "$PG_DIR/data/pg_hba.conf"
(cd "$PG_DIR" && as_pg "$PG_CTL" -D "$PG_DIR/data" -w reload >/dev/null)
cp "$pki"/*-authority.pem "$root/etc/ssl/epr/"
chmod 644 "$root"/etc/ssl/epr/*
database=${EPR_TEST_POSTGRES_URL/127.0.0.1/localhost}/postgres
verified="$database?sslmode=verify-full&sslrootcert=/etc/ssl/epr/right-authority.pem"
for tries in $(seq 100); do
    # The server takes its new configuration in its own time.
    if in_image EPR_DATABASE_URL="$verified" -- epr migrate >"$work/migrate.log" 2>&1; then break; fi
    sleep 0.1
done
grep -q 'The schema is' "$work/migrate.log" || {
    cat "$work/migrate.log"
    fail "verify-full with the right authority, after $tries tries"
}
pass "the right authority and the right name: $(cat "$work/migrate.log")"
# refused WHAT URL
refused() {
    if in_image EPR_DATABASE_URL="$2" EPR_DATABASE_ACQUIRE_TIMEOUT=2 -- epr migrate >"$work/refused.log" 2>&1; then
        fail "$1 was taken"
    fi
    pass "$1 is refused: $(tail -n 1 "$work/refused.log" | cut -c 1-150)"
}
refused "another authority" "$database?sslmode=verify-full&sslrootcert=/etc/ssl/epr/another-authority.pem"
refused "no authority of one's own" "$database?sslmode=verify-full"
refused "another name" "${verified/localhost/127.0.0.1}"
refused "a connection without TLS" "$database?sslmode=disable"

say "$passed passed, 0 failed"
