"use strict";
// Keeps the page as it is now: figures come from GET /v1/overview?follow=true and are put where the server drew the ones
// before. Where more than figures change, the page is drawn anew by the server and its parts are taken over.

const about = document.body.dataset.about || null;
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

const fill = (word, values = {}) => word.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

// Figures, as figures.rs writes them.
const fixed = (value, digits) => value.toFixed(digits);
function bytes(count) {
  let unit = "B";
  for (const larger of ["KiB", "MiB", "GiB", "TiB"]) {
    if (count < 999.5) break;
    count /= 1024;
    unit = larger;
  }
  return `${fixed(count, unit === "B" || count >= 9.95 ? 0 : 1)} ${unit}`;
}
const percent = (value) => `${fixed(value, value >= 0.05 && value < 9.95 ? 1 : 0)}%`;
const took = (ms) => (ms < 9.95 ? `${fixed(ms, 1)} ms` : ms < 999.5 ? `${fixed(ms, 0)} ms` : `${fixed(ms / 1000, 1)} s`);
const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");
function span(ms) {
  const seconds = Math.floor(ms / 1000);
  const units = [[WORDS.unit_d, 86400], [WORDS.unit_h, 3600], [WORDS.unit_m, 60], [WORDS.unit_s, 1]];
  let first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) first = units.length - 1;
  const [unit, size] = units[first];
  let text = `${Math.floor(seconds / size)}${unit}`;
  const small = units[first + 1];
  const rest = small ? Math.floor((seconds % size) / small[1]) : 0;
  if (rest > 0) text += `${rest}${small[0]}`;
  return text.trimEnd();
}
function ago(at, now) {
  const seconds = Math.max(0, Math.floor((now - at) / 1000));
  if (seconds === 0) return WORDS.just_now;
  if (seconds < 60) return fill(WORDS.seconds_ago, { n: seconds });
  if (seconds < 3600) return fill(WORDS.minutes_ago, { n: Math.floor(seconds / 60) });
  if (seconds < 86400) return fill(WORDS.hours_ago, { n: Math.floor(seconds / 3600) });
  return fill(WORDS.days_ago, { n: Math.floor(seconds / 86400) });
}
const exact = (at) => new Date(at).toLocaleString(document.documentElement.lang);

// The clock of the machine that everup runs on: this one may go otherwise.
let skew = 0;
const now = () => Date.now() + skew;

// What was used and answered of late, by instance.
const kept = new Map();
const POINTS_MS = 300000;
const TICKS = 50;
function keep(instance, whole, at) {
  let mine = kept.get(instance.name);
  if (!mine || whole) kept.set(instance.name, (mine = { points: [], probes: [] }));
  for (const point of instance.recent) {
    const time = Date.parse(point.at);
    const last = mine.points.at(-1);
    // A point is filled up until the next one begins.
    if (last && Math.floor(last.at / 5000) === Math.floor(time / 5000)) mine.points.pop();
    mine.points.push({ at: time, cpu: point.cpu_percent, memory: point.memory_bytes });
  }
  while (mine.points.length && at - mine.points[0].at > POINTS_MS + 5000) mine.points.shift();
  for (const tick of instance.probes) mine.probes.push({ at: Date.parse(tick.at), ok: tick.ok, ms: tick.ms, message: tick.message });
  if (mine.probes.length > TICKS) mine.probes.splice(0, mine.probes.length - TICKS);
  return mine;
}

// Small pictures, as draw.rs draws them.
function line(points, at, [low, high], key) {
  let path = "";
  let before = null;
  for (const point of points) {
    const age = at - point.at;
    if (point[key] == null || age > POINTS_MS) continue;
    const x = 120 - Math.floor((Math.max(0, age) * 120) / POINTS_MS);
    const y = Math.round(19 - Math.min(1, Math.max(0, (point[key] - low) / (high - low))) * 18);
    path += before && point.at - before.at <= 13000 ? `l${x - before.x} ${y - before.y}` : `M${x} ${y}h0`;
    before = { at: point.at, x, y };
  }
  return path;
}
function range(points, key) {
  const values = points.map((point) => point[key]).filter((value) => value != null);
  return values.length ? [Math.min(...values), Math.max(...values)] : null;
}
const cpuScale = (range) => [0, Math.max(10, range ? range[1] : 0)];
function memoryScale(range) {
  const [low, high] = range ?? [0, 1];
  const room = Math.max(0, high * 0.1 - (high - low)) / 2;
  return [low - room, Math.max(high + room, low - room + 1)];
}

// States, as state.rs tells them.
function toneOf(service, { state, ready, healthy, last_end: end }) {
  if (state === "failed" || state === "backoff") return "bad";
  if (service.crash_looping && service.desired === "up" && !ready) return "bad";
  if ((state === "running" || state === "reloading") && healthy === false) return "bad";
  if (state === "running" && ready) return "good";
  if (state === "exited") {
    const well = service.desired === "down" || (service.type === "task" && ready) || !end || end.code === 0 || end.cause === "user";
    return well ? "dim" : "bad";
  }
  return state === "stopped" ? "dim" : "busy";
}
function stateWords(service, { state, ready, healthy }) {
  let text = state === "exited" && service.type === "task" && ready ? WORDS.completed : WORDS[state];
  if (state === "running" || state === "reloading") {
    if (healthy === false) text += `, ${WORDS.unhealthy}`;
    else if (!ready) text += `, ${WORDS.not_ready}`;
  }
  if (service.crash_looping) text += `, ${WORDS.crash_looping}`;
  return text;
}
function endWords(end) {
  let what = WORDS[`cause_${end.cause}`];
  if (end.cause === "exit") what = end.code == null ? WORDS.cause_exit_plain : fill(what, { code: end.code });
  if (end.cause === "signal") what = end.signal == null ? WORDS.cause_signal_plain : fill(what, { signal: end.signal });
  if (end.certainty === "likely") return fill(WORDS.probably, { what });
  return end.certainty === "guess" ? fill(WORDS.perhaps, { what }) : what;
}
const inTrouble = (service) =>
  (service.instances.length ? service.instances : [service]).some((each) => toneOf(service, each) === "bad");

// Puts a text where another stood; what is the same is left alone, for the sake of who reads it.
function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}
function element(name, attributes, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text != null) made.textContent = text;
  return made;
}
function replace(cell, children) {
  const made = document.createElement("td");
  made.append(...children);
  if (made.innerHTML !== cell.innerHTML) cell.replaceChildren(...made.childNodes);
}

function showState(row, service, each) {
  const tone = toneOf(service, each);
  const mark = $(".state .mark", row);
  if (!mark.classList.contains(tone)) {
    mark.setAttribute("class", `mark ${tone}`);
    $("use", mark).setAttribute("href", `#mark-${tone}`);
  }
  row.classList.toggle("is-bad", tone === "bad");
  put($(".state .word", row), stateWords(service, each));
}

function putFigure(cell, figure, text) {
  const shown = $(".figure", cell);
  put(shown, figure == null ? "–" : text(figure));
  shown.classList.toggle("none", figure == null);
}

function showSpark(cell, figure, points, at, key, what, scale, text) {
  putFigure(cell, figure, text);
  const svg = $(".spark", cell);
  if (!svg) return;
  const within = range(points, key);
  $("path", svg).setAttribute("d", line(points, at, scale(within), key));
  const label = within ? fill(WORDS.spark_range, { what, low: text(within[0]), high: text(within[1]) }) : fill(WORDS.spark_none, { what });
  if (svg.getAttribute("aria-label") !== label) svg.setAttribute("aria-label", label);
}

function showProbes(cell, instance, probes) {
  const { latency } = instance;
  if (!latency) {
    replace(cell, [element("span", { class: "none" }, instance.healthy == null ? WORDS.no_probe : WORDS.no_answer_yet)]);
    return;
  }
  let svg = $(".ticks", cell);
  if (!svg) {
    const space = "http://www.w3.org/2000/svg";
    svg = document.createElementNS(space, "svg");
    for (const [key, value] of [["class", "ticks"], ["viewBox", "0 0 150 20"], ["preserveAspectRatio", "none"], ["role", "img"]]) svg.setAttribute(key, value);
    for (const name of ["ok", "bad"]) svg.append(document.createElementNS(space, "path")), svg.lastChild.setAttribute("class", name);
    cell.replaceChildren(svg, element("span", { class: "took" }));
  }
  const empty = TICKS - probes.length;
  const path = (ok, bar) => probes.map((tick, place) => (tick.ok === ok ? `M${(empty + place) * 3 + 1} ${bar}` : "")).join("");
  $(".ok", svg).setAttribute("d", path(true, "5v10"));
  $(".bad", svg).setAttribute("d", path(false, "1v18"));
  svg.setAttribute("aria-label", fill(WORDS.probes_passed, { ok: probes.filter((tick) => tick.ok).length, n: probes.length }));
  const [last, p50, p99] = [latency.last_ms, latency.p50_ms, latency.p99_ms].map(took);
  put($(".took", cell), `${last} · p50 ${p50} · p99 ${p99}`);
  $(".took", cell).title = fill(WORDS.probe_figures, { last, p50, p99 });
}

function showRequests(cell, requests) {
  if (!cell || !requests) return;
  if (requests.seen === 0) {
    replace(cell, [element("span", { class: "none", title: WORDS.no_access_lines_why }, WORDS.no_access_lines)]);
    return;
  }
  const parts = [element("span", { class: "figure", title: fill(WORDS.seen_in_all, { n: count(requests.seen) }) }, fill(WORDS.per_minute, { n: count(requests.last_minute) }))];
  if (requests.errors_last_minute > 0) parts.push(element("span", { class: "errors" }, fill(WORDS.errors, { n: count(requests.errors_last_minute) })));
  replace(cell, parts);
}

function showNote(cell, service, instance, probes, at) {
  const parts = [];
  if (instance.next_attempt_in_ms != null) parts.push(element("span", { class: "next" }, fill(WORDS.next_try, { time: span(instance.next_attempt_in_ms) })));
  const reason = instance.reason ?? service.reason;
  if (reason && toneOf(service, instance) !== "good") parts.push(element("span", { class: "reason", lang: "en" }, reason));
  const failed = probes.at(-1);
  if (failed && !failed.ok && failed.message && instance.state === "running") parts.push(element("span", { class: "reason", lang: "en" }, failed.message));
  const end = instance.last_end;
  if (end) {
    const when = Date.parse(end.at);
    parts.push(element("span", { class: "end", title: exact(when) }, fill(WORDS.last_end, { what: endWords(end), ago: ago(when, at) })));
  }
  replace(cell, parts);
}

function showInstance(row, service, instance, at) {
  const { points, probes } = kept.get(instance.name);
  showState(row, service, instance);
  const up = $(".uptime", row);
  if (instance.uptime_ms != null && instance.started_at) {
    let time = $("time", up);
    if (!time) up.replaceChildren((time = element("time", { class: "up" })));
    if (time.dateTime !== instance.started_at) {
      time.dateTime = instance.started_at;
      time.title = exact(instance.started_at);
    }
    put(time, span(instance.uptime_ms));
  } else replace(up, [element("span", { class: "none", title: WORDS.not_running }, "–")]);
  put($(".restarts", row), count(instance.restarts));
  showSpark($(".cpu", row), instance.usage?.cpu_percent, points, at, "cpu", WORDS.cpu, cpuScale, percent);
  showSpark($(".memory", row), instance.usage?.memory_bytes, points, at, "memory", WORDS.memory, memoryScale, bytes);
  showProbes($(".probes", row), instance, probes);
  if (!row.classList.contains("among")) showRequests($(".requests", row), service.requests);
  showNote($(".note", row), service, instance, probes, at);
}

function showWhole(row, service) {
  showState(row, service, service);
  const all = service.instances;
  put($(".ready", row), all.length ? fill(WORDS.instances_ready, { ready: all.filter((each) => each.ready).length, n: all.length }) : WORDS.no_instance);
  put($(".restarts", row), count(service.restarts));
  const sum = (key) => all.map((each) => each.usage?.[key]).filter((value) => value != null).reduce((a, b) => (a ?? 0) + b, null);
  const [cpu, memory] = [sum("cpu_percent"), sum("memory_bytes")];
  putFigure($(".cpu", row), cpu, percent);
  putFigure($(".memory", row), memory, bytes);
  showRequests($(".requests", row), service.requests);
  replace($(".note", row), service.reason ? [element("span", { class: "reason", lang: "en" }, service.reason)] : []);
}

function showHead(overview, at) {
  const { host, self } = overview;
  const facts = {
    cpu: host.cpu_percent == null ? "–" : fill(WORDS.of_cpus, { percent: percent(host.cpu_percent), n: host.cpus }),
    memory: host.memory_bytes ? fill(WORDS.used_of, { used: bytes(host.memory_bytes - host.memory_available_bytes), total: bytes(host.memory_bytes) }) : "–",
    load: host.load.map((load) => fixed(load, 2)).join("  "),
    own: [self.cpu_percent == null ? null : percent(self.cpu_percent), self.memory_bytes == null ? null : bytes(self.memory_bytes)].filter((text) => text).join(" · ") || "–",
  };
  for (const [name, text] of Object.entries(facts)) put($(`[data-fact=${name}]`), text);
  $$("[data-fact=disk]").forEach((cell, place) => {
    const disk = host.disks[place];
    if (disk) put(cell, fill(WORDS.free_of, { free: bytes(disk.available_bytes), total: bytes(disk.total_bytes) }));
  });
  put($(".version time"), fill(WORDS.up, { time: span(at - Date.parse(overview.started_at)) }));
  const troubles = overview.services.filter(inTrouble).length;
  const summary = $(".summary");
  put(summary, troubles ? fill(WORDS.trouble_count, { n: troubles }) : WORDS.all_well);
  summary.classList.toggle("bad", troubles > 0);
  const title = document.title.replace(/^\(\d+\) /, "");
  document.title = troubles ? `(${troubles}) ${title}` : title;
  const icon = $("link[rel=icon]");
  const wanted = troubles ? icon.dataset.trouble : icon.dataset.well;
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
}

// Says aloud what changed: at most every five seconds, and how many where it is more than three.
const said = new Map();
let unsaid = new Map();
let saying = null;
function announce(name, text) {
  const before = said.get(name);
  said.set(name, text);
  if (before === undefined || before === text) return;
  unsaid.set(name, text);
  saying ??= setTimeout(() => {
    saying = null;
    const all = [...unsaid].map(([name, state]) => fill(WORDS.now_is, { name, state }));
    put($(".said"), all.length > 3 ? fill(WORDS.changes_many, { n: all.length }) : all.join(". "));
    unsaid = new Map();
  }, saying === null && said.size ? 1000 : 5000);
}

// Takes parts of this page from one drawn anew, at most one at a time.
let drawing = false;
let again = false;
async function anew() {
  if (drawing) {
    again = true;
    return;
  }
  drawing = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of $$("[data-anew]")) {
      const other = $(`[data-anew="${part.dataset.anew}"]`, drawn);
      if (!other || part.contains(document.activeElement) || part.dataset.anew === "log") continue;
      const open = $$("details", part).map((each) => each.open);
      if (other.innerHTML !== part.innerHTML) {
        part.replaceChildren(...other.childNodes);
        if (open.length === $$("details", part).length) $$("details", part).forEach((each, place) => (each.open = open[place]));
      }
    }
  } catch {
    // The stream tells when everup is away.
  } finally {
    drawing = false;
    if (again) {
      again = false;
      setTimeout(anew, 1000);
    }
  }
}

let shape = null;
let lives = null;
let warned = null;
const listeners = [];
function show(overview, whole) {
  const at = Date.parse(overview.at);
  skew = at - Date.now();
  if (overview.version !== document.body.dataset.version) {
    location.reload();
    return;
  }
  const mine = overview.services.filter((service) => !about || service.name === about.split("/")[0]);
  const rows = new Map($$("tr.instance").map((row) => [row.dataset.instance, row]));
  for (const service of mine) {
    for (const instance of service.instances) {
      keep(instance, whole, at);
      const row = rows.get(instance.name);
      if (row) showInstance(row, service, instance, at);
    }
    const row = $(`tbody[data-service="${CSS.escape(service.name)}"] tr.whole`);
    if (row) showWhole(row, service);
    announce(service.name, stateWords(service, service));
  }
  showHead(overview, at);
  for (const time of $$("time.ago")) put(time, ago(Date.parse(time.dateTime), at));
  // Other instances, other runs or other warnings: the server draws what is not a figure.
  const is = JSON.stringify(mine.map((service) => [service.name, service.instances.map((each) => each.name)]));
  const runs = about && JSON.stringify(mine.map((service) => service.instances.map((each) => [each.state, each.run, each.ready, each.healthy])));
  const warnings = JSON.stringify([overview.warnings, mine.map((service) => service.warnings)]);
  if ((shape !== null && is !== shape) || (lives !== null && runs !== lives) || (warned !== null && warnings !== warned)) setTimeout(anew, 300);
  [shape, lives, warned] = [is, runs, warnings];
  for (const listener of listeners) listener(mine, whole, at);
}

// The line to everup.
const link = $(".link");
function linked(state, text) {
  link.hidden = false;
  link.className = `link ${state}`;
  put(link, text);
}

/** Follows a stream while the page is seen; opens it again when it ends. */
function follow(address, take, opened = () => {}, lost = () => {}) {
  let source = null;
  let retry = null;
  const open = () => {
    retry = null;
    source = new EventSource(address());
    source.onopen = opened;
    source.onmessage = (message) => take(JSON.parse(message.data));
    source.onerror = () => {
      source.close();
      source = null;
      lost();
      retry ??= setTimeout(open, 2000);
    };
  };
  const close = () => {
    clearTimeout(retry);
    retry = null;
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || retry || open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && !source && open());
  if (!document.hidden) open();
}

let first = true;
let was_away = false;
follow(
  () => "/v1/overview?follow=true",
  (overview) => {
    const whole = first;
    first = false;
    linked("", WORDS.live);
    if (whole && was_away) {
      was_away = false;
      anew();
    }
    show(overview, whole);
  },
  () => (first = true),
  () => {
    was_away = true;
    linked("away", WORDS.reconnecting);
  },
);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) linked("paused", WORDS.paused);
});
for (const time of $$("time[title]")) time.title = exact(time.dateTime);
