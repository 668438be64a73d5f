// Create an entity and a role, assign it, check. Node 18 or later once compiled by tsc; from 23.6 on as it is.
// Usage: node check.mts [URL]    EPR_TOKEN is sent as bearer token where it is set.

const base: string = process.argv[2] ?? "http://localhost:8080";

interface Made {
  id: string;
}

async function call<Answer>(path: string, body: object): Promise<Answer> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (process.env.EPR_TOKEN) headers.authorization = `Bearer ${process.env.EPR_TOKEN}`;
  const answer = await fetch(base + path, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Answer;
}

async function allowed(user: string, action: string, resource: string): Promise<boolean> {
  const question = { user_id: user, action, resource_id: resource };
  return (await call<{ authorized: boolean }>("/api/v1/authorize", question)).authorized;
}

const user = crypto.randomUUID();
const name = crypto.randomUUID();
const issuer = await call<Made>("/api/v1/entities", { name: `Acme ${name}`, type: "issuer" });
const spv = await call<Made>("/api/v1/entities", { name: `Berlin ${name}`, type: "spv", parent_id: issuer.id });
const role = await call<Made>("/api/v1/roles", { name: `Reader ${name}`, permissions: ["document:download"] });
console.log("before:", await allowed(user, "document:download", spv.id));
await call("/api/v1/assignments", { principal_id: user, role_id: role.id, entity_id: issuer.id });
console.log("after:", await allowed(user, "document:download", spv.id));
