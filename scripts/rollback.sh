#!/usr/bin/env bash
# Rolls a service back to an earlier revision of its task definition, and waits until it is stable.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/rollback.sh [--to REVISION] [--worker] [--restored] [--dry-run]
Rolls ECS_SERVICE back to the revision before the one that it runs. Revisions of failed deployments are not selected.
  --to REVISION   to this one: a number, or family:number
  --worker        the worker's own service (WORKER_SERVICE, default ${ECS_SERVICE}-worker) instead of the API's
  --restored      also to a revision whose program cannot run on the schema of the database, which was restored
  --list          shows the revisions that are available, and changes nothing
  --dry-run       shows the calls; reads, but changes nothing
Variables, from the environment or the file ENV_FILE (default .env): AWS_REGION, ECS_CLUSTER, ECS_SERVICE;
DEPLOY_TIMEOUT=900, DEPLOY_POLL=10.
An older program starts on the schema of a newer one only if the schema admits it. The script says so before it acts, and
does nothing (exit code 2) if it does not: see "Rollback" in docs/DEPLOYMENT.md.
HELP
}

DRY_RUN=false
to='' on_worker=false list=false restored=false
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --to) to=${2:?--to needs a revision}; shift 2 ;;
        --worker) on_worker=true; shift ;;
        --restored) restored=true; shift ;;
        --list) list=true; shift ;;
        --dry-run) DRY_RUN=true; shift ;;
        *) usage >&2; exit 2 ;;
    esac
done

source scripts/deploy-settings.sh
source scripts/deploy-ecs.sh
source scripts/deploy-schema.sh
settings_begin
required AWS_REGION ECS_CLUSTER ECS_SERVICE
worker_settings
waiting_settings
tools aws jq
settings_end

name=$ECS_SERVICE
! $on_worker || name=$WORKER_SERVICE
described=$(service_json "$name")
[[ -n $described ]] || { echo "there is no service $name in the cluster $ECS_CLUSTER" >&2; exit 2; }
current=$(jq -r .taskDefinition <<<"$described")
current=${current##*/}
family=${current%:*}

# Newest first. ECS's own order and filter are not reliable: the filter matches prefixes.
mapfile -t revisions < <(aws ecs list-task-definitions --family-prefix "$family" --status ACTIVE --output json |
    jq -r --arg family "$family" '[.taskDefinitionArns[] | split("/")[-1] | split(":") | select(.[0] == $family)]
        | sort_by(.[1] | tonumber) | reverse[] | join(":")')

if $list; then
    for revision in "${revisions[@]}"; do
        printf '%s%s\n' "$revision" "$([[ $revision != "$current" ]] || echo '   runs')"
    done
    exit 0
fi

target=''
if [[ -n $to ]]; then
    [[ $to == *:* ]] || to=$family:$to
    for revision in "${revisions[@]}"; do
        [[ $revision != "$to" ]] || target=$revision
    done
    [[ -n $target ]] || { echo "there is no revision $to of $family that can be run" >&2; exit 2; }
else
    for revision in "${revisions[@]}"; do
        if ((${revision##*:} < ${current##*:})); then
            target=$revision
            break
        fi
    done
    [[ -n $target ]] || { echo "there is no revision of $family before $current" >&2; exit 2; }
fi
[[ $target != "$current" ]] || { echo "$name runs $target already"; exit 0; }

# The API's programs migrate the database, whichever service is rolled back.
database=$(database_schema "$family" "${target##*:}")
if $on_worker; then
    api=$(service_json "$ECS_SERVICE" | jq -r '.taskDefinition // "" | split("/")[-1]')
    [[ -z $api || -z $database ]] || {
        of_api=$(database_schema "${api%:*}" "${api##*:}")
        database=${of_api:+${database%% *} ${of_api#* }}
    }
fi
if ! can_go_back "$target" "$database" && ! $restored; then
    echo "nothing was done: go forward to a newer program, or restore the database and repeat with --restored" >&2
    exit 2
fi

target=$(aws ecs describe-task-definition --task-definition "$target" \
    --query taskDefinition.taskDefinitionArn --output text)
say "$name: from $current back to ${target##*/}"
run_revision "$name" "$target"
if $DRY_RUN; then exit 0; fi
wait_stable "$name" "$target" || exit 1
say "$name is stable on ${target##*/}"
