// The tour of the README with a client that @hey-api/openapi-ts generated into ./hey. Usage: tour-hey.ts URL
import { authorize, createAssignment, createEntity, createRole, getEntity } from "./hey/index.js";
import { client } from "./hey/client.gen.js";

client.setConfig({ baseUrl: process.argv[2] });
const user = crypto.randomUUID();
const throwOnError = true;

async function allowed(resource: string): Promise<boolean> {
  const body = { user_id: user, action: "document:download", resource_id: resource };
  return (await authorize({ body, throwOnError })).data.authorized;
}

const issuer = await createEntity({ body: { name: "Acme Estates (hey)", type: "issuer", attributes: { tags: [1, null] } }, throwOnError });
const spv = await createEntity({ body: { name: "Berlin One (hey)", type: "spv", parent_id: issuer.data.id }, throwOnError });
const role = await createRole({ body: { name: "Reader (hey)", permissions: ["document:download"] }, throwOnError });
const before = await allowed(spv.data.id);
await createAssignment({ body: { principal_id: user, role_id: role.data.id, entity_id: issuer.data.id }, throwOnError });
const unknown = await getEntity({ path: { id: crypto.randomUUID() } });
// The error is one of the described bodies: a sentence, or a list of fields.
const detail = unknown.error?.detail;
if (typeof detail !== "string" || !detail.endsWith("not found")) throw new Error(JSON.stringify(unknown.error));
console.log(`before: ${before}\nafter: ${await allowed(spv.data.id)}`);
