"""A proxy between the AWS CLI and moto: records every call, and adds the parts of ECS that moto lacks.

moto has services, revisions and counts, but no deployments: after any update it still shows the deployment of the
creation, without a running task. The proxy therefore adds to the responses of DescribeServices the deployment that ECS
would show for the revision of the service. The file VERDICTS sets its result, by lines of `family:revision verdict`:
    failed     its tasks do not keep running, and ECS gave up the deployment
    waiting    its tasks are never healthy
    replaced   ECS has rolled back to the previous revision by itself
Without a line the deployment is complete. All other calls pass through unchanged.

    ecs_proxy.py MOTO_URL CALLS VERDICTS      prints its port
"""

import http.client
import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

moto, calls, verdicts = sys.argv[1:4]


def verdict_on(revision):
    with open(verdicts) as lines:
        for line in lines:
            name, verdict = line.split()
            if revision.endswith("/" + name):
                return verdict
    return "complete"


def with_deployment(service):
    revision, desired = service["taskDefinition"], service["desiredCount"]
    verdict = verdict_on(revision)
    stays_up = verdict in ("complete", "replaced")
    if verdict == "replaced":
        family, number = revision.rsplit(":", 1)
        revision = f"{family}:{int(number) - 1}"
    service["runningCount"] = desired if stays_up else 0
    service["pendingCount"] = desired - service["runningCount"]
    service["deployments"] = [{
        "id": "ecs-svc/1",
        "status": "PRIMARY",
        "taskDefinition": revision,
        "desiredCount": desired,
        "runningCount": service["runningCount"],
        "pendingCount": service["pendingCount"],
        "rolloutState": {"failed": "FAILED", "waiting": "IN_PROGRESS"}.get(verdict, "COMPLETED"),
    }]
    service["events"] = [{"id": "1", "message": f"(service {service['serviceName']}) is {verdict} on {revision.split('/')[-1]}."}]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = urllib.parse.parse_qs(body.decode(errors="replace"))
        name = self.headers.get("X-Amz-Target") or form.get("Action", [self.path])[0]
        with open(calls, "a") as out:
            out.write(name.split(".")[-1] + "\n")
        upstream = http.client.HTTPConnection(urllib.parse.urlsplit(moto).netloc)
        headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
        upstream.request("POST", self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        if name.endswith(".DescribeServices") and answer.status == 200:
            described = json.loads(content)
            for service in described["services"]:
                with_deployment(service)
            content = json.dumps(described).encode()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
