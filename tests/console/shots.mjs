// Screenshots of the console for its documentation.
//
// Usage: node shots.mjs BASE AUDITOR OPERATOR FOLDER < pages, one "name address" a line.
import { readFileSync } from "node:fs";
import { fail, failures, launch, visit } from "./visitor.mjs";

const [base, auditor, operator, folder] = process.argv.slice(2);
const pages = new Map(readFileSync(0, "utf8").trim().split("\n").map((line) => line.split(" ")));

/** The pictures: the page, who looks, the theme, and the height of the window. */
const SHOTS = [
  ["check", auditor, "light", 980],
  ["who-can", auditor, "dark", 620],
  ["entry", auditor, "light", 1060],
  ["assign", operator, "light", 640],
  ["tree", auditor, "light", 570],
  ["import", operator, "light", 700],
];

const browser = await launch();
for (const [name, token, colorScheme, height] of SHOTS) {
  const { context, page } = await visit(browser, base, token, {
    colorScheme,
    viewport: { width: 1360, height },
    timezoneId: "UTC",
  });
  const response = await page.goto(pages.get(name));
  if (response.status() >= 400) fail(`${name}: ${response.status()}`);
  if (name === "entry") {
    await page.getByRole("button", { name: "Verify in this browser" }).click();
    await page.locator(".verify li").nth(4).waitFor({ timeout: 5000 });
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  }
  if (name === "tree") {
    for (const company of ["Acme Estates", "Berlin One"]) {
      const branch = page.locator(".branches > li > details", { has: page.getByText(company, { exact: true }) }).last();
      await branch.locator("summary").first().click();
      await branch.locator(".level > li").first().waitFor({ timeout: 5000 });
    }
  }
  if (name === "import") {
    await page.locator("[name=format]").selectOption("json");
    await page.locator("[name=text]").fill(pages.get("records").split(";").map(decodeURIComponent).join("\n"));
    await page.locator("[name=reason]").fill("FA-2320");
    await page.getByRole("button", { name: "Show what would change" }).click();
  }
  await page.screenshot({ path: `${folder}/console-${name}.png` });
  await context.close();
}
await browser.close();
for (const failure of failures) console.error(failure);
process.exit(failures.length === 0 ? 0 : 1);
