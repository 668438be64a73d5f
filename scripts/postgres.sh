# Sourced after need.sh, not run: starts a throw-away PostgreSQL server on a free port and stops it when the shell ends.
# Sets EPR_TEST_POSTGRES_URL. PG_OPTIONS has further options of the server; PG_BIN names the folder of another version.
# PostgreSQL refuses to run as root; root therefore runs it as the user `postgres`.
# shellcheck shell=bash

pg_bin() {
    local folder
    [[ -z ${PG_BIN:-} ]] || { echo "$PG_BIN"; return; }
    for folder in /usr/lib/postgresql/*/bin; do
        [[ -x $folder/initdb ]] && { echo "$folder"; return; }
    done
    local found
    found=$(command -v initdb) || return 0
    dirname "$found"
}

as_pg() {
    if [[ $(id -u) == 0 ]]; then runuser -u postgres -- "$@"; else "$@"; fi
}

need_postgres() {
    [[ -n $(pg_bin) ]] || need_apt /no/such/command postgresql
}

start_postgres() {
    local bin port
    bin=$(pg_bin)
    [[ -n $bin ]] || { echo "no PostgreSQL server found: apt-get install postgresql" >&2; return 1; }
    PG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/epr-pg.XXXXXX")
    [[ $(id -u) != 0 ]] || chown postgres "$PG_DIR"
    (cd "$PG_DIR" && as_pg "$bin/initdb" -D "$PG_DIR/data" -U epr -A trust -E UTF8 --no-locale >"$PG_DIR.log")
    port=$(free_port)
    local options="-p $port -k $PG_DIR -h 127.0.0.1 -c max_connections=300 ${PG_OPTIONS:-}"
    (cd "$PG_DIR" && as_pg "$bin/pg_ctl" -D "$PG_DIR/data" -w -l "$PG_DIR/data/log" -o "$options" start >>"$PG_DIR.log")
    PG_CTL=$bin/pg_ctl
    export EPR_TEST_POSTGRES_URL=postgres://epr@127.0.0.1:$port
}

stop_postgres() {
    [[ -n ${PG_DIR:-} ]] || return 0
    (cd "$PG_DIR" && as_pg "${PG_CTL:-pg_ctl}" -D "$PG_DIR/data" -m immediate stop >/dev/null 2>&1) || true
    rm -rf "$PG_DIR" "$PG_DIR.log"
}
