"""Prints the pages of the console for the data of a service, a name and an address a line. Forms for changes have names
that begin with `change-`, pages that need no session with `guest-`.

Usage: console_pages.py BASE TOKEN
"""

import json
import sys
import urllib.parse
import urllib.request

BASE, TOKEN = sys.argv[1:3]


def get(path):
    request = urllib.request.Request(BASE + path, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


# A role on an entity that reaches everything below it.
roles = {role["id"]: role for role in get("/api/v1/roles?limit=200") if not role["scope_types"]}
assignments = get("/api/v1/assignments?limit=200")
assignment = next(one for one in assignments if one["entity_id"] and one["role_id"] in roles)
role = roles[assignment["role_id"]]
children = get(f"/api/v1/entities?ancestor_id={assignment['entity_id']}&limit=1")
made = get(f"/api/v1/audit/entries?entity_id={role['id']}&order=asc&limit=1")[0]["sequence"]
newest = get("/api/v1/audit/entries?limit=1")[0]["sequence"]
resource = children[0]["id"] if children else assignment["entity_id"]
action = urllib.parse.quote(role["permissions"][0])
principal = f"principal_type={assignment['principal_type']}"
who = assignment["principal_id"]

PAGES = {
    "home": "/console",
    "entities": "/console/entities",
    "entity": f"/console/entities/{resource}",
    "entity-past": f"/console/entities/{resource}?at=2099-01-01",
    "tree": "/console/tree",
    "level": f"/console/tree?under={assignment['entity_id']}",
    "assignments-here": f"/console/entities/{assignment['entity_id']}/assignments/here",
    "assignments-inherited": f"/console/entities/{resource}/assignments/inherited",
    "assignments-below": f"/console/entities/{assignment['entity_id']}/assignments/below",
    "principals": "/console/principals",
    "principal": f"/console/principal?type={assignment['principal_type']}&id={who}",
    "roles": "/console/roles",
    "role": f"/console/roles/{role['id']}",
    "role-difference": f"/console/roles/{role['id']}/difference?from={made}&to={newest}",
    "assignment": f"/console/assignments/{assignment['id']}",
    "expiring": "/console/attention/expiring",
    "never-effective": "/console/attention/never-effective",
    "global": "/console/attention/global",
    "orphans": "/console/attention/orphans",
    "check-form": "/console/check",
    "check-allowed": f"/console/check?user_id={who}&{principal}&action={action}&resource_id={resource}",
    "check-denied": f"/console/check?user_id={who}&{principal}&action=nothing&resource_id={resource}",
    "access-form": "/console/access",
    "who-can": f"/console/access?list=principals&action={action}&resource_id={resource}",
    "what-can": f"/console/access?list=resources&principal_id={who}&{principal}&action={action}",
    "which-actions": f"/console/access?list=actions&principal_id={who}&{principal}&resource_id={resource}",
    "ledger": "/console/ledger",
    "entry": "/console/ledger/1",
    "checkpoint": "/console/ledger/checkpoint",
    "events": "/console/events",
    "health": "/console/health",
    "guest-login": "/console/login",
    "change-entity-create": f"/console/change/entity?parent_id={resource}",
    "change-entity": f"/console/change/entity?id={resource}",
    "change-role-create": "/console/change/role",
    "change-role": f"/console/change/role?id={role['id']}",
    "change-assignment": f"/console/change/assignment?entity_id={resource}&role_id={role['id']}",
    "change-revoke": f"/console/change/revoke?id={assignment['id']}",
    "change-suspension": f"/console/change/suspension?type={assignment['principal_type']}&id={who}&status=suspended",
    "change-import": "/console/change/import",
    "change-requeue": "/console/change/requeue?all=1",
    "change-made": "/console/changed?form=none",
}
for name, address in PAGES.items():
    print(name, address)
