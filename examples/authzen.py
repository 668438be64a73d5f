#!/usr/bin/env python3
"""Ask EPR by the AuthZEN Authorization API 1.0, in the names of another system. Python 3.9 or later, nothing else.

Usage: authzen.py [URL]    EPR_TOKEN is sent as bearer token where it is set.
"""
import json
import os
import sys
import urllib.request
import uuid

BASE = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8080"


def call(path, body):
    headers = {"Content-Type": "application/json"}
    if os.environ.get("EPR_TOKEN"):
        headers["Authorization"] = "Bearer " + os.environ["EPR_TOKEN"]
    request = urllib.request.Request(BASE + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def decisions(subject, action, resources):
    """One decision for each resource, in one call."""
    items = [{"resource": {"type": "spv", "id": resource}} for resource in resources]
    question = {"subject": {"type": "user", "id": subject}, "action": {"name": action}, "evaluations": items}
    return [item["decision"] for item in call("/access/v1/evaluations", question)["evaluations"]]


alice, berlin = f"alice-{uuid.uuid4()}@example.com", f"berlin-{uuid.uuid4()}"
call("/api/v1/principals", {"external_id": alice})
spv = call("/api/v1/entities", {"name": berlin, "type": "spv", "external_id": berlin})
role = call("/api/v1/roles", {"name": f"Reader {uuid.uuid4()}", "permissions": ["can_read"]})
print("before:", decisions(alice, "can_read", [berlin])[0])
call("/api/v1/assignments", {"principal_external_id": alice, "role_id": role["id"], "entity_id": spv["id"]})
print("after:", decisions(alice, "can_read", [berlin, "unknown"])[0])
