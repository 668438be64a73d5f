#!/usr/bin/env bash
# Assembles the file system of the image: the programs, their bill of materials, the shared libraries that they need,
# certificate authorities, a user, and a folder for data. The Dockerfile runs this, and so does scripts/test-image.sh on a machine without a
# container engine.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/image-root.sh [--sysroot FOLDER] BINARIES VERIFIER ROOT
Creates the folder ROOT (which must not exist) from the programs in the folder BINARIES and from the static program
VERIFIER (scripts/build-verify.sh).
  --sysroot FOLDER   take the shared libraries from there; default: this machine's own
HELP
}

sysroot=''
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --sysroot) sysroot=${2:?}; shift 2 ;;
        *) break ;;
    esac
done
[[ $# == 3 ]] || { usage >&2; exit 2; }
binaries=$1 verifier=$2 root=$3
user=65532
programs=(epr-api epr-audit-worker epr)

[[ ! -e $root ]] || { echo "$root is already there" >&2; exit 1; }
mkdir -p "$root"/{usr/local/bin,etc/ssl/certs,etc/ssl/epr,app/data,tmp}
chmod 1777 "$root/tmp"
for program in "${programs[@]}"; do
    install -m 755 "$binaries/$program" "$root/usr/local/bin/$program"
done
install -m 755 "$verifier" "$root/usr/local/bin/epr-verify"
# Task definitions of the older implementation start `python` or `uvicorn`: epr-api runs the program that does their
# work.
for name in python python3 uvicorn; do
    ln -s epr-api "$root/usr/local/bin/$name"
done

# needed FILE: the shared libraries that it names.
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
loader=$(readelf -l "$root/usr/local/bin/epr-api" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
case $loader in
    */ld-linux-x86-64.so.2) triplet=x86_64-linux-gnu rust_target=x86_64-unknown-linux-gnu ;;
    */ld-linux-aarch64.so.1) triplet=aarch64-linux-gnu rust_target=aarch64-unknown-linux-gnu ;;
    *) echo "epr-api is for a platform that the image is not made for (its loader is '$loader')" >&2; exit 1 ;;
esac

# library NAME: where it is.
library() {
    local folder
    for folder in "$sysroot"/{lib,usr/lib}/"$triplet" "$sysroot"/{lib64,usr/lib64,lib,usr/lib}; do
        [[ -e $folder/$1 ]] && { echo "$folder/$1"; return; }
    done
    echo "the shared library $1 is not in ${sysroot:-/}" >&2
    return 1
}

mkdir -p "$root/lib/$triplet" "$root$(dirname "$loader")"
install -m 755 "$(library "$(basename "$loader")")" "$root$loader"
queue=()
for program in "${programs[@]}"; do
    while read -r name; do queue+=("$name"); done < <(needed "$root/usr/local/bin/$program")
done
while ((${#queue[@]})); do
    name=${queue[0]} queue=("${queue[@]:1}")
    [[ ! -e $root/lib/$triplet/$name && $name != "$(basename "$loader")" ]] || continue
    install -m 644 "$(library "$name")" "$root/lib/$triplet/$name"
    while read -r more; do queue+=("$more"); done < <(needed "$root/lib/$triplet/$name")
done

# Image scanners read from here which packages the libraries come from.
if [[ -d $sysroot/packages ]]; then
    mkdir -p "$root/var/lib/dpkg"
    cp -r "$sysroot/packages" "$root/var/lib/dpkg/status.d"
fi

# Where image scanners look for the crates in the programs.
mkdir -p "$root/usr/local/share/epr"
scripts/sbom.py "$rust_target" >"$root/usr/local/share/epr/sbom.cdx.json"

install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
find infra/certs -name '*.pem' -exec install -m 644 -t "$root/etc/ssl/epr" {} +
echo "epr:x:$user:$user::/app:/nonexistent" >"$root/etc/passwd"
echo "epr:x:$user:" >"$root/etc/group"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
# Without root, the data folder belongs to the user that runs this script.
[[ $(id -u) != 0 ]] || chown "$user:$user" "$root/app" "$root/app/data"
