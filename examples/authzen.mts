// Ask EPR by the AuthZEN Authorization API 1.0, in the names of another system. Node 18 or later once compiled by tsc.
// Usage: node authzen.mts [URL]    EPR_TOKEN is sent as bearer token where it is set.

const base: string = process.argv[2] ?? "http://localhost:8080";

interface Made {
  id: string;
}

interface Decision {
  decision: boolean;
}

async function call<Answer>(path: string, body: object): Promise<Answer> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (process.env.EPR_TOKEN) headers.authorization = `Bearer ${process.env.EPR_TOKEN}`;
  const answer = await fetch(base + path, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Answer;
}

async function allowed(subject: string, action: string, resource: string): Promise<boolean> {
  const question = { subject: { type: "user", id: subject }, action: { name: action }, resource: { type: "spv", id: resource } };
  return (await call<Decision>("/access/v1/evaluation", question)).decision;
}

const [alice, berlin] = [`alice-${crypto.randomUUID()}@example.com`, `berlin-${crypto.randomUUID()}`];
await call("/api/v1/principals", { external_id: alice });
const spv = await call<Made>("/api/v1/entities", { name: berlin, type: "spv", external_id: berlin });
const role = await call<Made>("/api/v1/roles", { name: `Reader ${crypto.randomUUID()}`, permissions: ["can_read"] });
console.log("before:", await allowed(alice, "can_read", berlin));
await call("/api/v1/assignments", { principal_external_id: alice, role_id: role.id, entity_id: spv.id });
console.log("after:", await allowed(alice, "can_read", berlin));
