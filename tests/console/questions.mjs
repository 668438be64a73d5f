// The five questions of an auditor in docs/CONSOLE.md, each answered from Home by at most three clicks.
import { fail } from "./visitor.mjs";

const MOST_CLICKS = 3;

/**
 * Answers the questions about `world`: a `base` address, an operator's `token` for the API, a principal with its type,
 * an entity on which it has a role with an action, and the entity's name.
 */
export async function answerQuestions(page, world) {
  const main = page.locator("main");
  let clicks = 0;
  const click = async (target) => {
    clicks += 1;
    await target.click();
  };
  const begin = async () => {
    clicks = 0;
    await page.goto("/console");
  };
  const answered = async (question, parts) => {
    const text = await main.innerText();
    for (const part of parts) if (!text.includes(part)) fail(`${question}: the page lacks ${part}`);
    if (clicks > MOST_CLICKS) fail(`${question}: ${clicks} clicks`);
    console.log(`${question}: ${clicks} clicks`);
  };
  const search = async (field, value) => {
    await main.locator(field).fill(value);
    await click(main.locator(`form:has(${field}) button`));
  };
  /** Opens the entity by its name, which can be the beginning of others. */
  const openEntity = async () => {
    await search("#entity-q", world.name);
    if (!page.url().endsWith(world.entity)) await click(main.getByRole("link", { name: world.name, exact: true }));
  };

  for (const at of ["", world.at]) {
    const question = `Who can ${world.action} on ${world.name} ${at || "today"}?`;
    await begin();
    await openEntity();
    await main.locator("#who-at").fill(at);
    await search("#who-action", world.action);
    await answered(question, [world.principal, at]);
  }

  await begin();
  await search("#principal-q", world.principal);
  await click(main.locator("a[href^='/console/assignments/']").first());
  await answered("Who gave that role, when, why, and when does it end?", ["Granted", "Until"]);

  const body = { user_id: world.principal, principal_type: world.type, action: "nothing", resource_id: world.entity };
  const headers = { Authorization: `Bearer ${world.token}`, "Content-Type": "application/json" };
  const asked = await fetch(`${world.base}/api/v1/authorize`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!asked.ok) fail(`a check: ${await asked.text()}`);
  await begin();
  await openEntity();
  const decision = main.getByRole("row").filter({ hasText: "authorization.evaluate" }).first();
  await click(decision.getByRole("link").first());
  await click(main.getByRole("link", { name: "Explain this decision" }));
  await answered("Why was it refused?", ["Denied", world.principal]);

  await begin();
  await search("#entry-sequence", "1");
  await click(page.getByRole("button", { name: "Verify in this browser" }));
  await page.locator(".verify li").nth(4).waitFor({ timeout: 5000 });
  await answered("Prove that an entry was not changed", ["unchanged"]);
}
