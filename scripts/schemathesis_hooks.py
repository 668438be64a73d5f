"""What the OpenAPI document cannot say about valid input, so that every positive case is one.

Ids in bodies must belong to something that exists, a window must end after it begins, and a cursor is what a list gave
out. In positive cases such values are exchanged for ones that fit; negative cases are left alone.
"""
import json
import os
import re
import urllib.parse
import urllib.request
import uuid

import schemathesis

UUID = re.compile(r"^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")


def made(base, path, body):
    """The id of something that exists on this service: new each time, since other cases change what they find."""
    body["name"] = f"made for schemathesis {uuid.uuid4()}"
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["EPR_API_TOKEN"]}
    request = urllib.request.Request(base.rstrip("/") + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["id"]


def kept(value):
    """The same with every integer brought into the 64 bits that are kept exactly."""
    if isinstance(value, dict):
        return {name: kept(member) for name, member in value.items()}
    if isinstance(value, list):
        return [kept(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-(2**63), min(2**64 - 1, value))
    return value


@schemathesis.hook
def filter_case(context, case):
    """Heads over EPR_MAX_HEADER_BYTES get a 431 before there is a request; the document says so once, not at every operation."""
    sent = [case.query or {}, case.headers or {}, case.path_parameters or {}]
    return sum(len(urllib.parse.quote(str(part))) for part in sent) < 16_000 and not is_lenient(case)


TIMES = {"occurred_at", "occurred_from", "occurred_to", "effective_at", "expires_at"}
DIGITS = re.compile(r"\s*-?[0-9]*\.?[0-9]*\s*")


def is_lenient(case):
    """Input of older callers that the document does not describe and the service takes: an empty filter, epoch time as text."""
    query = case.query or {}
    if any("" in (value if isinstance(value, list) else [value]) for value in query.values()):
        return True
    members = {**query, **(case.body if isinstance(case.body, dict) else {})}
    return any(isinstance(members.get(name), str) and DIGITS.fullmatch(members[name]) for name in TIMES)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    # schemathesis takes values for links out of answers: out of a list also a null (the entity of a global assignment),
    # which would go into the path or the query as the text "None".
    for name in [name for name, value in (case.path_parameters or {}).items() if value in (None, "None")]:
        case.path_parameters[name] = str(uuid.uuid4())
    for name in [name for name, value in (case.query or {}).items() if name == "cursor" or value in (None, "None")]:
        del case.query[name]
    if not isinstance(case.body, dict):
        return
    # Members that a check or an event does not know are ignored, but they, too, must be JSON that can be kept.
    body = case.body = kept(case.body)
    for name, path, new in [
        ("role_id", "/api/v1/roles", {}),
        ("parent_id", "/api/v1/entities", {"type": "issuer"}),
        ("entity_id", "/api/v1/entities", {"type": "issuer"}),
        ("resource_id", "/api/v1/entities", {"type": "issuer"}),
    ]:
        if isinstance(body.get(name), str) and UUID.match(body[name]):
            body[name] = made(case.operation.base_url, path, new)
    # The service refuses its own source in events of others; the document shows it in examples of answers.
    if body.get("source") == "entity_permissions_core":
        body["source"] = "vault"
    if isinstance(body.get("expires_at"), (str, int, float)):
        body["effective_at"] = "0001-01-01T00:00:00Z"
        # Taken from an answer it may be the very beginning that was set here before.
        if str(body["expires_at"]).startswith(("0001-", "-")):
            body["expires_at"] = "9999-12-31T23:59:59Z"
