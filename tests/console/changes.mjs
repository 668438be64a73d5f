// Changes by the forms of the console, as an operator makes them: each from the page about its subject to its entry.
import { randomUUID } from "node:crypto";
import { fail } from "./visitor.mjs";

/** Fills and sends the form of the page; returns the text of the page that it leads to. */
async function send(page, fields) {
  const form = page.locator("main form[method=post][action^='/console/change/']");
  for (const [name, value] of Object.entries(fields)) {
    const field = form.locator(`[name=${name}]`);
    if ((await field.evaluate((one) => one.tagName)) === "SELECT") await field.selectOption(value);
    else await field.fill(value);
  }
  await form.getByRole("button").last().click();
  return page.locator("main").innerText();
}

/**
 * Makes a change, and follows the link to its entry; returns the entry's text and the address of the subject.
 * `action` is the action that the entry must have.
 */
async function change(page, action, fields) {
  const said = await send(page, { reason: "ticket 42", ...fields });
  if (!said.includes("The change is recorded as entry")) fail(`${action}: ${said}`);
  const links = page.locator("main a");
  const subject = await links.last().getAttribute("href");
  await links.getByText("Entry", { exact: true }).click();
  const entry = await page.locator("main").innerText();
  for (const part of [action, "ticket 42", "operator"]) {
    if (!entry.includes(part)) fail(`the entry of ${action} lacks ${part}: ${entry.slice(0, 400)}`);
  }
  return { entry, subject };
}

const follow = (page, name) => page.locator("main").getByRole("link", { name, exact: true }).click();

/** Every kind of change: `addresses` has the pages of an entity and a role. */
export async function changeEverything(page, addresses) {
  const name = `Dresden ${randomUUID().slice(0, 8)}`;
  await page.goto(addresses.entity);
  await follow(page, "Create an entity below");
  const refused = await send(page, { name, type: "spv", attributes: "[" });
  if (!refused.includes("attributes: ")) fail(`wrong input: ${refused}`);
  const created = await change(page, "entity.create", { attributes: '{"isin": "DE000A1EWWW0"}' });

  await page.goto(created.subject);
  if ((await page.locator("h1").innerText()) !== name) fail(`${created.subject} is not about ${name}`);
  await follow(page, "Assign a role here");
  const principal = randomUUID();
  const condition = '{"expression": "context.amount <= 10000", "parameters": {"amount": "int"}}';
  const assigned = await change(page, "role_assignment.create", {
    principal_id: principal,
    role_id: addresses.role.split("/").at(-1),
    effective_at: "2026-01-01",
    expires_at: "2099-01-01",
    condition,
  });
  if (!assigned.entry.includes("context.amount <= 10000")) fail("the entry lacks the condition");

  await page.goto(`/console/principal?type=user&id=${principal}`);
  await follow(page, "Suspend this principal");
  const wrong = await send(page, { typed: randomUUID() });
  if (!wrong.includes("This is not the id of the principal")) fail(`a wrong confirmation: ${wrong}`);
  await change(page, "principal.create", { typed: principal });
  await page.goto(`/console/principal?type=user&id=${principal}`);
  if (!(await page.locator("main").innerText()).includes("This principal is suspended")) fail("nobody is suspended");
  await follow(page, "End the suspension");
  await change(page, "principal.update", {});

  await page.goto(assigned.subject);
  await follow(page, "Revoke this assignment");
  await change(page, "role_assignment.delete", {});

  await page.goto("/console/events?delivery_state=failed");
  await page.locator("main tbody a[href*='/console/change/requeue']").first().click();
  const requeued = await send(page, {});
  if (!requeued.includes("Events that are pending again: 1")) fail(`an event: ${requeued}`);

  await page.goto("/console/roles");
  await follow(page, "Import principals, roles and assignments");
  const imported = JSON.stringify({ kind: "role", name: `Imported ${randomUUID()}`, permissions: ["document:print"] });
  const difference = await send(page, { format: "json", text: imported, reason: "ticket 42" });
  if (!difference.includes("Nothing is changed yet")) fail(`the difference of an import: ${difference}`);
  await page.getByRole("button", { name: "Make these changes" }).click();
  await page.locator("main a").getByText("Entry", { exact: true }).click();
  const ofImport = await page.locator("main").innerText();
  for (const part of ["role.create", "ticket 42", "operator"]) {
    if (!ofImport.includes(part)) fail(`the entry of an import lacks ${part}: ${ofImport.slice(0, 400)}`);
  }

  await page.goto("/console/roles");
  await follow(page, "Create a role");
  const role = await change(page, "role.create", { name: `Printer ${randomUUID()}`, permissions: "document:print" });
  await page.goto(role.subject);
  await follow(page, "Change this role");
  await change(page, "role.update", { permissions: "document:print\ndocument:download", description: "prints" });
}
