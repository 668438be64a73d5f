// The tour of the README with types by openapi-typescript (epr.d.ts) and calls by openapi-fetch. Usage: tour-fetch.ts URL
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./epr.js";

type Schemas = components["schemas"];
const client = createClient<paths>({ baseUrl: process.argv[2] });
const user = crypto.randomUUID();

// An error has a sentence or a list of fields, which the types distinguish.
function sentence(error: Schemas["Problem"] | Schemas["InvalidInput"] | undefined): string {
  if (error === undefined) return "";
  return typeof error.detail === "string" ? error.detail : error.detail.map((field) => field.msg).join("; ");
}

async function entity(body: Schemas["NewEntity"]): Promise<Schemas["Entity"]> {
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

// The children of an entity, in pages of two, by the cursor in the `Link` header.
async function pages(parent: string): Promise<string[][]> {
  const found: string[][] = [];
  let cursor: string | undefined;
  do {
    const query = { parent_id: parent, limit: 2, ...(cursor === undefined ? {} : { cursor }) };
    const { data, error, response } = await client.GET("/api/v1/entities", { params: { query } });
    if (data === undefined) throw new Error(sentence(error));
    found.push(data.map((row) => row.id));
    const next = /^<(.*)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    cursor = next === undefined ? undefined : (new URL(next, response.url).searchParams.get("cursor") ?? undefined);
  } while (cursor !== undefined);
  return found;
}

const issuer = await entity({ name: "Acme Estates (fetch)", type: "issuer", attributes: { tags: ["a", { b: [1, null] }] } });
const spvs: Schemas["Entity"][] = [];
for (const n of ["One", "Two", "Three"]) {
  spvs.push(await entity({ name: `Berlin ${n} (fetch)`, type: "spv", parent_id: issuer.id }));
}
const [one, two, three] = spvs.map((spv) => spv.id) as [string, string, string];
assert.deepEqual(await pages(issuer.id), [[three, two], [one]]);

const role = await client.POST("/api/v1/roles", { body: { name: "Reader (fetch)", permissions: ["document:download"] } });
if (role.data === undefined) throw new Error(sentence(role.error));
const before = await allowed(one);
const body = { principal_id: user, role_id: role.data.id, entity_id: issuer.id };
const held = await client.POST("/api/v1/assignments", { body });
if (held.data === undefined) throw new Error(sentence(held.error));
const after = await allowed(one);

const unknown = await client.GET("/api/v1/entities/{id}", { params: { path: { id: crypto.randomUUID() } } });
assert.match(sentence(unknown.error), /not found$/);
const invalid = await client.POST("/api/v1/roles", { body: { name: "x" } });
const fields = invalid.error?.detail;
assert(Array.isArray(fields), JSON.stringify(invalid.error));
assert.deepEqual(fields.map(({ loc, type }) => ({ loc, type })), [{ loc: ["body", "name"], type: "string_too_short" }]);
console.log(`before: ${before}\nafter: ${after}`);
