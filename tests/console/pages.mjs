// The console in a browser: every page in both themes and widths, with and without script, as guest, auditor and
// operator, and changes by its forms.
//
// Usage: node pages.mjs BASE AUDITOR OPERATOR SHOTS < pages, one "name address" a line. Fails on a violation of the
// content security policy, a console error, a request to another host, or a serious finding of axe.
import { readFileSync } from "node:fs";
import { changeEverything } from "./changes.mjs";
import { createHostileEntities, visitHostilePages } from "./hostile.mjs";
import { answerQuestions } from "./questions.mjs";
import { axePath, fail, failures, launch, visit } from "./visitor.mjs";

const axe = readFileSync(axePath, "utf8");
const [base, auditor, operator, shots] = process.argv.slice(2);
const all = readFileSync(0, "utf8").trim().split("\n").map((line) => line.split(" "));
const named = (prefix) => all.filter(([name]) => name.startsWith(prefix));
const forms = named("change-");
const pages = all.filter(([name]) => !name.startsWith("change-") && !name.startsWith("guest-"));
const address = (name) => all.find(([given]) => given === name)[1];

const browser = await launch();
const visitor = (token, options) => visit(browser, base, token, options);

/** Each visitor with the pages that are checked in every theme and width, with and without script, and by axe. */
const VISITORS = [
  ["guest", null, named("guest-")],
  ["auditor", auditor, pages],
  ["operator", operator, forms],
];

/** Fails if axe finds something serious on the page as it is. It evaluates its own source: the page must bypass CSP. */
async function inspect(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  for (const { id, impact, nodes } of violations) {
    if (["serious", "critical"].includes(impact)) {
      fail(`${what}: ${id}: ${nodes.map((node) => node.html).slice(0, 2).join(" ")}`);
    }
  }
}

for (const [who, token, list] of VISITORS) {
  for (const colorScheme of ["light", "dark"]) {
    const { context, page } = await visitor(token, { colorScheme, viewport: { width: 1280, height: 900 } });
    for (const [name, path] of list) {
      const response = await page.goto(path);
      if (response.status() >= 400) fail(`${path} (${who}): ${response.status()}`);
      await page.screenshot({ path: `${shots}/${name}-${colorScheme}.png`, fullPage: true });
    }
    await context.close();
  }

  // Narrow and wide: nothing is wider than the window.
  for (const width of [360, 2560]) {
    const { context, page } = await visitor(token, { viewport: { width, height: 900 } });
    for (const [name, path] of list) {
      await page.goto(path);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wider > 0) fail(`${path} (${who}): ${wider} px wider than ${width} px`);
      await page.screenshot({ path: `${shots}/${name}-${width}.png` });
    }
    await context.close();
  }

  // Without script every page shows the same text.
  {
    const { context, page } = await visitor(token, { javaScriptEnabled: false });
    for (const [, path] of list) {
      const response = await page.goto(path);
      if (response.status() >= 400 || !(await page.locator("h1").textContent())) fail(`${path} (${who}): no page`);
    }
    await context.close();
  }

  // axe needs to evaluate its own source, which the policy of the pages forbids.
  for (const colorScheme of ["light", "dark"]) {
    const { context, page } = await visitor(token, { colorScheme, bypassCSP: true });
    for (const [, path] of list) {
      await page.goto(path);
      await inspect(page, `${path} (${who}, ${colorScheme})`);
    }
    // The local time is on hover.
    const without = () => [...document.querySelectorAll("time")].filter((time) => !time.title).length;
    const times = await page.evaluate(without);
    if (times > 0) fail(`${times} times without local time`);
    await context.close();
  }
}

// The pages of an auditor, with the controls that an operator has on them.
for (const bypassCSP of [false, true]) {
  const { context, page } = await visitor(operator, { bypassCSP });
  for (const [, path] of pages) {
    await page.goto(path);
    for (const width of [2560, 360]) {
      await page.setViewportSize({ width, height: 900 });
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wider > 0) fail(`${path} (operator): ${wider} px wider than ${width} px`);
    }
    if (bypassCSP) await inspect(page, `${path} (operator)`);
  }
  await context.close();
}

// The keyboard reaches the content past the navigation.
{
  const { context, page } = await visitor(auditor);
  await page.goto("/console");
  await page.keyboard.press("Tab");
  const skips = await page.evaluate(() => document.activeElement?.className);
  await page.keyboard.press("Enter");
  const reaches = page.waitForFunction(() => document.activeElement?.id === "main", null, { timeout: 5000 });
  if (skips !== "skip" || !(await reaches.then(() => true, () => false))) {
    fail("the first link of a page does not lead to its content");
  }
  await context.close();
}

// A level of the tree opens in place, with the local times of what it brings, and the address stays.
{
  const { context, page } = await visitor(auditor);
  await page.goto("/console/tree");
  const branch = page.locator(".branches > li > details").first();
  await branch.locator("summary").first().click();
  const below = branch.locator(".branches.level > li").first();
  const opened = await below.waitFor({ timeout: 5000 }).then(() => true, () => false);
  if (!opened || new URL(page.url()).pathname !== "/console/tree") fail("no level of the tree opens in place");
  await page.screenshot({ path: `${shots}/tree-open.png`, fullPage: true });
  await context.close();
}

// A condition is checked while it is typed.
{
  const { context, page } = await visitor(operator);
  for (const [form, field] of [["change-assignment", "condition"], ["change-role-create", "conditions"]]) {
    await page.goto(address(form));
    await page.locator(`main [name=${field}]`).fill("{");
    const found = page.locator(".check .notice.bad").waitFor({ timeout: 5000 });
    if (!(await found.then(() => true, () => false))) fail(`${form}: a wrong condition is not found while it is typed`);
  }
  await context.close();
}

// What the service does not answer is said: no result of a former text stays, and a level of the tree can be opened again.
{
  const { context, page } = await visitor(operator, { refusals: true });
  const refuse = (route) => route.fulfill({ status: 403 });
  const appears = (what) => page.locator(what).first().waitFor({ timeout: 5000 }).then(() => true, () => false);
  await page.goto(address("change-assignment"));
  const field = page.locator("main [name=condition]");
  await field.fill('{"expression": "context.n < 3", "parameters": {"n": "int"}}');
  if (!(await appears(".check .notice.good"))) fail("a valid condition is not found while it is typed");
  await page.route(/change\/condition/, refuse);
  await field.fill("{");
  if (!(await appears(".check .unanswered"))) fail("a condition that is not checked is not said");
  if ((await page.locator(".check .notice.good").count()) > 0) fail("a result stays below another condition");
  await page.goto("/console/tree");
  await page.route(/tree\?/, refuse);
  const branch = page.locator(".branches > li > details").first();
  const summary = branch.locator("summary").first();
  await summary.click();
  if (!(await appears(".branches .unanswered"))) fail("a level of the tree that fails is not said");
  await page.unrouteAll();
  await summary.click();
  await summary.click();
  if (!(await appears(".branches.level .branches.level > li"))) fail("a level that failed does not open again");
  await context.close();
}

// The questions of an auditor, from Home.
{
  const { context, page } = await visitor(auditor);
  const question = new URL(address("check-allowed"), base).searchParams;
  const entity = question.get("resource_id");
  await page.goto(`/console/entities/${entity}`);
  const name = await page.locator("h1").innerText();
  await answerQuestions(page, {
    base, token: operator, entity, name, principal: question.get("user_id"), type: question.get("principal_type"),
    action: question.get("action"), at: "2099-10-01",
  });
  await context.close();
}

// The proof of an entry is verified in the browser, and a changed entry or another key is found.
{
  const { context, page } = await visitor(auditor);
  const outcome = async () => {
    await page.getByRole("button", { name: "Verify in this browser" }).click();
    const last = page.locator(".verify li:has-text('The ledger has'), .verify li:has-text('does not hold')");
    await last.waitFor({ timeout: 5000 });
    return { steps: await page.locator(".verify li").count(), said: await last.textContent() };
  };
  const entry = address("entry");
  await page.goto(entry);
  const proved = await outcome();
  if (proved.steps !== 5 || !proved.said.includes("unchanged")) fail(`no proof: ${JSON.stringify(proved)}`);
  await page.screenshot({ path: `${shots}/entry-verified.png`, fullPage: true });
  await page.evaluate(() => (document.querySelector(".verify").dataset.hash = "00".repeat(32)));
  if ((await outcome()).said.includes("unchanged")) fail("a changed entry is taken for the ledger's");
  await page.goto(entry);
  const key = await page.locator(".verify textarea").inputValue();
  const letter = key.at(-6) === "A" ? "B" : "A";
  await page.locator(".verify textarea").fill(key.slice(0, -6) + letter + key.slice(-5));
  if ((await outcome()).said.includes("unchanged")) fail("a signature of another key is accepted");
  await context.close();
}

// An auditor has no control that changes something, and what such a control sends is refused.
{
  const { context, page } = await visitor(auditor, { refusals: true });
  for (const [, path] of pages) {
    await page.goto(path);
    const controls = await page.locator("[href*='/console/change'], [action*='/console/change']").count();
    if (controls > 0) fail(`${path}: ${controls} controls that change something`);
  }
  const formToken = await page.locator("input[name=form_token]").first().getAttribute("value");
  const paths = forms.map(([, path]) => path.split("?")[0]).filter((path) => path.startsWith("/console/change/"));
  for (const path of new Set(paths)) {
    const statuses = await page.evaluate(async ([path, formToken]) => {
      const body = new URLSearchParams({ form_token: formToken, name: "x", type: "spv", permissions: "a:b" });
      const posted = await fetch(path, { method: "POST", body });
      return [posted.status, (await fetch(path)).status];
    }, [path, formToken]);
    if (statuses.join() !== "403,403") fail(`${path}: an auditor gets ${statuses}`);
  }
  await context.close();
}

// An operator has the controls, and each change leads to its entry.
for (const javaScriptEnabled of [true, false]) {
  const { context, page } = await visitor(operator, { javaScriptEnabled, refusals: true });
  await changeEverything(page, { entity: address("entity"), role: address("role"), principals: "/console/principals" });
  await context.close();
}

// Hostile names, where scripts run.
{
  const entity = await createHostileEntities(base, operator);
  for (const bypassCSP of [false, true]) {
    const { context, page } = await visitor(operator, { bypassCSP, refusals: true });
    const picture = (_, what) =>
      page.screenshot({ path: `${shots}/hostile-${what.replaceAll(" ", "-")}.png`, fullPage: true });
    await visitHostilePages(page, entity, bypassCSP ? inspect : picture);
    await context.close();
  }
}

await browser.close();
for (const failure of failures) console.error(failure);
console.log(`${all.length} pages, ${failures.length} failures, screenshots in ${shots}`);
process.exit(failures.length === 0 ? 0 : 1);
