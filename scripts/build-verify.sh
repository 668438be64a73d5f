#!/usr/bin/env bash
# Builds epr-verify as one static program, which runs on any Linux of the same architecture, and checks that it contains
# nothing of EPR but the formats. The Dockerfile and scripts/test-image.sh run this.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/build-verify.sh [--profile PROFILE] [--target TRIPLE] FILE
Writes the program to FILE and prints its size. It is built without HTTP: it verifies files and folders.
  --profile PROFILE   cargo profile; default: release
  --target TRIPLE     a Rust target; default: this machine's own
HELP
}

profile=release target=()
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --profile) profile=${2:?--profile needs a name}; shift 2 ;;
        --target) target=(--target "${2:?--target needs a triple}"); shift 2 ;;
        *) break ;;
    esac
done
[[ $# == 1 ]] || { usage >&2; exit 2; }
file=$1
package=(--locked --package epr-verify --no-default-features)

# A program that only reads has no use for these.
tree=$(cargo tree "${package[@]}" --edges normal --prefix none | sed 's/ (\*)$//' | sort -u)
if grep -E '^(epr-core|sqlx|sqlx-.*|tokio|hyper|reqwest|aws-sdk-.*|redis) ' <<<"$tree"; then
    echo "epr-verify depends on what it must not contain" >&2
    exit 1
fi

folder=${CARGO_TARGET_DIR:-target}${target[1]:+/${target[1]}}/$profile
[[ $profile != dev ]] || folder=${folder%dev}debug
# The flag is for the program alone, so that its dependencies are those of every other build.
cargo rustc --quiet "${package[@]}" --profile "$profile" ${target[@]+"${target[@]}"} --bin epr-verify \
    -- -C target-feature=+crt-static
if readelf -l "$folder/epr-verify" | grep INTERP || readelf -d "$folder/epr-verify" | grep NEEDED; then
    echo "epr-verify is not static" >&2
    exit 1
fi
# Under another name first: the file may be a program that is running.
install -m 755 "$folder/epr-verify" "$file.new"
mv "$file.new" "$file"
printf 'epr-verify: static, %.1f MB, %d crates\n' "$(($(stat -c %s "$file") / 1000))e-3" "$(wc -l <<<"$tree")"
