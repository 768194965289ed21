// What somebody does with the dashboard: logs in, instantiates a VNF, sees why it waits, retries it and rolls it back, watches another
// one to its end, and previews what it then scales and changes. One page all the time, which is never loaded again.
//
//     node story.mjs '{"url", "token", "namespace", "good", "bad"}'      good, bad: ids of VNF instances
//
// Prints the faults that it finds, and fails if there are any.

import { Browser } from "./browser.mjs";

const { url, token, namespace, good, bad } = JSON.parse(process.argv[2]);

const browser = await Browser.open(`${url}/ui/`);
try {
  await logIn();
  await retryAndRollBack();
  await watchToTheEnd();
  await previewAndRun();
  await lookAround();
  await logOut();
  if (!(await browser.isSamePage())) browser.faults.push("the page was loaded again");
} catch (error) {
  browser.faults.push(`${error.message}\n${await browser.page.evaluate(() => `${location.href}\n${document.body.innerText}`)}`);
} finally {
  await browser.close();
}
console.log(browser.faults.join("\n"));
process.exitCode = browser.faults.length === 0 ? 0 : 1;

async function logIn() {
  await browser.see("Log in");
  await browser.inspect("login");
  await browser.type("Token", token);
  await browser.press("Log in");
  await browser.see("Need a decision");
  // From here on, views show what the stream of events tells them: they read nothing again by themselves.
  await browser.page.waitForSelector(".connection.live");
}

/** Instantiates the VNF in the form. Its operation is open then. */
async function instantiate(id) {
  await browser.visit(`#/vnfs/${id}`, id === good ? "good" : "bad");
  await browser.press("Instantiate");
  await browser.type("Flavour", "simple");
  await browser.type("Namespace", namespace);
  await browser.press("Instantiate", "button", "dialog");
  await browser.page.waitForFunction(() => location.hash.startsWith("#/operations/"), { polling: 50 });
}

async function retryAndRollBack() {
  await instantiate(bad);
  await browser.see("ImagePullBackOff");
  await browser.state("failed temp");
  await browser.inspect("operation");
  const operation = await browser.page.evaluate(() => location.hash);
  await browser.visit("#/", "VNFs");
  await browser.see("ImagePullBackOff");
  await browser.inspect("fleet");
  await browser.visit(operation, "Instantiate");
  await browser.press("Retry");
  await browser.page.waitForFunction(() => document.querySelector("#state")?.innerText.trim() !== "failed temp", { polling: 10 });
  await browser.state("failed temp");
  await browser.press("Roll back");
  await browser.press("Roll back", "button", "dialog");
  await browser.state("rolled back");
}

async function watchToTheEnd() {
  await instantiate(good);
  await browser.state("completed");
  await browser.inspect("operation-completed");
}

/** Looks at the plan in the open dialog, in which `difference` changes, and runs it to its end. */
async function runPlan(name, difference) {
  await browser.press("Preview", "button", "dialog");
  await browser.see(difference);
  await browser.inspect(name);
  await browser.press("Run this plan", "button", "dialog");
  await browser.page.waitForFunction(() => location.hash.startsWith("#/operations/"), { polling: 50 });
  await browser.state("completed");
}

async function previewAndRun() {
  await browser.visit(`#/vnfs/${good}`, "good");
  await browser.press("Scale app out");
  await runPlan("preview-scale", "/spec/replicas");
  await browser.visit(`#/vnfs/${good}`, "good");
  await browser.see("level 1 of 2");
  await browser.press("Change package");
  await runPlan("preview-change", "registry.k8s.io/pause:3.9");
}

async function lookAround() {
  await browser.visit(`#/vnfs/${good}`, "good");
  await browser.press("Compare with the cluster");
  await browser.see("as intended");
  await browser.inspect("vnf");
  for (const [view, heading] of [
    ["packages", "Packages"],
    ["vims", "VIMs"],
    ["notifications", "Notifications"],
    ["audit", "Audit"],
  ]) {
    await browser.visit(`#/${view}`, heading);
    await browser.inspect(view);
  }
  await turnPagesAndFilter();
  await browser.page.setViewport({ width: 390, height: 844 });
  await browser.visit("#/", "VNFs");
  await browser.inspect("phone");
}

/** The server has pages of two. */
async function turnPagesAndFilter() {
  await browser.visit("#/", "VNFs");
  await browser.press("Next page", "link");
  await rows("spare");
  await browser.press("First page", "link");
  await rows("good bad");
  await browser.type("Name contains", "a");
  await browser.press("Filter");
  await rows("bad spare");
}

/** Waits until the table of all VNFs has these names. */
async function rows(names) {
  const read = () => [...document.querySelectorAll("tbody th")].map((cell) => cell.innerText).join(" ");
  await browser.page.waitForFunction(`(${read})() === ${JSON.stringify(names)}`, { polling: 50 });
}

async function logOut() {
  await browser.press("Log out");
  await browser.see("Log in with the credential");
}
