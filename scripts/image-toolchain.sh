#!/usr/bin/env bash
# Run by the Dockerfile, on Debian: installs the toolchain for an architecture, the builder's own or the other one.
set -euo pipefail

if [[ $# != 1 || $1 == --help ]]; then
    cat <<'HELP'
Usage: scripts/image-toolchain.sh amd64|arm64
Installs the linker and the Rust standard library for that architecture and unpacks Debian's C library and libgcc for it
into /sysroot, with /sysroot/rust-target naming the Rust target and /sysroot/packages describing the packages, for image
scanners. It changes the machine; use it in a throw-away container.
HELP
    exit $(($# == 1 ? 0 : 2))
fi
arch=$1
case $arch in
    amd64) rust_target=x86_64-unknown-linux-gnu; cross=gcc-x86-64-linux-gnu; cross_headers=libc6-dev-amd64-cross ;;
    arm64) rust_target=aarch64-unknown-linux-gnu; cross=gcc-aarch64-linux-gnu; cross_headers=libc6-dev-arm64-cross ;;
    *) echo "no image for the architecture $arch" >&2; exit 2 ;;
esac

# Python writes the bill of materials.
packages=(gcc libc6-dev ca-certificates binutils python3)
if [[ $(dpkg --print-architecture) != "$arch" ]]; then
    dpkg --add-architecture "$arch"
    packages+=("$cross" "$cross_headers")
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
rustup target add "$rust_target"

# The libraries come from the target's own packages, not from the cross compiler's copies, which receive no security
# fixes.
mkdir -p /sysroot/packages /sysroot/debs
cd /sysroot/debs
apt-get -o APT::Sandbox::User=root download -qq "libc6:$arch" "libgcc-s1:$arch"
for deb in *.deb; do
    dpkg-deb -x "$deb" /sysroot
    dpkg-deb -f "$deb" >"/sysroot/packages/$(dpkg-deb -f "$deb" Package)"
done
echo "$rust_target" >/sysroot/rust-target
rm -rf /sysroot/debs /var/lib/apt/lists/*
