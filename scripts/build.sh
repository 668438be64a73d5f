#!/usr/bin/env bash
# Builds the container image, and pushes it to ECR with --push.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/build.sh [--push] [--dry-run]
Without --push: builds for this machine's platform and keeps the image in Docker. With it: builds for both platforms and
pushes to ECR, whose repository is created if it does not exist.
  --dry-run   shows the calls and makes none
Variables come from the environment or the file ENV_FILE (default .env):
  AWS_REGION, ECR_REPOSITORY     required with --push
  AWS_ACCOUNT_ID=<read from STS>  IMAGE_TAG=<timestamp>
  IMAGE_PLATFORMS=linux/amd64,linux/arm64 (with --push)
  SKIP_TESTS=false               otherwise scripts/test.sh runs first
HELP
}

DRY_RUN=false
push=false
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --push) push=true; shift ;;
        --dry-run) DRY_RUN=true; shift ;;
        *) usage >&2; exit 2 ;;
    esac
done

source scripts/deploy-settings.sh
source scripts/deploy-ecs.sh
settings_begin
default SKIP_TESTS false
flag SKIP_TESTS
if $push; then
    required AWS_REGION ECR_REPOSITORY
    default IMAGE_PLATFORMS linux/amd64,linux/arm64
    $DRY_RUN || tools aws jq
else
    default ECR_REPOSITORY omen-epr
fi
$DRY_RUN || tools docker
settings_end
default IMAGE_TAG "$(date -u +%Y%m%d%H%M%S)"

if [[ $SKIP_TESTS == false ]]; then
    shown scripts/test.sh
    # The tests must not see the settings of the deployment.
    $DRY_RUN || (
        for name in "${!EPR_@}" "${!AWS_@}" RUN_MIGRATIONS; do
            [[ $name == EPR_CACHE || $name == EPR_TEST_SEED ]] || unset "$name"
        done
        scripts/test.sh
    )
fi

create_repository() {
    change aws ecr create-repository --repository-name "$ECR_REPOSITORY" \
        --image-scanning-configuration scanOnPush=true --image-tag-mutability IMMUTABLE
}

arguments=(--tag "$ECR_REPOSITORY:$IMAGE_TAG")
if $push; then
    if $DRY_RUN; then
        default AWS_ACCOUNT_ID 'ACCOUNT'
    else
        [[ -n ${AWS_ACCOUNT_ID:-} ]] || AWS_ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)
    fi
    registry=$(registry)
    arguments=(--tag "$registry/$ECR_REPOSITORY:$IMAGE_TAG" --platform "$IMAGE_PLATFORMS" --push)
    if $DRY_RUN; then
        echo "   # unless the repository $ECR_REPOSITORY exists:"
        create_repository
        echo "   aws ecr get-login-password | docker login --username AWS --password-stdin $registry"
    else
        found=$(aws ecr describe-repositories --repository-names "$ECR_REPOSITORY" 2>&1) || {
            [[ $found == *RepositoryNotFoundException* ]] || { echo "$found" >&2; exit 1; }
            create_repository
        }
        aws ecr get-login-password | docker login --username AWS --password-stdin "$registry" >/dev/null
    fi
    if [[ $IMAGE_PLATFORMS == *,* ]]; then
        # Docker's default builder builds images for one platform only.
        arguments+=(--builder epr)
        $DRY_RUN || docker buildx inspect epr >/dev/null 2>&1 ||
            change docker buildx create --name epr --driver docker-container
    fi
else
    arguments+=(--load)
fi
revision=$(git rev-parse HEAD 2>/dev/null) || revision=''
[[ -z $revision ]] || arguments+=(--label "org.opencontainers.image.revision=$revision")
shown docker buildx build "${arguments[@]}" .
$DRY_RUN || docker buildx build "${arguments[@]}" .
