# Sourced, not run: reads the variables of build, deploy, rollback and smoke from the environment and, with lower
# precedence, from the file ENV_FILE (default .env), by the service's own rules: nothing in it is expanded or executed.
# shellcheck shell=bash

# The variables that are read from the file, in addition to all that begin with EPR_ or AWS_.
DEPLOY_VARIABLES=(
    ECR_REPOSITORY ECS_CLUSTER ECS_SERVICE ECS_SUBNET_IDS ECS_SECURITY_GROUP_IDS EXECUTION_ROLE_ARN TASK_ROLE_ARN
    TASK_FAMILY CONTAINER_NAME TASK_CPU TASK_MEMORY DESIRED_COUNT IMAGE_TAG IMAGE_PLATFORMS SKIP_BUILD SKIP_TESTS
    CLOUDWATCH_LOG_GROUP CLOUDWATCH_STREAM_PREFIX LOG_RETENTION_DAYS ECS_ENABLE_EXECUTE_COMMAND ECS_ASSIGN_PUBLIC_IP
    ECS_LAUNCH_TYPE ECS_PLATFORM_VERSION ECS_CPU_ARCHITECTURE ECS_TARGET_GROUP_ARN DEPLOY_WORKER DEPLOY_TIMEOUT
    DEPLOY_POLL WORKER_SERVICE WORKER_TASK_FAMILY WORKER_TASK_CPU WORKER_TASK_MEMORY WORKER_DESIRED_COUNT RUN_MIGRATIONS
    SMOKE_URL SMOKE_TOKEN
)

# Errors found so far; `settings_end` reports all of them at once.
ERRORS=()

trimmed() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf '%s' "${text%"${text##*[![:space:]]}"}"
}

# ends_value REST: nothing follows a quoted value, or a comment.
ends_value() { [[ $1 =~ ^[[:space:]]*$ || $1 =~ ^[[:space:]]+# ]]; }

# quoted VALUE: prints the text in its quotes: '...' literally, "..." with the escapes \n, \" and \\ read from left to
# right. Fails when there are no quotes, or when anything but a comment follows them.
quoted() {
    local value=$1 inside='' at letter
    case $value in
        \'*)
            for ((at = 1; at < ${#value}; at++)); do
                if [[ ${value:at:1} == \' ]] && ends_value "${value:at+1}"; then
                    printf '%s' "${value:1:at-1}"
                    return 0
                fi
            done
            ;;
        \"*)
            for ((at = 1; at < ${#value}; at++)); do
                letter=${value:at:1}
                case $letter in
                    \")
                        ends_value "${value:at+1}" || return 1
                        printf '%s' "$inside"
                        return 0
                        ;;
                    \\)
                        at=$((at + 1))
                        case ${value:at:1} in
                            n) inside+=$'\n' ;;
                            \" | \\) inside+=${value:at:1} ;;
                            *) inside+="\\${value:at:1}" ;;
                        esac
                        ;;
                    *) inside+=$letter ;;
                esac
            done
            ;;
    esac
    return 1
}

# value_of TEXT: the value in TEXT, which follows the equals sign: the text in its quotes, else everything before ` #`.
value_of() {
    quoted "$(trimmed "$1")" || trimmed "${1%%' #'*}"
}

# read_env_file FILE: exports each variable that is unset or empty in the environment. docs/SETTINGS.md has the grammar
# of the file, tests/vectors/dot_env.json its cases.
read_env_file() {
    local file=$1 line name value number=0
    local -A values=()
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        ((number > 1)) || line=${line#$'\xef\xbb\xbf'}
        line=$(trimmed "$line")
        [[ -n $line && $line != '#'* ]] || continue
        line=${line#export }
        name=$(trimmed "${line%%=*}")
        if [[ $line != *=* || ! $name =~ ^[A-Za-z0-9_]+$ ]]; then
            # The line may contain a secret and is not shown.
            ERRORS+=("$file: line $number is not of the form NAME=value")
            return
        fi
        [[ $name == EPR_* || $name == AWS_* || " ${DEPLOY_VARIABLES[*]} " == *" $name "* ]] || continue
        # The dot preserves a line break at the end of the value, which $( ) would remove.
        value=$(value_of "${line#*=}"; printf .)
        values[$name]=${value%.}
    done <"$file"
    for name in "${!values[@]}"; do
        [[ -n ${!name:-} ]] || export "$name=${values[$name]}"
    done
}

settings_begin() {
    local file=${ENV_FILE:-.env} name
    if [[ -r $file && ! -d $file ]]; then
        read_env_file "$file"
    elif [[ -n ${ENV_FILE:-} ]]; then
        ERRORS+=("ENV_FILE is $ENV_FILE, which does not exist")
    fi
    # jq and the called programs read them from the environment.
    for name in "${DEPLOY_VARIABLES[@]}"; do
        [[ -z ${!name+set} ]] || export "${name?}"
    done
    export AWS_REGION=${AWS_REGION:-} AWS_PAGER=''
    # Some versions of the AWS CLI read only this variable.
    [[ -z $AWS_REGION ]] || export AWS_DEFAULT_REGION=$AWS_REGION
}

# default NAME VALUE
default() {
    [[ -n ${!1:-} ]] || export "$1=$2"
}

# required NAME...: adds an error for each that is missing.
required() {
    local name
    for name in "$@"; do
        [[ $(trimmed "${!name:-}") != '' ]] || ERRORS+=("$name is missing")
    done
}

# flag NAME: normalizes the service's spellings of a truth value to `true` or `false`.
flag() {
    case ${!1,,} in
        true | 1 | yes | on) export "$1=true" ;;
        false | 0 | no | off) export "$1=false" ;;
        *) ERRORS+=("$1 is '${!1}'; allowed: true or false") ;;
    esac
}

# number NAME MIN
number() {
    [[ ${!1} =~ ^[0-9]{1,6}$ ]] && ((10#${!1} >= $2)) || ERRORS+=("$1 is '${!1}'; allowed: a whole number from $2")
}

# choice NAME VALUE...
choice() {
    local name=$1 allowed
    shift
    for allowed in "$@"; do
        [[ ${!name} != "$allowed" ]] || return 0
    done
    ERRORS+=("$name is '${!name}'; allowed: $*")
}

# tools COMMAND...: adds an error for each command that this machine lacks.
tools() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || ERRORS+=("the command $tool is not installed")
    done
}

settings_end() {
    ((${#ERRORS[@]} > 0)) || return 0
    printf '%s\n' "${ERRORS[@]}" >&2
    echo "nothing was done; see $0 --help" >&2
    exit 2
}

# The variables of the service and of its task, with their defaults.
deployment_settings() {
    required AWS_REGION ECR_REPOSITORY ECS_CLUSTER ECS_SERVICE ECS_SUBNET_IDS ECS_SECURITY_GROUP_IDS \
        EXECUTION_ROLE_ARN TASK_ROLE_ARN EPR_DATABASE_URL EPR_REDIS_URL EPR_DOCUMENT_VAULT_TOPIC_ARN
    # Only the REST interface has a token; Redis has its password in the URL.
    [[ ${EPR_REDIS_URL:-} == redis://* || ${EPR_REDIS_URL:-} == rediss://* ]] || required EPR_REDIS_TOKEN
    export EPR_REDIS_TOKEN=${EPR_REDIS_TOKEN:-} EPR_AUDIT_SQS_URL=${EPR_AUDIT_SQS_URL:-}
    default TASK_FAMILY omen-epr
    default CONTAINER_NAME omen-epr
    default TASK_CPU 512
    default TASK_MEMORY 1024
    # An update changes the count only if it is given: auto-scaling may have set it.
    # shellcheck disable=SC2034 # deploy.sh reads it
    DESIRED_COUNT_SAID=${DESIRED_COUNT:-}
    default DESIRED_COUNT 1
    default EPR_ENVIRONMENT production
    default EPR_LOG_LEVEL INFO
    default EPR_LOG_JSON true
    default EPR_SQL_ECHO false
    default EPR_REDIS_CACHE_PREFIX epr
    default EPR_REDIS_CACHE_TTL 300
    default EPR_AUDIT_SQS_MAX_MESSAGES 5
    default EPR_AUDIT_SQS_WAIT_TIME 20
    default EPR_AUDIT_SQS_VISIBILITY_TIMEOUT 60
    default SKIP_BUILD false
    default SKIP_TESTS true
    default CLOUDWATCH_LOG_GROUP "/ecs/$TASK_FAMILY"
    default CLOUDWATCH_STREAM_PREFIX ecs
    default LOG_RETENTION_DAYS 30
    default ECS_ENABLE_EXECUTE_COMMAND false
    default ECS_ASSIGN_PUBLIC_IP ENABLED
    default ECS_LAUNCH_TYPE FARGATE
    default ECS_PLATFORM_VERSION LATEST
    default ECS_CPU_ARCHITECTURE X86_64
    default DEPLOY_WORKER sidecar
    worker_settings
    waiting_settings
    # shellcheck disable=SC2034 # deploy.sh reads it
    WORKER_COUNT_SAID=${WORKER_DESIRED_COUNT:-}
    default WORKER_DESIRED_COUNT 1

    flag SKIP_BUILD
    flag SKIP_TESTS
    flag ECS_ENABLE_EXECUTE_COMMAND
    number DESIRED_COUNT 0
    number WORKER_DESIRED_COUNT 0
    number LOG_RETENTION_DAYS 1
    choice DEPLOY_WORKER sidecar service none
    choice ECS_ASSIGN_PUBLIC_IP ENABLED DISABLED
    choice ECS_LAUNCH_TYPE FARGATE EC2
    choice ECS_CPU_ARCHITECTURE X86_64 ARM64
    [[ $DEPLOY_WORKER != service || -n $EPR_AUDIT_SQS_URL ]] ||
        ERRORS+=("EPR_AUDIT_SQS_URL is missing: DEPLOY_WORKER=service is a service that reads this queue")
}

worker_settings() {
    default WORKER_SERVICE "${ECS_SERVICE:-}-worker"
    default WORKER_TASK_FAMILY "${TASK_FAMILY:-omen-epr}-worker"
    default WORKER_TASK_CPU 256
    default WORKER_TASK_MEMORY 512
}

waiting_settings() {
    default DEPLOY_TIMEOUT 900
    default DEPLOY_POLL 10
    number DEPLOY_TIMEOUT 1
    number DEPLOY_POLL 0
}
