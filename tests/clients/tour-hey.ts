// The tour of the README with a client that @hey-api/openapi-ts generated into ./hey. Usage: tour-hey.ts URL
import assert from "node:assert/strict";
import { authorize, createAssignment, createEntity, createRole, getEntity, listEntities } from "./hey/index.js";
import { client } from "./hey/client.gen.js";

client.setConfig({ baseUrl: process.argv[2] });
const user = crypto.randomUUID();
const throwOnError = true;

async function allowed(resource: string): Promise<boolean> {
  const body = { user_id: user, action: "document:download", resource_id: resource };
  return (await authorize({ body, throwOnError })).data.authorized;
}

// The children of an entity, in pages of two, by the cursor in the `Link` header.
async function pages(parent: string): Promise<string[][]> {
  const found: string[][] = [];
  let cursor: string | undefined;
  do {
    const query = { parent_id: parent, limit: 2, ...(cursor === undefined ? {} : { cursor }) };
    const { data, response } = await listEntities({ query, throwOnError });
    found.push(data.map((row) => row.id));
    const next = /^<(.*)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    cursor = next === undefined ? undefined : (new URL(next, response.url).searchParams.get("cursor") ?? undefined);
  } while (cursor !== undefined);
  return found;
}

const attributes = { tags: [1, null] };
const issuer = await createEntity({ body: { name: "Acme Estates (hey)", type: "issuer", attributes }, throwOnError });
const ids: string[] = [];
for (const n of ["One", "Two", "Three"]) {
  const body = { name: `Berlin ${n} (hey)`, type: "spv" as const, parent_id: issuer.data.id };
  ids.push((await createEntity({ body, throwOnError })).data.id);
}
const [one, two, three] = ids as [string, string, string];
assert.deepEqual(await pages(issuer.data.id), [[three, two], [one]]);

const role = await createRole({ body: { name: "Reader (hey)", permissions: ["document:download"] }, throwOnError });
const before = await allowed(one);
const body = { principal_id: user, role_id: role.data.id, entity_id: issuer.data.id };
await createAssignment({ body, throwOnError });
const after = await allowed(one);

// An error has one of the described bodies: a sentence, or a list of fields.
const unknown = await getEntity({ path: { id: crypto.randomUUID() } });
const detail = unknown.error?.detail;
assert(typeof detail === "string" && detail.endsWith("not found"), JSON.stringify(unknown.error));
const invalid = await createRole({ body: { name: "x" } });
const fields = invalid.error?.detail;
assert(Array.isArray(fields), JSON.stringify(invalid.error));
assert.deepEqual(fields.map(({ loc, type }) => ({ loc, type })), [{ loc: ["body", "name"], type: "string_too_short" }]);
console.log(`before: ${before}\nafter: ${after}`);
