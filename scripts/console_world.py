"""Fills a service with a small world of companies and people, and prints pages that show it.

A page a line: a name and an address.

Usage: console_world.py BASE TOKEN
"""

import datetime
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

BASE, TOKEN = sys.argv[1:3]
NOW = datetime.datetime.now(datetime.timezone.utc)


def call(path, body, reason=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    if reason:
        headers["EPR-Reason"] = reason
    request = urllib.request.Request(f"{BASE}/api/v1{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def moment(days):
    return (NOW + datetime.timedelta(days=days)).strftime("%Y-%m-%dT00:00:00Z")


def entity(name, kind, parent=None, external_id=None, **attributes):
    body = {"name": name, "type": kind, "attributes": attributes}
    body.update({key: value for key, value in [("parent_id", parent), ("external_id", external_id)] if value})
    return call("/entities", body)["id"]


def principal(name, external_id, **attributes):
    body = {"display_name": name, "external_id": external_id, "attributes": attributes}
    return call("/principals", body)["id"]


def assign(who, role, on=None, begins=None, ends=None, reason=None, condition=None):
    body = {"principal_id": who, "role_id": role, "entity_id": on}
    window = [("effective_at", begins), ("expires_at", ends)]
    body.update({key: moment(days) for key, days in window if days is not None})
    if condition:
        body["condition"] = condition
    return call("/assignments", body, reason)["id"]


acme = entity("Acme Estates", "issuer", external_id="crm:1001", country="DE", lei="529900T8BM49AURSDO55")
berlin = entity("Berlin One", "spv", acme, "crm:4711", country="DE", isin="DE000A1EWWW0", size_m2=18400)
leipzig = entity("Leipzig Lofts", "spv", acme, "crm:4712", country="DE", size_m2=7200)
series_a = entity("Berlin One Series A", "offering", berlin, "crm:9001", currency="EUR", volume=12_500_000)
entity("Berlin One Series B", "offering", berlin, "crm:9002", currency="EUR", volume=8_000_000)
nord = entity("Nordhaus", "issuer", external_id="crm:1002", country="DE")
entity("Hamburg Two", "spv", nord, "crm:4713", country="DE", size_m2=9900)
alpina = entity("Alpina Holding", "issuer", external_id="crm:1003", country="AT")
entity("Wien Eins", "spv", alpina, "crm:4714", country="AT", size_m2=5100)
for number, name in enumerate(["Delta Pension Fund", "Seeblick Family Office", "Municipal Fund North"]):
    entity(name, "investor", external_id=f"crm:70{number:02}")

ada = principal("Ada Lovelace", "auth0|ada", department="Fund administration")
ben = principal("Ben Okafor", "auth0|ben", department="Operations")
cleo = principal("Cleo Martin", "auth0|cleo", department="Compliance")
dora = principal("Dora Weiß", "auth0|dora", department="External audit")
emil = principal("Emil Novák", "auth0|emil", department="Operations")

reader = call("/roles", {"name": "Document reader", "description": "Reads documents",
    "permissions": ["document:download", "document:print"], "conditions": {"document:print": {
        "expression": "context.pages <= 50", "parameters": {"pages": "int"}}}})["id"]
manager = call("/roles", {"name": "SPV manager", "description": "Manages the documents of SPVs",
    "scope_types": ["spv", "offering"],
    "permissions": ["document:upload", "document:download", "document:archive"]})["id"]
officer = call("/roles", {"name": "Compliance officer", "description": "Verifies documents everywhere",
    "permissions": ["document:download", "document:verify"]})["id"]

assign(ada, reader, acme, begins=-210, ends=155, reason="FA-2291: administrator of Acme's funds")
assign(ben, manager, berlin, begins=-30, ends=5, reason="OPS-118: cover for Emil")
assign(cleo, officer, begins=-400, reason="Board decision 2025-03")
assign(dora, reader, berlin, begins=-10, ends=20, reason="Annual audit", condition={
    "expression": "inCidr(ip(context.address), \"10.20.0.0/16\")", "parameters": {"address": "string"}})
assign(emil, manager, leipzig, begins=-90, reason="OPS-097")
assign(emil, reader, nord, begins=30, ends=60, reason="FA-2310")
urllib.request.urlopen(urllib.request.Request(
    f"{BASE}/api/v1/principals/{emil}", json.dumps({"status": "suspended"}).encode(), method="PATCH",
    headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "EPR-Reason": "left the company"}))

for who, action, resource in [(ada, "document:download", series_a), (ben, "document:upload", berlin),
        (ada, "document:archive", berlin), (emil, "document:upload", leipzig), (cleo, "document:verify", alpina)]:
    call("/authorize", {"user_id": who, "action": action, "resource_id": resource})

grants = f"{BASE}/api/v1/audit/entries?action=role_assignment.create&order=asc&limit=1"
with urllib.request.urlopen(urllib.request.Request(grants, headers={"Authorization": f"Bearer {TOKEN}"})) as answer:
    granted = json.load(answer)
question = urllib.parse.urlencode({"user_id": ada, "principal_type": "user", "action": "document:download",
    "resource_id": series_a})
who_can = urllib.parse.urlencode({"list": "principals", "action": "document:download", "resource_id": berlin})
RECORDS = [
    {"kind": "principal", "external_id": "auth0|fay", "display_name": "Fay Tanaka"},
    {"kind": "role", "name": "Document reader", "description": "Reads and verifies documents",
        "permissions": ["document:download", "document:print", "document:verify"], "conditions": {"document:print": {
            "expression": "context.pages <= 50", "parameters": {"pages": "int"}}}},
    {"kind": "assignment", "principal_external_id": "auth0|fay", "role": "Document reader", "entity_type": "spv",
        "entity_name": "Leipzig Lofts", "expires_at": moment(90)},
    {"kind": "assignment", "principal_external_id": "auth0|ben", "role": "SPV manager", "entity_type": "spv",
        "entity_name": "Berlin One", "effective_at": moment(-30), "expires_at": moment(5)},
]
PAGES = {
    "check": f"/console/check?{question}",
    "who-can": f"/console/access?{who_can}",
    "entry": f"/console/ledger/{granted[0]['sequence']}",
    "assign": f"/console/change/assignment?entity_id={berlin}&role_id={reader}&principal_id={ada}",
    "tree": "/console/tree",
    "import": "/console/change/import",
    # What the form of an import gets, as words of an address.
    "records": ";".join(urllib.parse.quote(json.dumps(record)) for record in RECORDS),
}
for name, address in PAGES.items():
    print(name, address)
