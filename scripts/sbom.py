#!/usr/bin/env python3
"""The software bill of materials of the image's programs, as CycloneDX 1.5 in JSON, on standard output.

Usage: scripts/sbom.py RUST_TARGET

Lists what is linked into the programs for that target: the crates that `cargo tree` names for exactly these packages and
their features, with the licences of `cargo metadata` and the checksums of Cargo.lock. Crates that only run in the build
(build scripts, procedural macros) and in tests are not in the programs and not in the list. The same sources give the same
text. cargo-cyclonedx lists a package at a time with the features of the whole workspace, the tests' own among them, and
takes minutes to compile in the image's build.
"""

import json
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

PROGRAMS = {"epr-api": "epr-api", "epr-audit-worker": "epr-audit-worker", "epr-cli": "epr", "epr-verify": "epr-verify"}
ROOT = Path(__file__).resolve().parent.parent
# A line of `cargo tree --prefix depth`: `2hyper v1.9.0 (*)`.
LINE = re.compile(r"(?P<depth>\d+)(?P<name>\S+) v(?P<version>\S+)")


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(target):
    """The crates in the programs, each with the crates that it uses."""
    packages = [argument for name in PROGRAMS for argument in ("--package", name)]
    uses, path = {}, []
    for line in cargo("tree", "--locked", "--quiet", "--edges", "normal,no-proc-macro", "--prefix", "depth",
                      "--target", target, *packages).splitlines():
        found = LINE.match(line)
        if not found:
            continue
        crate, depth = (found["name"], found["version"]), int(found["depth"])
        uses.setdefault(crate, set())
        del path[depth:]
        if path:
            uses[path[-1]].add(crate)
        path.append(crate)
    return uses


def component(crate, package, checksum):
    name, version = crate
    described = {
        "type": "application" if name in PROGRAMS else "library",
        "bom-ref": reference(crate),
        "name": name,
        "version": version,
        "scope": "required",
        # Older crates write the choice between two licences as a slash.
        "licenses": [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}],
    }
    if checksum:
        described["purl"] = reference(crate)
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def reference(crate):
    return f"pkg:cargo/{crate[0]}@{crate[1]}"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 0 if sys.argv[1:] == ["--help"] else 2
    target = sys.argv[1]
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    uses = linked(target)
    version = next(version for name, version in uses if name == "epr-api")
    image = {"type": "container", "bom-ref": "omen-epr", "name": "omen-epr", "version": version,
             "properties": [{"name": "target", "value": target}]}
    components = [component(crate, packages[crate], checksums[crate]) for crate in sorted(uses)]
    programs = [reference(crate) for crate in sorted(uses) if crate[0] in PROGRAMS]
    dependencies = [{"ref": "omen-epr", "dependsOn": programs}] + [
        {"ref": reference(crate), "dependsOn": [reference(used) for used in sorted(uses[crate])]} for crate in sorted(uses)]
    content = {"metadata": {"component": image}, "components": components, "dependencies": dependencies}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}
    json.dump(bill, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
