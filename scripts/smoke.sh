#!/usr/bin/env bash
# Sends a running EPR a few requests that change nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/smoke.sh [--wait SECONDS] [--dry-run] [URL]
Requests health, readiness, a list and a check of an entity that does not exist from the service at URL (default
SMOKE_URL, or http://localhost:8080), and prints the responses. Changes nothing and records nothing in the ledger.
  --wait SECONDS   wait up to this long for the service to be ready
  --dry-run        shows the calls and makes none
SMOKE_TOKEN, from the environment or the file ENV_FILE (default .env), is sent as a bearer token. Without it, a 401 of a
service that requires credentials is a valid response.
Exit codes: 0 every response is as expected; 1 one is not.
HELP
}

DRY_RUN=false
wait=0 url=''
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --wait) wait=${2:?--wait needs seconds}; shift 2 ;;
        --dry-run) DRY_RUN=true; shift ;;
        -*) usage >&2; exit 2 ;;
        *) url=$1; shift ;;
    esac
done
source scripts/deploy-settings.sh
source scripts/deploy-ecs.sh
settings_begin
default SMOKE_URL http://localhost:8080
$DRY_RUN || tools curl
settings_end
url=${url:-$SMOKE_URL}
url=${url%/}
failed=0

# ask METHOD PATH [BODY]: sends a request and sets `status` and `body`.
ask() {
    local arguments=(--silent --show-error --max-time 10 --request "$1" --header 'X-Request-ID: smoke'
        --write-out '\n%{http_code}')
    [[ -z ${3:-} ]] || arguments+=(--header 'Content-Type: application/json' --data "$3")
    # The token is passed in a file, because every user of the machine can read arguments.
    local answer
    answer=$(curl "${arguments[@]}" --config - "$url$2" \
        <<<"${SMOKE_TOKEN:+header = \"Authorization: Bearer $SMOKE_TOKEN\"}" 2>&1) || answer="$answer"$'\n'000
    status=${answer##*$'\n'}
    body=${answer%$'\n'*}
}

# expect NAME STATUS PATTERN METHOD PATH [BODY]: sends a request and compares its response.
expect() {
    local name=$1 wanted=$2 pattern=$3
    shift 3
    if $DRY_RUN; then
        shown curl --request "$1" "$url$2" ${3:+--data "$3"}
        return
    fi
    ask "$@"
    if [[ $status == "$wanted" && $body =~ $pattern ]]; then
        printf 'ok      %-15s %s\n' "$name" "$status ${body:0:120}"
    elif [[ $status == 401 && -z ${SMOKE_TOKEN:-} && $name == guarded* ]]; then
        printf 'ok      %-15s %s\n' "$name" "401: credentials are required; set SMOKE_TOKEN to test more"
    else
        printf 'FAILED  %-15s wanted %s, got %s\n' "$name" "$wanted" "$status ${body:0:300}"
        failed=1
    fi
}

if ! $DRY_RUN; then
    deadline=$((SECONDS + wait))
    while ask GET /readyz && [[ $status != 200 ]] && ((SECONDS < deadline)); do sleep 1; done
fi
expect health 200 '^\{"status":"ok"\}$' GET /healthz
expect ready 200 '' GET /readyz
expect 'guarded: list' 200 '^\[' GET '/api/v1/roles?limit=1'
# An unknown entity: the response is a 404 and never a decision.
unknown=00000000-0000-4000-8000-000000000000
expect 'guarded: check' 404 '"detail"' POST /api/v1/authorize \
    "{\"user_id\":\"$unknown\",\"action\":\"document:download\",\"resource_id\":\"$unknown\"}"
exit "$failed"
