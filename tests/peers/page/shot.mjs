// A picture of a page: node shot.mjs URL FILE.png [WIDTH [light|dark [LANGUAGE [SECONDS]]]]
// Waits SECONDS (default 2) so that live figures are in it; 0: as it is without JavaScript.
import { browse } from "./browser.mjs";

const [url, file, width = "1280", colorScheme = "light", locale = "en-US", seconds = "2"] = process.argv.slice(2);
const live = Number(seconds) > 0;
const viewport = { width: Number(width), height: Number(width) < 600 ? 844 : 800 };
await browse({ viewport, colorScheme, locale, javaScriptEnabled: live }, async (context) => {
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(url, { waitUntil: "load" });
  if (live) await page.waitForTimeout(Number(seconds) * 1000);
  await page.screenshot({ path: file, fullPage: true });
});
