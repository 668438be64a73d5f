// Visitors of the console in a browser, and what must not happen to them.
import { createRequire } from "node:module";

const require = createRequire(process.env.CONSOLE_MODULES + "/");
const { chromium } = require("playwright-core");

export const axePath = require.resolve("axe-core/axe.min.js");

/** What went wrong so far. */
export const failures = [];

export const fail = (what) => failures.push(what);

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });

/**
 * A page of a visitor that is logged in with `token`, a guest without one. Violations of the content security policy,
 * console errors, errors of scripts and requests to other hosts are failures; `refusals` says that pages may be
 * refused, which a browser reports as an error too.
 */
export async function visit(browser, base, token, { refusals = false, ...options } = {}) {
  const context = await browser.newContext({ baseURL: base, ...options });
  context.on("page", (page) => {
    const note = (what) => fail(`${page.url()}: ${what}`);
    page.on("console", (message) => {
      // The browser says so, and htmx does.
      const isRefusal = refusals && /(status of|Error Code) 40[03]/.test(message.text());
      if (message.type() === "error" && !isRefusal) note(message.text());
    });
    page.on("pageerror", (error) => note(error.message));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(base) && !url.startsWith("data:")) note(`a request to ${url}`);
    });
  });
  const page = await context.newPage();
  if (token) {
    await page.goto("/console");
    await page.getByLabel("API token").fill(token);
    await page.getByRole("button", { name: "Log in", exact: true }).click();
    if (new URL(page.url()).pathname !== "/console") fail(`the login led to ${page.url()}`);
  }
  return { context, page };
}
