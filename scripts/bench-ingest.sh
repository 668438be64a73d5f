#!/usr/bin/env bash
# Measures the ingestion handler on a throw-away PostgreSQL with its durability on, and the memory of an idle worker.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/bench-ingest.sh
Prints the disk's fsync rate, events per second through the handler (parse, one transaction a batch, commit) by batch
size and by callers at a time, and the resident memory of an idle epr-audit-worker. Takes about a minute.
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
source scripts/moto.sh
need_rust
need_apt python3 python3
need_postgres
need_python moto 5.2.5 '[server]'
cargo build --quiet --locked --profile measure -p epr-bench --bin ingest-bench \
    -p epr-audit-worker --bin epr-audit-worker
WORKER_PID=
trap 'kill "$WORKER_PID" 2>/dev/null; stop_moto; stop_postgres' EXIT
start_postgres
start_moto
"$CARGO_TARGET_DIR/measure/ingest-bench"

folder=$(mktemp -d)
# An empty queue, on which the worker waits.
queue=$(python3 - "$EPR_TEST_AWS_URL" <<'PYTHON'
import sys, urllib.request, json
request = urllib.request.Request(sys.argv[1], json.dumps({"QueueName": "idle"}).encode(), {
    "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.CreateQueue",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request"})
print(json.load(urllib.request.urlopen(request))["QueueUrl"])
PYTHON
)
(cd "$folder" && exec env EPR_DATABASE_URL="$EPR_TEST_POSTGRES_URL/postgres" EPR_AUDIT_SQS_URL="$queue" \
    AWS_ENDPOINT_URL="$EPR_TEST_AWS_URL" AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test EPR_AUDIT_HEALTH_PORT=0 \
    "$CARGO_TARGET_DIR/measure/epr-audit-worker" >"$folder/log") &
WORKER_PID=$!
until grep -q audit_worker_started "$folder/log" 2>/dev/null; do sleep 0.1; done
# Until the first receive has returned.
sleep 3
awk '/^VmRSS/ { printf "idle worker: %.1f MiB resident\n", $2 / 1024 }' "/proc/$WORKER_PID/status"
rm -rf "$folder"
