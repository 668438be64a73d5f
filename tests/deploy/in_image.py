"""Runs a program as a container engine would: in its own mounts and processes, with FOLDER as a read-only root file
system, /app/data as the only writable volume, an unprivileged user, and only the given environment.

    unshare --mount --pid --fork --kill-child python3 in_image.py FOLDER DATA NAME=VALUE... -- PROGRAM ARGUMENT...

Under root the program becomes the user of the image (65532). Other users add `--user --map-root-user` to unshare; outside
of the namespace the program then belongs to that user.
"""

import ctypes
import os
import sys

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
IMAGE_USER = 65532
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags):
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {target}: {os.strerror(ctypes.get_errno())}")


def main():
    root, data = map(os.path.realpath, sys.argv[1:3])
    rest = sys.argv[3:]
    split = rest.index("--")
    environment = dict(setting.split("=", 1) for setting in rest[:split])
    program = rest[split + 1:]
    with open("/proc/self/uid_map") as uid_map:
        real_root = os.getuid() == 0 and uid_map.read().split() == ["0", "0", "4294967295"]

    mount("", "/", "", MS_REC | MS_PRIVATE)
    mount(root, root, "", MS_BIND)
    # An engine lays these over the image.
    mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV)
    for file in ("hosts", "resolv.conf"):
        mount("/etc/" + file, f"{root}/etc/{file}", "", MS_BIND)
    mount(data, root + "/app/data", "", MS_BIND)
    mount("", root, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)

    os.chroot(root)
    os.chdir("/app")
    if real_root:
        os.setgroups([])
        os.setgid(IMAGE_USER)
        os.setuid(IMAGE_USER)
        assert os.getuid() == IMAGE_USER
    try:
        os.mkdir("/app/written")
    except OSError:
        pass
    else:
        sys.exit("the root file system can be written to")
    environment.update(PATH="/usr/local/bin", SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt")
    os.execve("/usr/local/bin/" + program[0], program, environment)


main()
