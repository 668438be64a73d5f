// Names that try to be more than text, on the pages that lists, forms and script make of them.
import { fail } from "./visitor.mjs";

const NAMES = [
  "<script>window.hostile = 1</script>",
  '"><img src=x onerror="window.hostile = 1">',
  "' hx-get='/console/logout' hx-trigger='load'",
  "{{7*7}} ${7*7}",
  "\u202etxt.exe\u200f",
  "\u001b[31mred\u0007",
  "😀👩‍👩‍👧‍👦",
  "ü".repeat(255),
  "javascript:window.hostile = 1",
];
/** More entities than a page of the tree has. */
const ROOTS = 101;

/** Creates entities with these names, as an operator does by the API. Returns the first. */
export async function createHostileEntities(base, token) {
  const create = async (body) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(`${base}/api/v1/entities`, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${JSON.stringify(body)}: ${await answer.text()}`);
    return answer.json();
  };
  for (let n = 0; n < ROOTS - NAMES.length; n++) await create({ name: `root ${n}`, type: "other" });
  let parent;
  for (const name of NAMES) {
    parent = await create({ name, type: "spv", attributes: { name } });
    await create({ name: `below ${name}`.slice(0, 255), type: "spv", parent_id: parent.id });
  }
  return parent;
}

/** What the page does beside showing text; nothing, if all is well. */
async function wrongs(page) {
  return page.evaluate(() => {
    const found = [];
    if (window.hostile) found.push("a name is executed");
    const { body } = document;
    if (body.querySelector("script, main img, [onerror], [onload]")) found.push("a name is an element");
    const links = [...body.querySelectorAll("a")].filter((link) => link.protocol === "javascript:");
    if (links.length > 0) found.push("a name is the address of a link");
    if (body.querySelector("[hx-get='/console/logout']")) found.push("a name is an attribute");
    return found;
  });
}

/** Checks the page as it is, narrow and wide. `inspect` is called once for it. */
async function check(page, what, inspect) {
  for (const width of [2560, 360]) {
    await page.setViewportSize({ width, height: 900 });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (wider > 0) fail(`${what}: ${wider} px wider than ${width} px`);
  }
  for (const wrong of await wrongs(page)) fail(`${what}: ${wrong}`);
  await inspect(page, what);
}

/**
 * Opens the tree with its levels and further rows, the difference of an import, failed events and the form that
 * delivers one again, all with hostile names. The browser runs scripts.
 */
export async function visitHostilePages(page, entity, inspect) {
  const errors = [];
  page.on("dialog", (dialog) => errors.push(dialog.message()) && dialog.dismiss());

  await page.goto("/console/tree");
  const branches = page.locator(".level > li > details");
  for (const branch of await branches.all()) await branch.locator("summary").first().click();
  await page.locator(".level .level > li").nth(NAMES.length - 1).waitFor({ timeout: 10000 });
  await page.locator(".more a").click();
  await page.locator(".more").waitFor({ state: "detached", timeout: 5000 });
  const roots = await page.locator("main > section > .level > li, main .level:not(.level .level) > li").count();
  if (roots < ROOTS) fail(`the tree has ${roots} of ${ROOTS} roots after more rows`);
  await check(page, "the tree", inspect);
  await page.goto(`/console/entities/${entity.id}`);
  await check(page, "an entity", inspect);

  await page.goto("/console/change/import");
  const records = NAMES.map((name, n) => ({
    kind: "principal", external_id: `h:${n}-${name}`.slice(0, 100), display_name: name, attributes: { name },
  }));
  const role = { kind: "role", name: `ab ${NAMES[0]}`, description: NAMES[1], permissions: ["a:b"] };
  const held = { kind: "assignment", principal_id: entity.id, role: NAMES[0] };
  const unknown = { ...held, entity_type: "spv", entity_name: NAMES[1] };
  const show = async (all) => {
    await page.locator("main [name=format]").last().selectOption("json");
    await page.locator("main [name=text]").last().fill(all.map((one) => JSON.stringify(one)).join("\n"));
    await page.getByRole("button", { name: "Show what would change" }).click();
  };
  await show([...records, role]);
  if ((await page.locator("main tbody tr").count()) !== NAMES.length + 1) fail("the difference lacks records");
  await check(page, "the difference of an import", inspect);
  await show([unknown]);
  if ((await page.locator("main tbody .badge.bad").count()) !== 1) fail("a record that does not fit is not refused");
  await check(page, "refused records of an import", inspect);

  await page.goto("/console/events?delivery_state=failed");
  await check(page, "failed events", inspect);
  await page.locator("main tbody a[href*='/console/change/requeue']").first().click();
  await check(page, "the form that delivers an event again", inspect);
  for (const message of errors) fail(`a dialog: ${message}`);
}
