# Sourced after need.sh, not run: installs redis-server if it is missing. Tests start servers of their own on free
# ports, because they also kill, stop and fill them; they do not touch a service that the package may start.
# shellcheck shell=bash

need_redis() {
    need_apt redis-server redis-server
}
