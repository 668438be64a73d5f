"""Rules for valid input that the OpenAPI document cannot express, so that every positive case is valid.

Ids in bodies must belong to existing objects, a window must end after it begins, a cursor and a token come from a
list, an expression must compile, an entity type must be one that the service accepts, and a revision or a key of an
earlier request needs that request. In positive cases the hooks replace such values by valid ones; they do not change negative cases.
"""
import json
import os
import re
import urllib.parse
import urllib.request
import uuid

import schemathesis
from schemathesis.core.parameters import ParameterLocation

UUID = re.compile(r"^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")


def made(base, path, body):
    """Creates an object on this service and returns its id. Other cases change existing objects, so each is new."""
    body["name"] = f"made for schemathesis {uuid.uuid4()}"
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["EPR_API_TOKEN"]}
    request = urllib.request.Request(base.rstrip("/") + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["id"]


def kept(value):
    """Returns the value with every integer limited to the 64 bits that the service stores exactly."""
    if isinstance(value, dict):
        return {name: kept(member) for name, member in value.items()}
    if isinstance(value, list):
        return [kept(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-(2**63), min(2**64 - 1, value))
    return value


@schemathesis.hook
def filter_case(context, case):
    """Skips heads over EPR_MAX_HEADER_BYTES, a 431 that the document describes once and not for every operation."""
    sent = [case.query or {}, case.headers or {}, case.path_parameters or {}]
    return sum(len(urllib.parse.quote(str(part))) for part in sent) < 16_000 and not is_lenient(case)


TIMES = {"occurred_at", "occurred_from", "occurred_to", "effective_at", "expires_at"}
DIGITS = re.compile(r"\s*-?[0-9]*\.?[0-9]*\s*")


def is_lenient(case):
    """Returns whether a case has input that only the service accepts: an empty filter, epoch time as text."""
    query = case.query or {}
    # An empty object or list is sent as an empty text.
    if any(value in ({}, []) or "" in (value if isinstance(value, list) else [value]) for value in query.values()):
        return True
    members = {**query, **(case.body if isinstance(case.body, dict) else {})}
    return any(isinstance(members.get(name), str) and DIGITS.fullmatch(members[name]) for name in TIMES)


TYPES = ["issuer", "spv", "offering", "investor", "agent", "other"]
CONDITION = {"expression": "context.amount <= 10000", "parameters": {"amount": "int"}}


def accepted(value):
    """Returns an entity type, or a list of them, in which other words than the built-in ones are replaced."""
    if isinstance(value, list):
        return [accepted(item) for item in value]
    return value if value in TYPES else "issuer"


def bounded(text):
    """Returns the text cut to 1024 bytes of UTF-8; JSON Schema counts characters."""
    return text.encode()[:1024].decode(errors="ignore") or "x"


def restrict(parameters, path):
    """Replaces entity types, conditions and external ids that the document allows and the service rejects."""
    if "/entities" in path and isinstance(parameters.get("type"), (str, list)):
        parameters["type"] = accepted(parameters["type"])
    if isinstance(parameters.get("resource_type"), str):
        parameters["resource_type"] = accepted(parameters["resource_type"])
    if isinstance(parameters.get("scope_types"), list):
        parameters["scope_types"] = list(dict.fromkeys(accepted(parameters["scope_types"])))
    if isinstance(parameters.get("condition"), dict):
        parameters["condition"] = CONDITION
    if isinstance(parameters.get("conditions"), dict):
        actions = parameters.get("permissions") or []
        parameters["conditions"] = {action: CONDITION for action in actions[:1]}
    for name in ("external_id", "principal_external_id"):
        if isinstance(parameters.get(name), str):
            parameters[name] = bounded(parameters[name])


def ask_about_the_future(parameters):
    """Replaces the moment that a read is about: a revision is one that this service has had, and the registry has no
    state before its first entry."""
    parameters.pop("revision", None)
    if isinstance(parameters.get("at"), str):
        parameters["at"] = "9999-12-31T23:59:59Z"


# The document's examples of headers that refer to an earlier request: no such request was made to this service.
EARLIER = {
    "Idempotency-Key": lambda: str(uuid.uuid4()),
    "EPR-At-Least": lambda: None,
    "Last-Event-ID": lambda: None,
}


def refer_to_nothing(headers, operation, is_positive):
    """Replaces the examples of headers that refer to an earlier request; in positive cases every value of them."""
    parameters = {one["name"]: one for one in operation.definition.raw.get("parameters", []) if "name" in one}
    for name, new in EARLIER.items():
        if name in headers and (is_positive or headers[name] == parameters.get(name, {}).get("example")):
            value = new()
            if value is None:
                del headers[name]
            else:
                headers[name] = value


def whole_limit(members):
    """Makes the limit of a page a whole number: JSON Schema takes 100.0 for an integer."""
    if isinstance(members.get("limit"), float):
        members["limit"] = int(members["limit"])


def restrict_authzen(body, path):
    """Replaces what the document of AuthZEN allows and the service rejects: ids are bounded in bytes, a token comes from
    an answer, and the members of a batch without items must be those of one evaluation."""
    for name in ("subject", "resource"):
        party = body.get(name)
        if isinstance(party, dict) and isinstance(party.get("id"), str):
            party["id"] = bounded(party["id"])
    if isinstance(body.get("page"), dict):
        body["page"].pop("token", None)
        whole_limit(body["page"])
    if path.endswith("/evaluations") and not body.get("evaluations"):
        body["evaluations"] = [{}]


@schemathesis.hook
def before_call(context, case, kwargs):
    # A case that is about headers is changed in none of them.
    if case.meta is not None and not case.meta.is_negative_at(ParameterLocation.HEADER):
        refer_to_nothing(case.headers, case.operation, case.meta.generation.mode.is_positive)
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    # schemathesis takes values for links from responses: also a null from a list (the entity of a global assignment),
    # which would become the text "None" in the path or the query.
    for name in [name for name, value in (case.path_parameters or {}).items() if value in (None, "None")]:
        case.path_parameters[name] = str(uuid.uuid4())
    for name in [name for name, value in (case.query or {}).items() if name == "cursor" or value in (None, "None")]:
        del case.query[name]
    restrict(case.query or {}, case.operation.path)
    ask_about_the_future(case.query or {})
    if case.operation.path.endswith("/changes"):
        (case.query or {}).pop("after", None)
    if "name" in (case.query or {}) and case.operation.path.endswith("/entities"):
        case.query["type"] = "issuer"
    if "in_force" in (case.query or {}):
        case.query["in_force"] = "true"
    if not isinstance(case.body, dict):
        return
    restrict(case.body, case.operation.path)
    if "/access/" in case.operation.path:
        # A token continues the same list of this service.
        case.body.pop("next", None)
        whole_limit(case.body)
    if "resource_id" in case.body or "/access/" in case.operation.path:
        ask_about_the_future(case.body)
    if case.operation.path.endswith("/authorize/batch"):
        # A batch is about the present, as its description says: these two are the only other members that it refuses.
        for check in case.body.get("checks") or []:
            for name in {"at", "revision"} & set(check):
                del check[name]
    # Unknown members of a check or an event are ignored, but they, too, must be JSON that can be stored exactly.
    body = case.body = kept(case.body)
    if case.operation.path.startswith("/access/v1/"):
        restrict_authzen(body, case.operation.path)
    for name, path, new in [
        ("role_id", "/api/v1/roles", {}),
        ("parent_id", "/api/v1/entities", {"type": "issuer"}),
        ("entity_id", "/api/v1/entities", {"type": "issuer"}),
        ("resource_id", "/api/v1/entities", {"type": "issuer"}),
    ]:
        if isinstance(body.get(name), str) and UUID.match(body[name]):
            body[name] = made(case.operation.base_url, path, new)
    # The service rejects its own source in events of others; the document has it in examples of responses.
    if body.get("source") == "entity_permissions_core":
        body["source"] = "vault"
    if isinstance(body.get("expires_at"), (str, int, float)):
        body["effective_at"] = "0001-01-01T00:00:00Z"
        # A value from a response may be the beginning that this hook has set before.
        if str(body["expires_at"]).startswith(("0001-", "-")):
            body["expires_at"] = "9999-12-31T23:59:59Z"
