# Sourced after deploy-settings.sh, not run: the calls of deploy and rollback for an ECS service.
# shellcheck shell=bash

# If `true`, calls are printed and not made.
DRY_RUN=${DRY_RUN:-false}

say() { printf '== %s\n' "$*"; }

# shown WORD...: prints a command line as a user would type it.
shown() {
    local line
    printf -v line ' %q' "$@"
    printf '   %s\n' "${line# }"
}

# change COMMAND...: makes a call that changes something. Its output is discarded; its error is not.
change() {
    shown "$@"
    $DRY_RUN || "$@" >/dev/null
}

# registry: prints the host of the account's images.
registry() {
    local domain=amazonaws.com
    [[ $AWS_REGION != cn-* ]] || domain=amazonaws.com.cn
    echo "$AWS_ACCOUNT_ID.dkr.ecr.$AWS_REGION.$domain"
}

# active NAME: prints the service of this name from the output of describe-services on standard input, or nothing.
active() {
    jq -c --arg name "$1" '.services[] | select(.serviceName == $name and .status == "ACTIVE")'
}

# service_json NAME: prints ECS's description of the service, or nothing if no service of this name is active.
service_json() {
    aws ecs describe-services --cluster "$ECS_CLUSTER" --services "$1" --output json | active "$1"
}

# state_of REVISION: prints the state of a deployment in one word, from the service on standard input.
state_of() {
    jq -r --arg revision "$1" '
        ([.deployments[] | select(.status == "PRIMARY")] | first) as $primary
        | if $primary.taskDefinition != $revision then "replaced"
          elif $primary.rolloutState == "FAILED" then "failed"
          elif (.deployments | length) == 1 and .runningCount == .desiredCount
            and ($primary.rolloutState // "COMPLETED") == "COMPLETED" then "stable"
          else "waiting" end'
}

# wait_stable SERVICE REVISION: waits until the service runs this revision and no other. Fails if ECS gives up the
# deployment or replaces it, or after DEPLOY_TIMEOUT seconds.
wait_stable() {
    local service=$1 revision=$2 deadline=$((SECONDS + DEPLOY_TIMEOUT)) described state last=''
    say "waiting for $service to be stable on ${revision##*/}"
    while true; do
        # One failed call (throttling, network) does not undo a deployment.
        described=$(service_json "$service") || described=''
        state=waiting
        [[ -z $described ]] || state=$(state_of "$revision" <<<"$described")
        if [[ -n $described ]]; then
            local progress
            progress=$(jq -r '"running \(.runningCount), pending \(.pendingCount), desired \(.desiredCount)"' \
                <<<"$described")
            [[ $progress == "$last" ]] || printf '   %s\n' "$progress"
            last=$progress
        fi
        case $state in
            stable) return 0 ;;
            failed | replaced) break ;;
        esac
        if ((SECONDS >= deadline)); then
            state="still not stable after $DEPLOY_TIMEOUT s"
            break
        fi
        sleep "$DEPLOY_POLL"
    done
    echo "the deployment of ${revision##*/} to $service did not succeed: $state" >&2
    explain "$service" "$revision" "$described" || true
    return 1
}

# explain SERVICE REVISION DESCRIPTION: prints ECS's events and the reasons for which tasks stopped.
explain() {
    local tasks
    [[ -z $3 ]] || jq -r '(.events // [])[:5][] | "   \(.message)"' <<<"$3" >&2
    mapfile -t tasks < <(aws ecs list-tasks --cluster "$ECS_CLUSTER" --service-name "$1" --desired-status STOPPED \
        --max-items 5 --output json | jq -r '.taskArns[]?')
    ((${#tasks[@]} > 0)) || return 0
    aws ecs describe-tasks --cluster "$ECS_CLUSTER" --tasks "${tasks[@]}" --output json | jq -r --arg revision "$2" '
        .tasks[] | select(.taskDefinitionArn == $revision)
        | "   stopped: \(.stoppedReason // "?")",
          (.containers[] | "     \(.name): exit code \(.exitCode // "none") \(.reason // "")")' >&2
}

# register: registers the task definition on standard input and prints its ARN. It uses a file that only this user can
# read, because the AWS CLI reads its input twice, and every user of the machine can see arguments.
register() (
    file=$(mktemp)
    trap 'rm -f "$file"' EXIT
    cat >"$file"
    aws ecs register-task-definition --cli-input-json "file://$file" --output json |
        jq -r .taskDefinition.taskDefinitionArn
)

network() {
    printf 'awsvpcConfiguration={subnets=[%s],securityGroups=[%s],assignPublicIp=%s}' \
        "${ECS_SUBNET_IDS//[[:space:]]/}" "${ECS_SECURITY_GROUP_IDS//[[:space:]]/}" "$ECS_ASSIGN_PUBLIC_IP"
}

# create_service NAME REVISION COUNT [ARGUMENT...]
create_service() {
    local arguments=(--cluster "$ECS_CLUSTER" --service-name "$1" --task-definition "$2" --desired-count "$3"
        --launch-type "$ECS_LAUNCH_TYPE")
    [[ $ECS_LAUNCH_TYPE != FARGATE ]] || arguments+=(--platform-version "$ECS_PLATFORM_VERSION")
    common_arguments
    shift 3
    change aws ecs create-service "${arguments[@]}" --propagate-tags SERVICE "$@"
}

# update_service NAME REVISION COUNT: an empty count does not change the number of tasks.
update_service() {
    local arguments=(--cluster "$ECS_CLUSTER" --service "$1" --task-definition "$2" --force-new-deployment)
    [[ -z $3 ]] || arguments+=(--desired-count "$3")
    [[ $ECS_LAUNCH_TYPE != FARGATE ]] || arguments+=(--platform-version "$ECS_PLATFORM_VERSION")
    common_arguments
    change aws ecs update-service "${arguments[@]}"
}

# Adds the arguments that creating and updating have in common to the caller's `arguments`.
common_arguments() {
    local exec_flag=--disable-execute-command during=minimumHealthyPercent=100,maximumPercent=200
    ! $ECS_ENABLE_EXECUTE_COMMAND || exec_flag=--enable-execute-command
    arguments+=(
        "$exec_flag"
        --network-configuration "$(network)"
        --deployment-configuration "deploymentCircuitBreaker={enable=true,rollback=true},$during"
    )
}

# run_revision SERVICE REVISION: returns to an existing revision and changes nothing else.
run_revision() {
    change aws ecs update-service --cluster "$ECS_CLUSTER" --service "$1" --task-definition "$2"
}
