// A browser for one script: headless, with a profile of its own, and nothing but loopback to reach.
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../../..");
const require = createRequire(join(root, "target/peers-node/package.json"));
const { chromium } = require("playwright-core");

/** Where axe-core's one file is. */
export const axe = require.resolve("axe-core/axe.min.js");

const ARGS = [
  "--no-sandbox",
  "--headless",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Runs `use` with a context of these options; gives back what it gives. `context.strays` holds requests off loopback. */
export async function browse(options, use) {
  const profile = mkdtempSync(join(tmpdir(), "everup-page-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: "/usr/bin/chromium", args: ARGS, timezoneId: "UTC", ...options });
  try {
    context.setDefaultTimeout(40_000);
    context.strays = [];
    await context.route(
      (url) => !["127.0.0.1", "localhost", "[::1]"].includes(url.hostname),
      (route) => {
        context.strays.push(route.request().url());
        return route.abort();
      },
    );
    return await use(context);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}
