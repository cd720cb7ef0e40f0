// Drives the page of a running project: node check.mjs NAME URL TOKEN CONTROL
// NAME is one of the checks below; CONTROL is a file in which the test reads what the check wants done (a line a wish).
import { appendFileSync, readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { axe, browse } from "./browser.mjs";

const [name, base, token, control] = process.argv.slice(2);

/** Asks the test to do something with the project. */
const wish = (text) => appendFileSync(control, `${text}\n`);

/** A page that notes whatever the browser complains about. */
async function open(context, path = "/") {
  const page = context.pages()[0] ?? (await context.newPage());
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(base + path, { waitUntil: "load" });
  return page;
}

/** Nothing off this machine was asked for, nothing broke, the policy was kept. */
function clean(context, page) {
  assert.deepEqual(context.strays, [], "requests off loopback");
  assert.deepEqual(page.complaints, [], "complaints of the browser");
}

const row = (page, instance) => page.locator(`tr[data-instance="${instance}"]`);
const wide = { viewport: { width: 1280, height: 800 } };
const narrow = { viewport: { width: 390, height: 844 } };

const checks = {
  async table() {
    await browse(wide, async (context) => {
      const page = await open(context);
      await page.getByRole("table").waitFor();
      assert.match(await page.getByRole("caption").textContent(), /Services/);
      for (const head of ["Service", "State", "Restarts", "CPU", "Memory", "Probes", "Requests", "Note"])
        assert.equal(await page.getByRole("columnheader", { name: head, exact: true }).count(), 1, head);
      for (const each of ["app", "twin/1", "twin/2", "crasher", "held"]) assert.equal(await row(page, each).count(), 1, each);
      await page.locator(".link", { hasText: "live" }).waitFor();
      // A keyboard reaches every service.
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), "/s/app");
      clean(context, page);
    });
  },

  async live() {
    await browse(wide, async (context) => {
      const page = await open(context);
      await page.evaluate(() => (window.loadedOnce = true));
      const app = row(page, "app");
      await app.locator(".word", { hasText: /^running$/ }).waitFor();
      assert.equal(await app.locator(".restarts").textContent(), "0");
      wish("kill app");
      await app.locator(".restarts", { hasText: /^1$/ }).waitFor();
      await app.locator(".note", { hasText: "signal KILL" }).waitFor();
      await app.locator(".word", { hasText: /^running$/ }).waitFor();
      wish("stop app");
      await app.locator(".word", { hasText: /^stopped$/ }).waitFor();
      await page.locator(".said", { hasText: "app is now: stopped" }).waitFor({ state: "attached" });
      wish("scale twin=3");
      await row(page, "twin/3").waitFor();
      assert.equal(await page.evaluate(() => window.loadedOnce), true, "the page was loaded anew");
      // Nobody looks: nothing is asked for. Somebody looks again: it goes on.
      const asked = [];
      page.on("request", (request) => asked.push(request.url()));
      const seen = (hidden) =>
        page.evaluate((hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }, hidden);
      await seen(true);
      await page.locator(".link.paused").waitFor();
      wish("start app");
      wish("sync");
      assert.match(await app.locator(".word").textContent(), /stopped/);
      await seen(false);
      await app.locator(".word", { hasText: /^running$/ }).waitFor();
      assert.equal(asked.filter((url) => url.includes("follow")).length, 1);
      clean(context, page);
    });
  },

  async service() {
    await browse(wide, async (context) => {
      const page = await open(context, "/s/app");
      await page.evaluate(() => (window.loadedOnce = true));
      for (const heading of ["Charts", "Log", "Ended runs", "Events", "Usage"])
        await page.getByRole("heading", { name: heading, exact: true }).waitFor();
      for (const chart of ["CPU of one core", "Memory", "Probe latency"]) await page.getByRole("img", { name: `app: ${chart}`, exact: true }).waitFor();
      assert.equal(await page.locator(".plot canvas").count(), 3);
      await page.locator(".log", { hasText: "listening" }).waitFor();
      wish("kill app");
      await page.locator("details.run summary", { hasText: "signal KILL" }).waitFor();
      await page.locator("table.events code", { hasText: /^ended$/ }).first().waitFor();
      await page.locator(".log li", { hasText: "listening" }).nth(1).waitFor();
      assert.equal(await page.evaluate(() => window.loadedOnce), true, "the page was loaded anew");
      const [recalled] = await Promise.all([page.waitForResponse(/history\?since=1h/), page.getByRole("link", { name: "1 h", exact: true }).click()]);
      assert.equal(recalled.status(), 200);
      await page.goto(`${base}/s/twin/2`);
      assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "twin/2");
      assert.equal(await page.locator("tr.instance").count(), 1);
      clean(context, page);
      const missing = await page.goto(`${base}/s/ap`);
      assert.equal(missing.status(), 404);
      await page.getByText("did you mean app?").waitFor();
    });
  },

  async scriptless() {
    await browse({ ...wide, javaScriptEnabled: false }, async (context) => {
      const page = await open(context);
      await row(page, "app").locator(".word", { hasText: "running" }).waitFor();
      assert.match(await page.locator("noscript").first().innerText(), /Load the page again/);
      await page.getByRole("link", { name: "app", exact: true }).click();
      await page.locator(".drawn svg.chart").waitFor();
      assert.ok((await page.locator(".drawn svg.chart path").count()) > 5);
      assert.equal(await page.locator(".plots").isVisible(), false);
      assert.equal(await page.locator("form.actions").isVisible(), false);
      assert.match(await page.locator("main noscript").innerText(), /everup restart app/);
      await page.locator(".log li", { hasText: "listening" }).waitFor();
      clean(context, page);
    });
  },

  async accessible() {
    const looks = [
      [wide, "light", "en"],
      [narrow, "dark", "ko"],
      [wide, "dark", "en"],
      [narrow, "light", "ko"],
    ];
    // What axe-core injects is not the page's own, so the policy is not kept here.
    await browse({ ...wide, bypassCSP: true }, async (context) => {
      for (const [{ viewport }, colorScheme, language] of looks) {
        await context.setExtraHTTPHeaders({ "accept-language": language });
        for (const path of ["/", "/s/app", "/s/twin", "/s/crasher", "/s/none"]) {
          wish("sync");
          const page = context.pages()[0] ?? (await context.newPage());
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme });
          await page.goto(base + path, { waitUntil: "load" });
          if (path !== "/s/none") await page.locator(".link", { hasText: /live|실시간/ }).waitFor();
          await page.addScriptTag({ path: axe });
          const { violations } = await page.evaluate(() => window.axe.run());
          const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
          const told = bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
          const where = `${path} ${colorScheme} ${language} ${viewport.width}`;
          assert.deepEqual(told, [], where);
          assert.equal(await page.evaluate(() => document.documentElement.lang), language, where);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(overflow <= 0, `${where} is ${overflow} px too wide`);
        }
      }
    });
  },

  async actions() {
    await browse(wide, async (context) => {
      const page = await open(context, "/s/app");
      const result = page.locator(".actions .result");
      const input = page.getByLabel("Token");
      const restart = page.getByRole("button", { name: "Restart", exact: true }).first();
      await restart.click();
      await result.filter({ hasText: "Enter the token first" }).waitFor();
      await input.fill("wrong");
      await page.getByRole("button", { name: "Reload", exact: true }).click();
      await result.filter({ hasText: "the token is missing or wrong" }).waitFor();
      await input.fill(token);
      // Thought better of it.
      await restart.click();
      await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
      assert.match(await result.textContent(), /wrong/);
      const run = page.locator("table.events .run").first();
      assert.match(await run.textContent(), /run 1$/);
      await restart.click();
      await page.getByRole("dialog").getByRole("button", { name: "Restart" }).click();
      await result.filter({ hasText: /^app: / }).waitFor();
      await page.locator("table.events .run", { hasText: /run 2$/ }).first().waitFor();
      // The token is neither in a cookie nor in an address, and lasts as long as the tab.
      assert.deepEqual(await context.cookies(), []);
      assert.ok(!page.url().includes(token));
      assert.equal(await page.evaluate(() => localStorage.length), 0);
      await page.reload();
      assert.equal(await input.inputValue(), token);
      assert.deepEqual(context.strays, []);
      assert.deepEqual(page.complaints.filter((text) => !text.includes("401")), []);
      // Another page's script gets nowhere, even with the token.
      const other = await context.newPage();
      await other.goto(base.replace("127.0.0.1", "localhost"));
      const refused = await other.evaluate(
        async ([url, token]) => {
          const send = (mode) => fetch(url, { method: "POST", mode, headers: mode === "cors" ? { authorization: `Bearer ${token}` } : {} }).then((answer) => answer.status, () => "refused");
          return [await send("cors"), await send("no-cors")];
        },
        [`${base}/v1/services/app/stop`, token],
      );
      assert.equal(refused[0], "refused");
      wish("runs app");
      assert.equal(await other.evaluate(() => window.length), 0);
    });
  },

  async away() {
    await browse(wide, async (context) => {
      const page = await open(context);
      await page.locator(".link", { hasText: "live" }).waitFor();
      wish("everup down");
      await page.locator(".link.away").waitFor();
      wish("everup up");
      await page.locator(".link", { hasText: "live" }).waitFor();
      await row(page, "app").locator(".word", { hasText: /^running$/ }).waitFor();
    });
  },

  // How long until something is seen, and how much was carried: a line of JSON.
  async cost() {
    await browse(wide, async (context) => {
      const page = await context.newPage();
      const figures = [];
      for (let round = 0; round < 6; round++) {
        await page.goto("about:blank");
        await page.goto(base + "/", { waitUntil: "load" });
        await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length === 1);
        figures.push(
          await page.evaluate(() => {
            const [page] = performance.getEntriesByType("navigation");
            const all = [page, ...performance.getEntriesByType("resource").filter((each) => !each.name.includes("/v1/"))];
            return {
              first_paint_ms: Math.round(performance.getEntriesByName("first-contentful-paint")[0].startTime),
              answered_ms: Math.round(page.responseEnd),
              page_bytes: page.transferSize,
              all_bytes: all.reduce((sum, each) => sum + each.transferSize, 0),
              nodes: document.querySelectorAll("*").length,
            };
          }),
        );
      }
      console.log(JSON.stringify(figures));
    });
  },
};

await checks[name]();
