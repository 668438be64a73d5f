#!/usr/bin/env bash
# Compiles epr-core with the feature combinations that embedding programs use, and counts the crates of the smallest
# one.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/test-features.sh
Compiles epr-core without features, with `sqlite`, and with `postgres`, without warnings. Fails when an embedded service
(`sqlite` only) needs 120 crates or more.
HELP
    exit 0
fi
source scripts/need.sh
need_rust

export RUSTFLAGS="${RUSTFLAGS:-} -D warnings"
for features in "" sqlite postgres; do
    say "epr-core with the features: ${features:-none}"
    cargo check --quiet --locked -p epr-core --no-default-features --features "$features" \
        --target-dir "$CARGO_TARGET_DIR/features"
done
crates=$(cargo tree --quiet --locked -p epr-core --no-default-features --features sqlite -e normal,build --prefix none |
    sed 's/ (\*)$//' | sort -u | grep -cv '^epr-core ')
echo "an embedded service compiles $crates crates besides epr-core"
((crates < 120))
