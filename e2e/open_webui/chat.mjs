// Chats with Hayhooks in a real Open WebUI, as a person would, and fails where the person would not see what the manual
// says. OPEN_WEBUI and HAYHOOKS are the servers' URLs, PIPELINES holds what is deployed, CHROMIUM is a browser;
// screenshots go into the directory IMAGES.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { chromium } from "playwright-core";

const { OPEN_WEBUI, HAYHOOKS, PIPELINES, CHROMIUM, IMAGES } = process.env;

const checks = [
  // As long as there is no clerk, Open WebUI asks the deployment itself for titles, tags and follow-ups: defaults.
  ["deployments are listed as models", listsModels],
  ["an answer is streamed and its sources are shown", showsSources],
  ["statuses, a tool's result, a source and a toast are shown", showsEvents],
  ["the task model names a chat and thinks of a follow-up", namesChat],
  ["a plain answer is shown", showsPlainAnswer],
  ["stopping an answer stops its pipeline", stops],
  ["a failure before the answer is shown", (page) => fails(page, "What is in stock?", "")],
  ["a failure in mid-answer is shown below what came before", (page) => fails(page, "Please begin.", "The stock is")],
  ["a chat is the same after a reload, events included", survivesReload],
];

await mkdir(IMAGES, { recursive: true });
await deploy("stock_agent");
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
let failed = 0;
for (const [name, check] of checks) {
  const page = await newPage();
  try {
    await check(page);
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    const seen = path.join(IMAGES, `failed-${failed}.png`);
    await page.screenshot({ path: seen });
    console.log(`FAILED  ${name} (${seen})\n${error.stack}\n${await page.locator("body").ariaSnapshot()}`);
  }
  await page.close();
}
await browser.close();
console.log(`${checks.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

// Checks --------------------------------------------------------------------------------------------------------------

async function listsModels(page) {
  await page.goto(OPEN_WEBUI);
  await page.getByRole("button", { name: /^Selected model|^Select a model/ }).click();
  for (const name of ["ask_docs", "stock_agent"]) {
    await page.getByRole("option", { name: `Select ${name} model` }).waitFor();
  }
  const isLoaded = () => [...document.querySelectorAll("[role=option] img")].every((icon) => icon.naturalWidth);
  await page.waitForFunction(isLoaded);
  await picture(page, "models");
  // Deployed while Open WebUI runs: there when its page is loaded again.
  for (const name of ["counter", "failing"]) await deploy(name);
  await page.reload();
  await page.getByRole("button", { name: /^Selected model/ }).click();
  for (const name of ["counter", "failing"]) {
    await page.getByRole("option", { name: `Select ${name} model` }).waitFor();
  }
}

async function showsSources(page) {
  const answer = await ask(page, "ask_docs", "How do I deploy a pipeline?");
  const sources = answer.getByRole("button", { name: /^Toggle \d+ sources?$/ });
  await sources.waitFor();
  assert.match(await answer.innerText(), /deploy/);
  await sources.click();
  await answer.getByRole("button", { name: /^View source: .*\.md/ }).first().waitFor();
  await picture(page, "sources");
}

async function showsEvents(page) {
  const answer = await ask(page, "stock_agent", "Do we have blue kettles?");
  // The agent waits for the warehouse: the status stays until it is opened.
  await answer.getByText("Calling 'check_stock' tool...").waitFor();
  await picture(page, "status");
  await run("stock_agent");
  await answer.getByText("Called 'check_stock' tool").waitFor();
  await answer.getByText("12 blue kettles").waitFor();
  await page.getByText("The stock was counted today.").waitFor();
  const sources = answer.getByRole("button", { name: "Toggle 1 source", exact: true });
  await sources.waitFor();
  assert.match(await answer.innerText(), /Rotterdam\s+Warehouse list/, "[1] has not become a link to the source");
  await sources.click();
  await answer.getByText("Tool call result for 'check_stock'").click();
  await answer.getByText("Shelf 7, Rotterdam").waitFor();
  await picture(page, "events");
}

async function showsPlainAnswer(page) {
  const answer = await ask(page, "clerk", "Good morning.");
  await answer.getByText("Named by the clerk").waitFor();
}

async function namesChat(page) {
  await deploy("clerk");
  const answer = await ask(page, "stock_agent", "Are there still kettles?");
  await answer.getByText("12 blue kettles").waitFor();
  await page.getByRole("main").getByRole("navigation").getByText("Named by the clerk").waitFor();
  await page.getByRole("button", { name: /Do we have red ones\?$/ }).waitFor();
}

async function stops(page) {
  const answer = await ask(page, "counter", "Count.");
  await answer.getByText(/\b3 4 5 6\b/).waitFor();
  assert.equal((await run("counter")).is_counting, true);
  await page.getByRole("button", { name: "Stop" }).click();
  await until(async () => !(await run("counter")).is_counting, "the pipeline goes on counting");
  const { counted } = await run("counter");
  assert.ok(counted < 3000, `it counted to ${counted}`);
  await page.getByRole("button", { name: "Regenerate" }).last().waitFor();
  assert.match(await answer.innerText(), /3 4 5 6/, "what was there before is gone");
}

async function fails(page, question, before) {
  const answer = await ask(page, "failing", question);
  await answer.getByText("The run of 'failing' failed.").waitFor();
  assert.ok((await answer.innerText()).includes(before));
  await page.getByRole("button", { name: "Regenerate" }).last().waitFor();
}

async function survivesReload(page) {
  const before = await ask(page, "stock_agent", "Once more: blue kettles?");
  await before.getByRole("button", { name: "Toggle 1 source", exact: true }).waitFor();
  await page.getByRole("button", { name: "Regenerate" }).last().waitFor();
  await page.reload();
  const answer = page.getByRole("listitem").filter({ has: page.getByText("12 blue kettles") }).last();
  await answer.getByText("Called 'check_stock' tool").waitFor();
  await answer.getByRole("button", { name: "Toggle 1 source", exact: true }).waitFor();
}

// Helpers -------------------------------------------------------------------------------------------------------------

async function newPage() {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce" });
  page.setDefaultTimeout(30_000);
  await page.addLocatorHandler(page.getByRole("button", { name: "Okay, Let's Go!" }), (button) => button.click());
  return page;
}

/** Ask in a new chat; the locator is the answer's place. */
async function ask(page, model, question) {
  await page.goto(`${OPEN_WEBUI}/?models=${model}`);
  await page.getByRole("button", { name: `Selected model: ${model}` }).waitFor();
  await page.locator("#chat-input").fill(question);
  await page.locator("#chat-input").press("Enter");
  return page.getByRole("log").getByRole("listitem").nth(1);
}

async function picture(page, name) {
  const greeting = page.getByText("You're now logged in.");
  if (await greeting.isVisible()) await greeting.waitFor({ state: "hidden" });
  await page.mouse.move(640, 650);
  await page.screenshot({ path: path.join(IMAGES, `open-webui-${name}.png`), animations: "disabled" });
}

async function run(name) {
  return (await post(`${HAYHOOKS}/${name}/run`, {})).result;
}

async function deploy(name) {
  const file = "pipeline_wrapper.py";
  const files = { [file]: await readFile(path.join(PIPELINES, name, file), "utf8") };
  await post(`${HAYHOOKS}/deploy_files`, { name, files, overwrite: true, save_files: false });
}

async function post(url, body, headers = {}) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${url}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

async function until(holds, complaint) {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, complaint);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
