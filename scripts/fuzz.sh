#!/usr/bin/env bash
# Fuzzes the parsers of untrusted bytes: messages, JSON, the canonical form, credentials, database URLs, conditions, page
# tokens, and what epr-verify reads.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/fuzz.sh [SECONDS] [TARGET...]
Runs each target (all of them unless named) for SECONDS (10) on the stored corpus in fuzz/corpus, as many at a time as
there are cores.
New inputs go to a folder in the target folder, not into the stored corpus. A finding fails the run and leaves its input
in fuzz/artifacts. `cargo fuzz run TARGET` works as well, with a nightly toolchain.
HELP
    exit 0
fi
source scripts/need.sh
need_rust
need_apt c++ g++
seconds=${1:-10}
shift || true
targets=("$@")
((${#targets[@]})) || targets=(
    message canonical json database_url credential condition page_token note checkpoint proof tile export
)

# The flags of cargo-fuzz without a sanitizer: EPR has no unsafe code for one to check.
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing'
host=$(rustc -vV | sed -n 's/^host: //p')
build=$CARGO_TARGET_DIR/fuzz
# With --target, so that build scripts and macros are not instrumented.
CARGO_TARGET_DIR=$build RUSTFLAGS=$coverage cargo build --quiet --locked --release \
    --manifest-path fuzz/Cargo.toml --target "$host"

# fuzz TARGET: prints its log when it ends.
fuzz() {
    local target=$1 found=$build/found/$1 artifacts=fuzz/artifacts/$1/ log=$build/$1.log
    mkdir -p "$found" "$artifacts"
    if ! "$build/$host/release/$target" "$found" "fuzz/corpus/$target" -max_total_time="$seconds" -max_len=16384 \
        -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$artifacts" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "$target: a finding; its input is in $artifacts" >&2
        return 1
    fi
    echo "fuzzed $target for $seconds s"
    grep -E 'number_of_executed_units|average_exec_per_sec' "$log"
}

export -f fuzz
export build host seconds
# shellcheck disable=SC2016 # expanded by the shell that xargs starts
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -n 1 bash -euo pipefail -c 'fuzz "$0"'
