#!/usr/bin/env python3
"""Create an entity and a role, assign it, check. Python 3.9 or later, nothing else.

Usage: check.py [URL]    EPR_TOKEN is sent as bearer token where it is set.
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


def allowed(user, action, resource):
    question = {"user_id": user, "action": action, "resource_id": resource}
    return call("/api/v1/authorize", question)["authorized"]


user, name = str(uuid.uuid4()), str(uuid.uuid4())
issuer = call("/api/v1/entities", {"name": f"Acme {name}", "type": "issuer"})
spv = call("/api/v1/entities", {"name": f"Berlin {name}", "type": "spv", "parent_id": issuer["id"]})
role = call("/api/v1/roles", {"name": f"Reader {name}", "permissions": ["document:download"]})
print("before:", allowed(user, "document:download", spv["id"]))
call("/api/v1/assignments", {"principal_id": user, "role_id": role["id"], "entity_id": issuer["id"]})
print("after:", allowed(user, "document:download", spv["id"]))
