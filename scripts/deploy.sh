#!/usr/bin/env bash
# Deploys EPR to ECS: image, task definition, service. Waits until the service is stable, and rolls back if it is not.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/deploy.sh [--dry-run]
  --dry-run   shows the task definitions (secrets masked) and the calls; makes no call and changes nothing

Variables come from the environment or the file ENV_FILE (default .env). Required:
  AWS_REGION  ECR_REPOSITORY  ECS_CLUSTER  ECS_SERVICE  EXECUTION_ROLE_ARN  TASK_ROLE_ARN
  ECS_SUBNET_IDS  ECS_SECURITY_GROUP_IDS      comma-separated
  EPR_DATABASE_URL  EPR_REDIS_URL  EPR_REDIS_TOKEN (not with redis:// and rediss://)  EPR_DOCUMENT_VAULT_TOPIC_ARN
  EPR_AUDIT_SQS_URL                           may be empty: only the API runs, and the worker ends at once
A value that is the ARN of a secret (Secrets Manager or SSM parameter) becomes a secret of the task.

Optional, with defaults:
  AWS_ACCOUNT_ID=<read from STS>  TASK_FAMILY=omen-epr  CONTAINER_NAME=omen-epr  TASK_CPU=512  TASK_MEMORY=1024
  DESIRED_COUNT=1                             an update changes the count only if this is set
  EPR_DATABASE_READ_URL=<none>                a standby of the database, from which lists come
  EPR_ENVIRONMENT=production  EPR_LOG_LEVEL=INFO  EPR_LOG_JSON=true  EPR_SQL_ECHO=false
  EPR_REDIS_CACHE_PREFIX=epr  EPR_REDIS_CACHE_TTL=300
  EPR_AUDIT_SQS_MAX_MESSAGES=5  EPR_AUDIT_SQS_WAIT_TIME=20  EPR_AUDIT_SQS_VISIBILITY_TIMEOUT=60
  IMAGE_TAG=<timestamp>                       with SKIP_BUILD=true: the tag to run; default: what the service runs
  SKIP_BUILD=false  SKIP_TESTS=true
  CLOUDWATCH_LOG_GROUP=/ecs/${TASK_FAMILY}  CLOUDWATCH_STREAM_PREFIX=ecs  LOG_RETENTION_DAYS=30 (of a new group)
  ECS_ENABLE_EXECUTE_COMMAND=false  ECS_ASSIGN_PUBLIC_IP=ENABLED  ECS_LAUNCH_TYPE=FARGATE  ECS_PLATFORM_VERSION=LATEST
  ECS_CPU_ARCHITECTURE=X86_64 (or ARM64)  ECS_TARGET_GROUP_ARN=<none; used when the service is created>
  DEPLOY_WORKER=sidecar                       sidecar: in the API's task; service: a service of its own; none: not here
  WORKER_SERVICE=${ECS_SERVICE}-worker  WORKER_TASK_FAMILY=${TASK_FAMILY}-worker
  WORKER_TASK_CPU=256  WORKER_TASK_MEMORY=512
  WORKER_DESIRED_COUNT=1
  DEPLOY_TIMEOUT=900  DEPLOY_POLL=10          seconds to wait for a stable service, and between two polls
EPR_AUTH_MODE is token, jwt or token,jwt, or none if a proxy in front of the API authenticates its callers. While it is
not set, a deployment to production warns.
The script also passes every other EPR_... variable that is set, and RUN_MIGRATIONS, to the containers.

Exit codes: 0 deployed and stable; 1 not deployed, and back on the former revision if there was one; 2 nothing was done.
HELP
}

DRY_RUN=false
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --dry-run) DRY_RUN=true; shift ;;
        *) usage >&2; exit 2 ;;
    esac
done

source scripts/deploy-settings.sh
source scripts/deploy-ecs.sh
source scripts/deploy-schema.sh
settings_begin
deployment_settings
if $DRY_RUN; then
    tools jq
elif [[ $SKIP_BUILD == true ]]; then
    tools jq aws
else
    tools jq aws docker
fi
settings_end

tag_said=${IMAGE_TAG:-}
default IMAGE_TAG "$(date -u +%Y%m%d%H%M%S)"
service='' worker='' schema=''
if $DRY_RUN; then
    default AWS_ACCOUNT_ID 'ACCOUNT'
    say "dry run: nothing is called, nothing is changed"
else
    [[ -n ${AWS_ACCOUNT_ID:-} ]] || AWS_ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)
    # This call also verifies the credentials and the cluster before anything is built.
    described=$(aws ecs describe-services --cluster "$ECS_CLUSTER" --services "$ECS_SERVICE" "$WORKER_SERVICE" \
        --output json)
    service=$(active "$ECS_SERVICE" <<<"$described")
    worker=$(active "$WORKER_SERVICE" <<<"$described")
    export AWS_ACCOUNT_ID
fi
registry=$(registry)
export IMAGE=$registry/$ECR_REPOSITORY:$IMAGE_TAG

# The image.
if [[ $SKIP_BUILD == true ]]; then
    if [[ -n $tag_said ]]; then
        shown aws ecr describe-images --repository-name "$ECR_REPOSITORY" --image-ids "imageTag=$IMAGE_TAG"
        $DRY_RUN || aws ecr describe-images --repository-name "$ECR_REPOSITORY" --image-ids "imageTag=$IMAGE_TAG" \
            >/dev/null || {
            echo "there is no image $IMAGE; nothing was done" >&2
            exit 2
        }
    elif $DRY_RUN; then
        export IMAGE="THE IMAGE THAT $ECS_SERVICE RUNS"
    elif [[ -n $service ]]; then
        current=$(jq -r .taskDefinition <<<"$service")
        described=$(aws ecs describe-task-definition --task-definition "$current" --output json)
        IMAGE=$(jq -r --arg name "$CONTAINER_NAME" \
            '.taskDefinition.containerDefinitions[] | select(.name == $name) | .image' <<<"$described")
        schema=$(described_schema <<<"$described")
        [[ -n $IMAGE ]] || {
            echo "the service $ECS_SERVICE has no container $CONTAINER_NAME; nothing was done" >&2
            exit 2
        }
    else
        echo "SKIP_BUILD=true needs IMAGE_TAG: there is no service $ECS_SERVICE yet with an image; nothing was done" >&2
        exit 2
    fi
elif $DRY_RUN; then
    scripts/build.sh --push --dry-run
else
    scripts/build.sh --push
fi
say "image $IMAGE"

# The schema that the image's program knows, for the labels of the task definitions: of this checkout, or of a revision
# that runs the image already.
if [[ $SKIP_BUILD != true ]]; then
    schema=$(checkout_schema)
elif [[ -n $tag_said ]] && ! $DRY_RUN; then
    schema=$(image_schema "$TASK_FAMILY" "$IMAGE" "$CONTAINER_NAME")
fi
export SCHEMA_VERSION=${schema% *} OLDEST_PROGRAM=${schema#* }
if [[ -n $service ]]; then
    former=$(jq -r '.taskDefinition | split("/")[-1]' <<<"$service")
    say_deployment "$former" "$(database_schema "${former%:*}" "${former##*:}")" "$schema"
fi

# The log group: containers cannot start without it.
if $DRY_RUN; then
    echo "   # unless the log group $CLOUDWATCH_LOG_GROUP exists:"
    log_group=''
else
    log_group=$(aws logs describe-log-groups --log-group-name-prefix "$CLOUDWATCH_LOG_GROUP" --output json |
        jq -r --arg name "$CLOUDWATCH_LOG_GROUP" '.logGroups[] | select(.logGroupName == $name) | .logGroupName')
fi
if [[ -z $log_group ]]; then
    change aws logs create-log-group --log-group-name "$CLOUDWATCH_LOG_GROUP"
    change aws logs put-retention-policy --log-group-name "$CLOUDWATCH_LOG_GROUP" \
        --retention-in-days "$LOG_RETENTION_DAYS"
fi

# render TEMPLATE: fills the template; the API's task has the worker's container only if DEPLOY_WORKER is sidecar.
render() {
    local sidecar=true
    [[ $1 != infra/ecs-task-def.json.template || $DEPLOY_WORKER == sidecar ]] || sidecar=false
    jq --argjson worker "$sidecar" --argjson exec "$ECS_ENABLE_EXECUTE_COMMAND" -f infra/render.jq "$1"
}

# deploy_one SERVICE TEMPLATE DESCRIPTION COUNT_GIVEN COUNT_DEFAULT [ARGUMENT FOR create-service...]
deploy_one() {
    local name=$1 template=$2 described=$3 said=$4 default_count=$5 former='' revision
    shift 5
    if $DRY_RUN; then
        say "task definition of $name"
        render "$template" | jq -f infra/mask.jq
        shown aws ecs register-task-definition --cli-input-json 'the above'
        echo "   # if there is no service $name:"
        create_service "$name" REVISION "$default_count" "$@"
        echo "   # if there is one:"
        update_service "$name" REVISION "$said"
        echo "   # then until it is stable, or back to the former revision:"
        shown aws ecs describe-services --cluster "$ECS_CLUSTER" --services "$name"
        return
    fi
    revision=$(render "$template" | register)
    [[ $revision == arn:* ]] || { echo "the task definition was not registered" >&2; return 1; }
    say "registered ${revision##*/}"
    local called=true
    if [[ -z $described ]]; then
        create_service "$name" "$revision" "$default_count" "$@" || called=false
    else
        if [[ $(jq -r .desiredCount <<<"$described") == 0 ]]; then
            # A stopped service is started, and stopped again if the deployment fails.
            said=${said:-$default_count}
        else
            former=$(jq -r .taskDefinition <<<"$described")
        fi
        update_service "$name" "$revision" "$said" || called=false
    fi
    if $called && wait_stable "$name" "$revision"; then
        say "$name is stable on ${revision##*/}"
        return
    fi
    go_back "$name" "$revision" "$former" "$called"
    return 1
}

# go_back SERVICE REVISION FORMER CALLED
go_back() {
    local name=$1 revision=$2 former=$3 called=$4
    if $called && [[ -n $former ]]; then
        say "rolling back to ${former##*/}"
        run_revision "$name" "$former" || echo "that failed: run scripts/rollback.sh --to ${former##*/}" >&2
        if wait_stable "$name" "$former"; then
            say "$name is stable on ${former##*/}, as before"
        else
            echo "$name is not stable on ${former##*/} either" >&2
        fi
    elif $called; then
        say "no former revision was running: the service is stopped, not deleted"
        change aws ecs update-service --cluster "$ECS_CLUSTER" --service "$name" --desired-count 0 || true
    fi
    # So that no rollback selects it.
    change aws ecs deregister-task-definition --task-definition "$revision" || true
}

api_arguments=()
[[ -z ${ECS_TARGET_GROUP_ARN:-} ]] || api_arguments=(
    --load-balancers "targetGroupArn=$ECS_TARGET_GROUP_ARN,containerName=$CONTAINER_NAME,containerPort=8080"
    --health-check-grace-period-seconds 60
)
[[ -n $EPR_AUDIT_SQS_URL ]] || say "EPR_AUDIT_SQS_URL is empty: only the API runs"
case ${EPR_ENVIRONMENT,,} in
    local | test | staging) ;;
    *)
        if [[ -z $(trimmed "${EPR_AUTH_MODE:-}") ]]; then
            say "WARNING: EPR_AUTH_MODE is not set: the API requires no credentials, and any caller may do everything"
            [[ $ECS_ASSIGN_PUBLIC_IP != ENABLED ]] ||
                say "WARNING: its tasks get public addresses (ECS_ASSIGN_PUBLIC_IP=ENABLED)"
        fi
        ;;
esac
# `set -e` has no effect inside a condition: the functions above check the calls that they make.
deploy_one "$ECS_SERVICE" infra/ecs-task-def.json.template "$service" "$DESIRED_COUNT_SAID" "$DESIRED_COUNT" \
    "${api_arguments[@]}" || exit 1

if [[ $DEPLOY_WORKER == service ]]; then
    deploy_one "$WORKER_SERVICE" infra/ecs-worker-task-def.json.template "$worker" "$WORKER_COUNT_SAID" \
        "$WORKER_DESIRED_COUNT" || {
        echo "the API is on the new revision; the worker is not" >&2
        exit 1
    }
elif [[ -n $worker && $(jq -r .desiredCount <<<"$worker") != 0 ]]; then
    say "DEPLOY_WORKER=$DEPLOY_WORKER: stopping the service $WORKER_SERVICE"
    change aws ecs update-service --cluster "$ECS_CLUSTER" --service "$WORKER_SERVICE" --desired-count 0
elif $DRY_RUN; then
    echo "   # if there is a service $WORKER_SERVICE:"
    change aws ecs update-service --cluster "$ECS_CLUSTER" --service "$WORKER_SERVICE" --desired-count 0
fi
if $DRY_RUN; then say "dry run: nothing was changed"; fi
