# Sourced after need.sh, not run: makes sure that redis-server is there. Tests start servers of their own on free ports,
# because they also kill, stop and fill them; a service that the package may bring is left alone.
# shellcheck shell=bash

need_redis() {
    need_apt redis-server redis-server
}
