"""sbom_check.py BILL PROGRAM...: whether a bill of materials is valid CycloneDX 1.5, and lists what is in the programs.

The programs name the crates themselves: the place of every panic is a path below the registry's folder. What is only in the
bill is not found, because not every crate can panic.
"""

import json
import re
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

PLACE = re.compile(rb"registry/src/[^/]+/([A-Za-z0-9_-]+?)-([0-9]+\.[0-9]+\.[0-9][A-Za-z0-9.+-]*)/")

bill_path, *programs = sys.argv[1:]
text = Path(bill_path).read_text()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
if error is not None:
    sys.exit(f"the bill is not valid: {error}")
bill = json.loads(text)
listed = {(one["name"], one["version"]): one for one in bill["components"]}
if len(listed) != len(bill["components"]):
    sys.exit("a crate is listed twice")
missing = []
for program in programs:
    found = {(name.decode(), version.decode()) for name, version in PLACE.findall(Path(program).read_bytes())}
    # The smallest program names 16 in a build without optimisation.
    if len(found) < 5:
        sys.exit(f"{program} names only {len(found)} crates: their paths are not in it")
    missing += [f"{program}: {name} {version}" for name, version in sorted(found - set(listed))]
if missing:
    sys.exit("not in the bill:\n" + "\n".join(missing))
# EPR's own crates have neither a package in the registry nor its checksum.
bare = [one["name"] for one in bill["components"] if "hashes" not in one and not one["name"].startswith("epr-")]
if bare != ["webpki-roots"]:
    sys.exit(f"without a checksum: {bare}")
tests_only = {"rstest", "proptest", "plotters", "tempfile"} & {name for name, _ in listed}
if tests_only:
    sys.exit(f"only in tests, and yet in the bill: {tests_only}")
references = {one["bom-ref"] for one in bill["components"]}
dangling = {used for one in bill["dependencies"] for used in one["dependsOn"]} - references
if dangling:
    sys.exit(f"used and not listed: {dangling}")
print(f"{len(listed)} crates")
