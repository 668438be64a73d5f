// The console in a browser: every page in both themes and widths, with and without script, as auditor.
//
// Usage: node pages.mjs BASE TOKEN SHOTS < pages, one "name address" a line. Fails on a violation of the content
// security policy, a console error, a request to another host, or a serious finding of axe.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.env.CONSOLE_MODULES + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [base, token, shots] = process.argv.slice(2);
const pages = readFileSync(0, "utf8").trim().split("\n").map((line) => line.split(" "));
const failures = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu"],
});

/** A logged-in context; notes what must not happen in it. */
async function visitor(options) {
  const context = await browser.newContext({ baseURL: base, ...options });
  context.on("page", (page) => {
    const note = (what) => failures.push(`${page.url()}: ${what}`);
    page.on("console", (message) => message.type() === "error" && note(message.text()));
    page.on("pageerror", (error) => note(error.message));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(base) && !url.startsWith("data:")) note(`a request to ${url}`);
    });
  });
  const page = await context.newPage();
  await page.goto("/console");
  await page.getByLabel("API token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  if (new URL(page.url()).pathname !== "/console") failures.push(`the login led to ${page.url()}`);
  return { context, page };
}

for (const scheme of ["light", "dark"]) {
  const { context, page } = await visitor({ colorScheme: scheme, viewport: { width: 1280, height: 900 } });
  for (const [name, address] of pages) {
    const response = await page.goto(address);
    if (response.status() >= 400) failures.push(`${address}: ${response.status()}`);
    await page.screenshot({ path: `${shots}/${name}-${scheme}.png`, fullPage: true });
  }
  await context.close();
}

// Narrow and wide: nothing is wider than the window.
for (const width of [360, 2560]) {
  const { context, page } = await visitor({ viewport: { width, height: 900 } });
  for (const [name, address] of pages) {
    await page.goto(address);
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (wider > 0) failures.push(`${address}: ${wider} px wider than ${width} px`);
    await page.screenshot({ path: `${shots}/${name}-${width}.png` });
  }
  await context.close();
}

// Without script every page shows the same text.
{
  const { context, page } = await visitor({ javaScriptEnabled: false });
  for (const [, address] of pages) {
    const response = await page.goto(address);
    if (response.status() >= 400 || !(await page.locator("h1").textContent())) failures.push(`${address}: no page`);
  }
  await context.close();
}

// axe needs to evaluate its own source, which the policy of the pages forbids.
for (const scheme of ["light", "dark"]) {
  const { context, page } = await visitor({ colorScheme: scheme, bypassCSP: true });
  for (const [, address] of pages) {
    await page.goto(address);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    for (const { id, impact, nodes } of violations) {
      if (["serious", "critical"].includes(impact)) {
        failures.push(`${address} (${scheme}): ${id}: ${nodes.map((node) => node.html).slice(0, 2).join(" ")}`);
      }
    }
  }
  // The local time is on hover.
  const times = await page.evaluate(() => [...document.querySelectorAll("time")].filter((time) => !time.title).length);
  if (times > 0) failures.push(`${times} times without local time`);
  await context.close();
}

// The keyboard reaches the content past the navigation.
{
  const { context, page } = await visitor({});
  await page.goto("/console");
  await page.keyboard.press("Tab");
  const skips = await page.evaluate(() => document.activeElement?.className);
  await page.keyboard.press("Enter");
  const reaches = page.waitForFunction(() => document.activeElement?.id === "main", null, { timeout: 5000 });
  if (skips !== "skip" || !(await reaches.then(() => true, () => false))) {
    failures.push("the first link of a page does not lead to its content");
  }
  await context.close();
}

// The proof of an entry is verified in the browser, and a changed entry or another key is found.
{
  const { context, page } = await visitor({});
  const outcome = async () => {
    await page.getByRole("button", { name: "Verify in this browser" }).click();
    const last = page.locator(".verify li:has-text('The ledger has'), .verify li:has-text('does not hold')");
    await last.waitFor({ timeout: 5000 });
    return { steps: await page.locator(".verify li").count(), said: await last.textContent() };
  };
  const address = pages.find(([name]) => name === "entry")[1];
  await page.goto(address);
  const proved = await outcome();
  if (proved.steps !== 5 || !proved.said.includes("unchanged")) failures.push(`no proof: ${JSON.stringify(proved)}`);
  await page.screenshot({ path: `${shots}/entry-verified.png`, fullPage: true });
  await page.evaluate(() => (document.querySelector(".verify").dataset.hash = "00".repeat(32)));
  if ((await outcome()).said.includes("unchanged")) failures.push("a changed entry is taken for the ledger's");
  await page.goto(address);
  const key = await page.locator(".verify textarea").inputValue();
  const letter = key.at(-6) === "A" ? "B" : "A";
  await page.locator(".verify textarea").fill(key.slice(0, -6) + letter + key.slice(-5));
  if ((await outcome()).said.includes("unchanged")) failures.push("a signature of another key is accepted");
  await context.close();
}

await browser.close();
for (const failure of failures) console.error(failure);
console.log(`${pages.length} pages, ${failures.length} failures, screenshots in ${shots}`);
process.exit(failures.length === 0 ? 0 : 1);
