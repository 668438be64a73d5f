"""Loads the AuthZEN fixtures into a service through its own API and runs the cases of tests/vectors/authzen.

Usage: authzen.py BASE_URL PDP_ID [LEVEL…], with a token in EPR_API_TOKEN. Levels select the cases whose level begins so.
"""
import http.client
import json
import os
import re
import socket
import sys
import urllib.parse
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "tests/vectors/authzen"
PATHS = {
    "evaluation": "/access/v1/evaluation",
    "evaluations": "/access/v1/evaluations",
    "search_subject": "/access/v1/search/subject",
    "search_resource": "/access/v1/search/resource",
    "search_action": "/access/v1/search/action",
    "metadata": "/.well-known/authzen-configuration",
}


class Service:
    """One connection to the service."""

    def __init__(self, base, token):
        self.host = urllib.parse.urlsplit(base).netloc
        self.token = token
        self.connection = http.client.HTTPConnection(self.host, timeout=30)

    def send(self, method, path, body=None, headers=None, token=True):
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = "Bearer " + self.token
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        status, headers, text = answer.status, answer.headers, answer.read()
        if status >= 400:
            # The service may have answered without reading the body, and then closes the connection.
            self.connection.close()
        return status, headers, text

    def create(self, path, body):
        """Creates an object of the registry and returns its id."""
        status, _, answer = self.send("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        if status != 201:
            sys.exit(f"{path} {body}: {status} {answer.decode()}")
        return json.loads(answer)["id"]


def expression(when):
    """The condition of a rule in EPR's dialect: `x.y` is what was sent, or else what is stored."""
    when = when.replace("subject.id", "principal.external_id")
    when = re.sub(r"\bsubject\.(\w+)", r"principal.effective.\1", when)
    when = re.sub(r"\baction\.(\w+)", r"action.properties.\1", when)
    return re.sub(r"\bresource\.(\w+)", r"resource.effective.\1", when)


def load(service, fixtures):
    """Registers the subjects and resources of all fixtures, and a role with assignments for each rule."""
    stored = {}
    for fixture in fixtures.values():
        for subject in fixture["subjects"]:
            known = stored.setdefault((subject["type"], subject["id"]), {})
            for name, value in subject.get("properties", {}).items():
                known.setdefault(name, value)
    principals = {
        (kind, name): service.create("/api/v1/principals", {"type": kind, "external_id": name, "attributes": attributes})
        for (kind, name), attributes in stored.items()
    }
    for title, fixture in fixtures.items():
        parent, entities = None, {}
        if fixture["resources"]:
            parent = service.create("/api/v1/entities", {"name": f"the resources of {title}", "type": "other"})
        for resource in fixture["resources"]:
            kind, name = resource["type"], resource["id"]
            entity = {"name": f"{title} {name}", "type": kind, "external_id": name, "parent_id": parent}
            entities[f"{kind}:{name}"] = service.create(
                "/api/v1/entities", {**entity, "attributes": resource.get("properties", {})}
            )
        for number, rule in enumerate(fixture["rules"]):
            reached = rule.get("on", [])
            places = [parent] if set(reached) == set(entities) or not reached else [entities[one] for one in reached]
            # A role can be assigned only on entities of its types.
            types = [rule["resource_type"]] + (["other"] if parent in places and parent else [])
            role = service.create(
                "/api/v1/roles", {"name": f"{title} {number}", "scope_types": types, "permissions": rule["actions"]}
            )
            for subject in fixture["subjects"]:
                if not holds(rule, subject):
                    continue
                kind, name = subject["type"], subject["id"]
                held = {"principal_id": principals[kind, name], "principal_type": kind, "role_id": role}
                if "when" in rule:
                    held["condition"] = {"expression": expression(rule["when"])}
                for place in places:
                    service.create("/api/v1/assignments", {**held, "entity_id": place})


def holds(rule, subject):
    roles = subject.get("properties", {}).get("roles", [])
    wanted = {f"{subject['type']}:{subject['id']}", f"{subject['type']}:*", "role:any"} | {f"role:{one}" for one in roles}
    return any(one in wanted for one in rule["subjects"])


class Failed(Exception):
    pass


def require(holds_true, what):
    if not holds_true:
        raise Failed(what)


def ask(service, case, request):
    """Sends one request of a case; returns the status, the headers and the text of the answer."""
    headers = {"Content-Type": case.get("content_type", "application/json"), **case.get("headers", {})}
    body = case["raw"] if "raw" in case else json.dumps(request) if request is not None else None
    metadata = case["endpoint"] == "metadata"
    if metadata:
        headers.pop("Content-Type")
    method = case.get("method", "GET" if metadata else "POST")
    path = case.get("path", PATHS[case["endpoint"]])
    return service.send(method, path, body, headers, token=not metadata)


def single(service, case, request):
    """The parsed answer of a request that must succeed."""
    status, headers, text = ask(service, case, request)
    require(status == 200, f"{status} {text.decode()}")
    require(headers["Content-Type"] == "application/json", f"content type {headers['Content-Type']}")
    return json.loads(text)


def results(service, case, request):
    """Every result of a search, page after page, and the sizes of the pages."""
    found, sizes = [], []
    while True:
        answer = single(service, case, request)
        require(set(answer) <= {"results", "page"}, f"members {list(answer)}")
        page = answer.get("page")
        if page is not None:
            require(next(iter(answer)) == "page", "`page` is not the first member")
            require(isinstance(page.get("next_token"), str), f"next_token of {page}")
            require(page.get("count", len(answer["results"])) == len(answer["results"]), f"count of {page}")
            require(None not in page.values() and "total" not in page, f"{page}")
        elif "token" in request.get("page", {}):
            raise Failed("no `page` after a token")
        found += answer["results"]
        sizes.append(len(answer["results"]))
        token = page["next_token"] if page else ""
        if not token:
            return found, sizes
        require(len(sizes) < 100, "more than 100 pages")
        limit = request.get("page", {}).get("limit")
        page = {"token": token}
        if case.get("follow_pages") == "same" and limit is not None:
            page["limit"] = limit
        request = {**request, "page": page}


def check_search(service, case, request, expect):
    found, sizes = results(service, case, request)
    members = ["name"] if case["endpoint"] == "search_action" else ["type", "id"]
    for one in found:
        require(list(one) == members and all(isinstance(value, str) for value in one.values()), f"element {one}")
    keys = [tuple(one.values()) for one in found]
    require(len(set(keys)) == len(keys), f"duplicates in {found}")
    require(keys == sorted(keys, key=lambda key: [part.encode() for part in key]), f"order of {found}")
    require(all(one in found for one in expect.get("includes", [])), f"found {found}")
    if expect.get("empty"):
        require(found == [], f"found {found}")
    if "results" in expect:
        wanted = sorted(tuple(one.values()) for one in expect["results"])
        require(sorted(keys) == wanted, f"found {found}, expected {expect['results']}")
    if "same_as" in expect:
        others, _ = results(service, {**case, "headers": {}}, expect["same_as"])
        require(found == others, f"found {found}, expected {others}")
    if "pages" in expect:
        limit = expect["pages"]
        # A page may be shorter, never longer; without a bound on the work of a page, only the last one is.
        require(all(size <= limit for size in sizes), f"pages of {sizes}")
        require(all(size == limit for size in sizes[:-1]), f"pages of {sizes}")


def check_metadata(answer, headers, pdp_id):
    require(answer["policy_decision_point"] == pdp_id, f"{answer}")
    for name, path in PATHS.items():
        if name != "metadata":
            member = name if name.startswith("search") else f"access_{name}"
            require(answer[f"{member}_endpoint"] == pdp_id + path, f"{name} of {answer}")
    require(all(isinstance(value, str) and value.startswith("https://") for value in answer.values()), f"{answer}")
    require("max-age" in headers.get("Cache-Control", ""), "no Cache-Control")


def check_answer(answer, expect):
    if "decision" in expect:
        require(answer == {"decision": expect["decision"]}, f"{answer}")
    if expect.get("no_evaluations"):
        require("evaluations" not in answer, f"{answer}")
    if "evaluations" in expect:
        require(list(answer) == ["evaluations"], f"members {list(answer)}")
        items = answer["evaluations"]
        require(len(items) == len(expect["evaluations"]), f"{len(items)} items: {answer}")
        for number, (item, wanted) in enumerate(zip(items, expect["evaluations"])):
            require(isinstance(item.get("decision"), bool), f"item {number}: {item}")
            require(wanted is None or item["decision"] == wanted, f"item {number}: {item}")
            failed = "errors" in expect and number in expect["errors"]
            if failed:
                error = item["context"]["error"]
                require(error["status"] == 400 and error["message"], f"item {number}: {item}")
            elif "errors" in expect or expect.get("bare"):
                require(item == {"decision": item["decision"]}, f"item {number}: {item}")


def run(service, case, pdp_id):
    expect, request = dict(case["expect"]), case.get("request")
    if "times" in case:
        request = {**request, "evaluations": request["evaluations"] * case["times"]}
        if "evaluations" in expect:
            expect["evaluations"] = expect["evaluations"] * case["times"]
    first = None
    for _ in range(case.get("repeat", 1)):
        status, headers, text = ask(service, case, request)
        require(status in expect["status"], f"{status} {text.decode()[:500]}")
        if expect.get("echo"):
            sent = case["headers"]["X-Request-ID"]
            require(headers["X-Request-ID"] == sent, f"X-Request-ID {headers['X-Request-ID']!r}, sent {sent!r}")
        if status != 200:
            detail = json.loads(text or "{}").get("detail") if case.get("method") != "HEAD" else ""
            require(isinstance(detail, str) and detail, f"no sentence: {text.decode()}")
        first = first or text
        require(text == first, "another answer to the same request")
    if case["expect"]["status"] != [200]:
        return
    require(headers["Content-Type"] == "application/json", f"content type {headers['Content-Type']}")
    answer = json.loads(text)
    if case["endpoint"] == "metadata":
        check_metadata(answer, headers, pdp_id)
    elif case["endpoint"].startswith("search"):
        check_search(service, case, request, expect)
    else:
        check_answer(answer, expect)


def check_credentials(service):
    """Every endpoint but the metadata refuses a missing and a wrong credential, with a challenge."""
    for name, path in PATHS.items():
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            method, body = ("GET", None) if name == "metadata" else ("POST", "{}")
            status, answered, _ = service.send(method, path, body, {**headers, "X-Request-ID": "c 1"}, token=False)
            if name == "metadata":
                require(status == 200, f"{name}: {status}")
            else:
                require(status == 401 and answered["WWW-Authenticate"], f"{name}: {status}")
            require(answered["X-Request-ID"] == "c 1", f"{name}: X-Request-ID {answered['X-Request-ID']!r}")


def check_tokens(service):
    """A token continues only the request, the endpoint and the limit that it was made for."""
    alice, record = {"type": "user", "id": "alice"}, {"type": "record", "id": "record-1"}
    read = {"name": "read"}
    searches = {
        "search_subject": {"subject": {"type": "user"}, "action": read, "resource": record},
        "search_resource": {"subject": alice, "action": read, "resource": {"type": "record"}},
        "search_action": {"subject": alice, "resource": record},
    }
    changes = {
        "subject": {"type": "user", "id": "bob"},
        "action": {"name": "write"},
        "resource": {"type": "record", "id": "record-2"},
        "context": {"more": 1},
    }
    ignored = {"search_subject": ["subject"], "search_resource": ["resource"], "search_action": ["action"]}
    tokens = {}
    for endpoint, request in searches.items():
        case = {"endpoint": endpoint}
        tokens[endpoint] = single(service, case, {**request, "page": {"limit": 1}})["page"]["next_token"]
        require(tokens[endpoint], f"{endpoint}: one page has everything")
    for endpoint, request in searches.items():
        case, token = {"endpoint": endpoint}, tokens[endpoint]

        def expect(status, what, page, **changed):
            answered, _, text = ask(service, case, {**request, **changed, "page": page})
            require(answered == status, f"{endpoint}, {what}: {answered} {text.decode()}")

        expect(200, "alone", {"token": token})
        expect(200, "with the limit", {"token": token, "limit": 1})
        expect(200, "with unknown members", {"token": token, "properties": {"x": 1}}, unknown=True)
        expect(400, "another limit", {"token": token, "limit": 2})
        expect(400, "cut", {"token": token[:-1]})
        expect(400, "altered", {"token": token[:40] + ("A" if token[40] != "A" else "B") + token[41:]})
        for other, foreign in tokens.items():
            if other != endpoint:
                expect(400, f"of {other}", {"token": foreign})
        for name, value in changes.items():
            wanted = 200 if name in ignored[endpoint] else 400
            expect(wanted, f"another {name}", {"token": token}, **{name: value})
        for name in {"subject", "action", "resource"} & set(request) - set(ignored[endpoint]):
            stated = {**request[name], "properties": {"more": 1}}
            expect(400, f"properties of {name}", {"token": token}, **{name: stated})


def check_limits(service):
    """Size and depth are bounded, and beyond the bounds the answer is an error, never a decision."""
    valid = {"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
             "resource": {"type": "record", "id": "record-1"}}
    deep = "[" * 500 + "]" * 500
    large = json.dumps({**valid, "context": {"x": "y" * (2 << 20)}})
    nested = json.dumps(valid)[:-1] + f', "context": {{"x": {deep}}}}}'
    for what, body, wanted in (("depth", nested, {400}), ("size", large, {400, 413})):
        for name in ("evaluation", "evaluations"):
            headers = {"Content-Type": "application/json", "X-Request-ID": f"the {what}"}
            status, answered, text = service.send("POST", PATHS[name], body, headers)
            require(status in wanted and json.loads(text)["detail"], f"{name}, {what}: {status}")
            require(answered["X-Request-ID"] == f"the {what}", f"{name}, {what}: X-Request-ID")


def check_connection(service):
    """A request that is refused before its body was read does not end the connection unless the answer says so."""
    body = json.dumps({"subject": {"type": "user", "id": "alice"}}).encode()
    host, port = service.host.rsplit(":", 1)
    for path, token, wanted in (
        (PATHS["evaluation"], "wrong", 401), (PATHS["evaluations"], service.token, 400), ("/access/v1/other", service.token, 404),
    ):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        head += f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(3):
                # The body follows in a segment of its own, as most clients send it.
                connection.sendall(head.encode())
                connection.sendall(body)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                require(answer.status == wanted and answer.read(), f"{path}: {answer.status}")
                if (answer.getheader("Connection") or "").lower() == "close":
                    break


def main():
    base, pdp_id, *levels = sys.argv[1:]
    service = Service(base, os.environ["EPR_API_TOKEN"])
    document, more = (json.loads((VECTORS / name).read_text()) for name in ("cases.json", "more-cases.json"))
    load(service, document["fixtures"])
    failures, counts = 0, {}
    for check in (check_credentials, check_tokens, check_limits, check_connection):
        try:
            check(service)
        except Failed as why:
            failures += 1
            print(f"{check.__name__}: {why}")
    for case in document["cases"] + more["cases"]:
        if levels and not any(case["level"].startswith(level) for level in levels):
            continue
        try:
            run(service, case, pdp_id)
            counts[case["level"]] = counts.get(case["level"], 0) + 1
        except Failed as why:
            failures += 1
            print(f"{case['level']} {case['id']} ({case['title']}): {why}\n    {json.dumps(case.get('request'))[:300]}")
    print(", ".join(f"{level}: {count}" for level, count in counts.items()))
    if failures:
        sys.exit(f"{failures} cases failed")


main()
