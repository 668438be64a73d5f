// The tour of the README with types by openapi-typescript (epr.d.ts) and calls by openapi-fetch. Usage: tour-fetch.ts URL
import createClient from "openapi-fetch";
import type { components, paths } from "./epr.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });
const user = crypto.randomUUID();

// A failure has a sentence or a list of fields, which the types keep apart.
function sentence(error: components["schemas"]["Problem"] | components["schemas"]["InvalidInput"] | undefined): string {
  if (error === undefined) return "";
  return typeof error.detail === "string" ? error.detail : error.detail.map((field) => field.msg).join("; ");
}

async function entity(body: components["schemas"]["NewEntity"]): Promise<components["schemas"]["Entity"]> {
  const { data, error } = await client.POST("/api/v1/entities", { body });
  if (data === undefined) throw new Error(sentence(error));
  return data;
}

async function allowed(resource: string): Promise<boolean> {
  const body = { user_id: user, action: "document:download", resource_id: resource };
  const { data, error } = await client.POST("/api/v1/authorize", { body });
  if (data === undefined) throw new Error(sentence(error));
  return data.authorized;
}

const issuer = await entity({ name: "Acme Estates (fetch)", type: "issuer", attributes: { tags: ["a", { b: [1, null] }] } });
const spv = await entity({ name: "Berlin One (fetch)", type: "spv", parent_id: issuer.id });
const role = await client.POST("/api/v1/roles", { body: { name: "Reader (fetch)", permissions: ["document:download"] } });
if (role.data === undefined) throw new Error(sentence(role.error));
const before = await allowed(spv.id);
const body = { principal_id: user, role_id: role.data.id, entity_id: issuer.id };
const held = await client.POST("/api/v1/assignments", { body });
if (held.data === undefined) throw new Error(sentence(held.error));
const unknown = await client.GET("/api/v1/entities/{id}", { params: { path: { id: crypto.randomUUID() } } });
if (!sentence(unknown.error).endsWith("not found")) throw new Error(JSON.stringify(unknown.error));
console.log(`before: ${before}\nafter: ${await allowed(spv.id)}`);
