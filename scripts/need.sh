# Sourced, not run: installs what a script needs if the machine lacks it.
# shellcheck shell=bash

# The folder for tools and build results that runs and clones share.
EPR_CACHE=${EPR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/omen-epr}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$EPR_CACHE/target}

# say TEXT: a heading, with the time, so that the log of a run shows what takes long.
say() { printf '\n== %s (%(%T)T)\n' "$*"; }

# need_apt COMMAND PACKAGE: installs PACKAGE unless COMMAND exists.
need_apt() {
    command -v "$1" >/dev/null 2>&1 && return
    say "installing $2"
    local run=()
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null 2>&1 || { echo "$2 is missing: install it, or run this as root" >&2; exit 1; }
        run=(sudo)
    fi
    if [[ -z ${EPR_APT_UPDATED:-} ]]; then
        "${run[@]}" apt-get update -qq
        EPR_APT_UPDATED=1
    fi
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# need_cargo COMMAND CRATE VERSION: installs exactly this version of a cargo tool into the cache.
need_cargo() {
    local root=$EPR_CACHE/tools
    export PATH=$root/bin:$PATH
    [[ -x $root/bin/$1 && $("$root/bin/$1" --version 2>/dev/null) == *"$3"* ]] && return
    say "installing $2 $3"
    CARGO_TARGET_DIR=$EPR_CACHE/tools-target cargo install --quiet --locked --root "$root" --version "$3" "$2"
}

# need_python PACKAGE VERSION [EXTRA]: installs exactly this version of a Python package, in a virtual environment in
# the cache.
need_python() {
    local venv=$EPR_CACHE/python
    export PATH=$venv/bin:$PATH
    # Not `grep -q`: it would close the pipe early, which makes pip fail.
    [[ -x $venv/bin/pip ]] && "$venv/bin/pip" show "$1" 2>/dev/null | grep -x "Version: $2" >/dev/null && return
    say "installing $1 $2"
    [[ -x $venv/bin/pip ]] || python3 -m venv "$venv" 2>/dev/null || {
        need_apt /no/such/command python3-venv
        python3 -m venv --clear "$venv"
    }
    "$venv/bin/pip" install --quiet "$1${3:-}==$2"
}

# need_npm PACKAGE VERSION [NAME]: installs exactly this version of an npm package into the cache and adds its programs
# to PATH. With another NAME for each, several versions of a package are there at once.
need_npm() {
    local folder=$EPR_CACHE/npm name=${3:-$1}
    export PATH=$folder/node_modules/.bin:$PATH
    grep -qs "\"version\": \"$2\"" "$folder/node_modules/$name/package.json" && return
    need_apt node nodejs
    need_apt npm npm
    say "installing $1 $2"
    mkdir -p "$folder"
    npm install --silent --no-fund --no-audit --prefix "$folder" "$name@npm:$1@$2" >/dev/null
}

# need_typescript: the compiler and the types of Node.js, which check the examples and the generated clients.
need_typescript() {
    need_npm typescript 5.9.3
    need_npm @types/node 20.19.0
}

# free_port: prints an unused TCP port on the loopback address.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_for_port PORT NAME: returns when a connection to the port is accepted; fails after 30 s, naming the program.
wait_for_port() {
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.1
    done
    echo "$2 did not start" >&2
    return 1
}

# need_component COMMAND COMPONENT: installs a component of the Rust toolchain.
need_component() {
    "cargo-$1" --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null 2>&1 || { echo "cargo $1 is missing: install the Rust component $2" >&2; exit 1; }
    rustup component add "$2"
}

need_rust() {
    command -v cargo >/dev/null 2>&1 || {
        echo "cargo is missing: install Rust 1.95 or later (https://rustup.rs)" >&2
        exit 1
    }
    need_apt cc gcc
    # The headers of the C library, which are not part of gcc.
    [[ -e /usr/include/stdlib.h ]] || need_apt /usr/include/stdlib.h libc6-dev
    # The script of the console, which its build embeds.
    local version
    read -r version _ <"$(dirname "${BASH_SOURCE[0]}")/../runtimes/console/htmx.version"
    need_npm htmx.org "$version"
    export HTMX_FILE=$EPR_CACHE/npm/node_modules/htmx.org/dist/htmx.min.js
}
