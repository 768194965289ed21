// Headless Chromium for the tests of the dashboard: opens pages, notes what goes wrong in them, and asks axe for faults that hinder
// people.
//
// The packages are in the folder GYBE_BROWSER_PACKAGES, which tests/browser/install prints.

import { createRequire } from "node:module";
import { join } from "node:path";

const load = createRequire(join(process.env.GYBE_BROWSER_PACKAGES, "package.json"));
const { default: puppeteer } = await import(load.resolve("puppeteer-core"));
const axe = load("axe-core").source;

/** The longest that a test waits for what it expects, on a busy machine too. */
const PATIENCE = 120_000;

export class Browser {
  faults = [];

  /** Starts Chromium and opens `url`. */
  static async open(url) {
    const browser = new Browser();
    browser.chromium = await puppeteer.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      // Root has no sandbox of Chromium's; the pages are ours.
      args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--mute-audio"],
      defaultViewport: { width: 1280, height: 900 },
    });
    const page = await browser.chromium.newPage();
    browser.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("pageerror", (error) => browser.faults.push(`error in the page: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warn"].includes(message.type())) {
        browser.faults.push(`console: ${message.text()} ${message.location().url ?? ""}`);
      }
    });
    await page.goto(url);
    await page.evaluate(() => (window.isSamePage = true));
    return browser;
  }

  async close() {
    await this.chromium.close();
  }

  /** Waits until the page shows the text. */
  async see(text) {
    await this.page.waitForFunction((text) => document.body.innerText.includes(text), { polling: 50 }, text);
  }

  /** Waits until the state of the open operation is this one. */
  async state(name) {
    await this.page.waitForFunction(
      (name) => document.querySelector("#state")?.innerText.trim() === name,
      { polling: 50 },
      name,
    );
  }

  /** Presses the button or link with this name, as assistive technology knows it. */
  async press(name, role = "button", within = "") {
    await this.page.locator(`${within} ::-p-aria(${name}[role="${role}"])`.trim()).click();
  }

  /** Types into the field with this label. */
  async type(label, text) {
    // The form of a dialog is there before the dialog opens.
    const find = (label) => {
      const field = [...document.querySelectorAll("label")].find((one) => one.innerText.trim() === label)?.control;
      return field?.checkVisibility() ? field : undefined;
    };
    const field = await this.page.waitForFunction(find, { polling: 50 }, label);
    await field.asElement().type(text);
  }

  /** Opens a view by its fragment, without loading the page again. */
  async visit(fragment, heading) {
    await this.page.evaluate((fragment) => (location.hash = fragment), fragment);
    await this.page.waitForFunction(
      (heading) => document.querySelector("h1")?.innerText === heading && !document.body.innerText.includes("Loading…"),
      { polling: 50 },
      heading,
    );
  }

  /** Notes the serious faults that axe finds, and takes a picture into the folder GYBE_UI_PICTURES. */
  async inspect(name) {
    await this.page.evaluate(axe);
    const { violations } = await this.page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    for (const { id, impact, help, nodes } of violations) {
      if (["serious", "critical"].includes(impact)) {
        this.faults.push(`axe in ${name}: ${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
      }
    }
    const folder = process.env.GYBE_UI_PICTURES;
    if (folder) await this.page.screenshot({ path: join(folder, `${name}.png`) });
  }

  /** Whether the page was never loaded again. */
  async isSamePage() {
    return this.page.evaluate(() => window.isSamePage === true);
  }
}
