// The dashboard with very many VNFs: pages and filters of the server, and what the page holds.
//
//     node many.mjs '{"url", "token", "last"}'      last: the name of a VNF instance that is on no first page
//
// Prints the faults that it finds, and fails if there are any.

import { Browser } from "./browser.mjs";

const { url, token, last } = JSON.parse(process.argv[2]);
/** What a page of the default size has. */
const MOST_ROWS = 1000;

const browser = await Browser.open(`${url}/ui/`);
try {
  await browser.see("Log in");
  await browser.type("Token", token);
  await browser.press("Log in");
  const first = await rows();
  await browser.press("Next page", "link");
  await browser.page.waitForFunction(
    (first) => ![first, undefined].includes(document.querySelector("tbody th")?.innerText),
    { polling: 50 },
    first,
  );
  await rows();
  await browser.inspect("many");
  await browser.type("Name contains", last);
  await browser.press("Filter");
  await browser.page.waitForFunction(
    (last) => [...document.querySelectorAll("tbody th")].map((cell) => cell.innerText).join() === last,
    { polling: 50 },
    last,
  );
} catch (error) {
  browser.faults.push(`${error.message}\n${await browser.page.evaluate(() => document.body.innerText)}`);
} finally {
  await browser.close();
}
console.log(browser.faults.join("\n"));
process.exitCode = browser.faults.length === 0 ? 0 : 1;

/** Waits for the table; returns the name in its first row. */
async function rows() {
  await browser.page.waitForSelector("tbody th");
  const names = await browser.page.$$eval("tbody th", (cells) => cells.map((cell) => cell.innerText));
  if (names.length > MOST_ROWS) browser.faults.push(`the page has ${names.length} rows, more than ${MOST_ROWS}`);
  return names[0];
}
