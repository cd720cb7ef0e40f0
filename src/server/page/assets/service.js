"use strict";
// A service's page: charts that move, the log as it is written, and buttons.

addEventListener("DOMContentLoaded", () => {
  charts();
  log();
  actions();
});

function charts() {
  const section = $(".charts");
  const span_ms = Number(section.dataset.rangeMs);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const kinds = {
    cpu: { points: (mine) => mine.points.map((point) => [point.at, point.cpu]), figure: percent },
    memory: { points: (mine) => mine.points.map((point) => [point.at, point.memory]), figure: bytes },
    latency: { points: (mine) => mine.probes.map((tick) => [tick.at, tick.ms]), figure: took },
  };
  // Round steps in each unit.
  const times = (factors, bases) => bases.flatMap((base) => factors.map((factor) => factor * base));
  const tens = [0.1, 1, 10, 100, 1000, 10000, 100000];
  const steps = { cpu: times([1, 2, 5], tens), latency: times([1, 2, 5], tens), memory: times([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], [1024, 1048576, 1073741824]) };
  const plots = new Map();
  const series = new Map();
  let gap_ms = 25000;
  const clock = new Intl.DateTimeFormat(document.documentElement.lang, span_ms > 86400000 ? { month: "numeric", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  let names = [];

  function build(kind, box) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
    const { figure } = kinds[kind];
    const plot = new uPlot(
      {
        width: box.clientWidth || 400,
        height: names.length > 1 ? 212 : 190,
        legend: { show: names.length > 1, live: false },
        cursor: { y: false, points: { size: 6 } },
        scales: {
          x: { time: true, range: () => [(now() - span_ms) / 1000, now() / 1000] },
          y: { range: (_, low, high) => [0, (high ?? 0) > 0 ? high * 1.1 : 1] },
        },
        axes: [
          { ...axis, space: 70, values: (_, times) => times.map((time) => clock.format(time * 1000)) },
          { ...axis, size: 62, incrs: steps[kind], values: (_, values) => values.map(figure) },
        ],
        series: [{}, ...names.map((name, place) => ({ label: name, stroke: colour(`--series-${place % 8}`), width: 1.5, points: { show: false }, spanGaps: false }))],
        hooks: { setCursor: [(plot) => hover(plot, box, figure)], draw: [marks] },
      },
      data(kind),
      element("div", {}),
    );
    box.replaceChildren(plot.root, element("p", { class: "reading hint" }));
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", box.dataset.label);
    plots.set(kind, plot);
  }

  // All instances on one axis of time; a value that another instance has no counterpart for is left open.
  function data(kind) {
    const rows = new Map();
    const row = (time) => rows.get(time) ?? rows.set(time, new Array(names.length).fill(undefined)).get(time);
    names.forEach((name, place) => {
      let before = null;
      for (const [at, value] of series.get(name)?.[kind] ?? []) {
        if (before !== null && at - before > gap_ms) row(before + 1)[place] = null;
        row(at)[place] = value;
        before = at;
      }
    });
    const times = [...rows.keys()].sort((a, b) => a - b);
    return [times.map((time) => time / 1000), ...names.map((_, place) => times.map((time) => rows.get(time)[place]))];
  }

  // What the history keeps comes first; what is seen from then on is put behind it.
  async function recall() {
    const answer = await fetch(`/v1/services/${encodeURIComponent(about)}/history?since=${section.dataset.range}&metric=cpu,memory,probe`).catch(() => null);
    if (!answer?.ok) return;
    const report = await answer.json();
    gap_ms = Math.max(25000, report.step_s * 2500);
    const found = new Map();
    for (const row of report.rows) {
      const at = Date.parse(row.at);
      const mine = found.get(row.instance) ?? found.set(row.instance, { cpu: [], memory: [], latency: [] }).get(row.instance);
      // Between two runs is nothing.
      if (mine.run && mine.run !== row.run) for (const kind of Object.keys(kinds)) mine[kind].push([at - 1, null]);
      mine.run = row.run;
      if (row.cpu_percent != null) mine.cpu.push([at, row.cpu_percent]);
      if (row.memory_bytes != null) mine.memory.push([at, row.memory_bytes]);
      if (row.probe_ms != null) mine.latency.push([at, row.probe_ms]);
    }
    for (const [name, mine] of found) {
      // What is still in memory is finer than what is kept of the same time.
      for (const kind of Object.keys(kinds)) {
        const fresh = kept.get(name) ? kinds[kind].points(kept.get(name)) : [];
        const begins = fresh.length ? fresh[0][0] : Infinity;
        mine[kind] = [...mine[kind].filter(([at]) => at < begins), ...fresh];
      }
      series.set(name, mine);
    }
    draw();
  }

  function append(name) {
    const mine = series.get(name) ?? series.set(name, { cpu: [], memory: [], latency: [] }).get(name);
    const from = now() - span_ms - gap_ms;
    for (const [kind, { points }] of Object.entries(kinds)) {
      const all = mine[kind];
      // The last point may have been filled up since.
      const slot = (at) => (kind === "latency" ? at : Math.floor(at / 5000));
      for (const point of points(kept.get(name))) {
        if (point[1] == null) continue;
        const last = all.at(-1);
        if (!last || slot(point[0]) > slot(last[0])) all.push(point);
        else if (slot(point[0]) === slot(last[0])) all[all.length - 1] = point;
      }
      while (all.length && all[0][0] < from) all.shift();
    }
  }

  // Starts, ends and reloads, as the events on this page tell them.
  function marks(plot) {
    const colours = { started: colour("--good"), ended: colour("--bad"), reload_done: colour("--link") };
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const row of $$("table.events tbody tr")) {
      const stroke = colours[$("code", row).textContent];
      const x = plot.valToPos(Date.parse($("time", row).dateTime) / 1000, "x", true);
      if (!stroke || x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = stroke;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function hover(plot, box, figure) {
    const place = plot.cursor.idx;
    const told = place == null ? [] : names.map((name, number) => [name, plot.data[number + 1][place]]).filter(([, value]) => value != null);
    const when = place == null ? "" : exact(plot.data[0][place] * 1000);
    put($(".reading", box), told.length ? `${when}  ${told.map(([name, value]) => (names.length > 1 ? `${name} ${figure(value)}` : figure(value))).join("  ")}` : "");
  }

  function draw() {
    for (const box of $$(".plot")) {
      const kind = box.closest("figure").dataset.chart;
      if (plots.has(kind)) plots.get(kind).setData(data(kind));
      else build(kind, box);
    }
    figures();
  }

  // The same as figures, for who cannot see the charts.
  function figures() {
    for (const row of $$("tr[data-figures]")) {
      const { figure } = kinds[row.dataset.figures];
      const values = (series.get(row.dataset.instance)?.[row.dataset.figures] ?? []).map(([, value]) => value).filter((value) => value != null);
      const sum = values.reduce((a, b) => a + b, 0);
      const told = values.length ? [Math.min(...values), sum / values.length, Math.max(...values), values.at(-1)].map(figure) : ["–", "–", "–", "–"];
      $$("td", row).forEach((cell, place) => put(cell, told[place]));
    }
  }

  function rebuild() {
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    draw();
  }

  listeners.push((services, whole) => {
    const shown = services.flatMap((service) => service.instances.map((each) => each.name)).filter((name) => !about.includes("/") || name === about);
    for (const name of shown) append(name);
    if (whole) recall();
    if (shown.join() !== names.join()) {
      names = shown;
      rebuild();
    } else draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
  addEventListener("resize", () => {
    for (const plot of plots.values()) plot.setSize({ width: plot.root.parentElement.clientWidth, height: plot.height });
  });
}

function log() {
  const box = $(".log");
  const list = $("ol", box);
  const plain = (line) => line.replace(/\x1b\[[\x20-\x3f]*[\x40-\x7e]?/g, "").replace(/[\u202a-\u202e\u2066-\u2069]|(?!\t)[\x00-\x1f\x7f-\x9f]/g, "\ufffd");
  const KEPT = 500;
  // A line that opens begins with the lines that are there, so none is missed and none comes twice.
  let anew = false;
  box.scrollTop = box.scrollHeight;
  follow(
    () => `/v1/services/${encodeURIComponent(about)}/logs?follow=true&n=100`,
    (entry) => {
      if (entry.line === undefined) return;
      const bottom = anew || box.scrollHeight - box.scrollTop - box.clientHeight < 30;
      if (anew) list.replaceChildren();
      anew = false;
      $("p.hint", box)?.remove();
      const item = element("li", entry.stream === "stderr" ? { class: "err" } : {});
      item.append(element("time", { datetime: entry.at, title: exact(entry.at) }, entry.at.slice(11, 19)), " ", element("span", {}, plain(entry.line)));
      list.append(item);
      while (list.childElementCount > KEPT) list.firstElementChild.remove();
      if (bottom) box.scrollTop = box.scrollHeight;
    },
    () => (anew = true),
  );
}

function actions() {
  const form = $("form.actions");
  if (!form) return;
  const input = $("input[name=token]", form);
  const result = $(".result", form);
  const dialog = $("dialog.confirm");
  const KEY = "everup-token";
  form.hidden = false;
  input.value = sessionStorage.getItem(KEY) ?? "";
  input.addEventListener("change", () => (input.value ? sessionStorage.setItem(KEY, input.value) : sessionStorage.removeItem(KEY)));
  form.addEventListener("submit", (event) => event.preventDefault());

  function say(text, bad = false) {
    result.classList.toggle("bad", bad);
    put(result, text);
  }

  function sure(button) {
    if (!button.dataset.confirm) return Promise.resolve(true);
    put($("#question", dialog), button.dataset.confirm);
    put($(".yes", dialog), button.textContent);
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((decided) => dialog.addEventListener("close", () => decided(dialog.returnValue === "yes"), { once: true }));
  }

  async function act(button) {
    const token = input.value.trim();
    if (!token) {
      say(WORDS.token_missing, true);
      input.focus();
      return;
    }
    if (!(await sure(button))) return;
    const buttons = $$("button", form);
    for (const each of buttons) each.disabled = true;
    say(fill(WORDS.under_way, { action: button.textContent }));
    try {
      const address = `/v1/services/${encodeURIComponent(about)}/${button.dataset.action}?wait=60s`;
      const answer = await fetch(address, { method: "POST", headers: { authorization: `Bearer ${token}`, accept: "application/json" } });
      const told = await answer.json();
      if (told.error) {
        say([told.error.message, told.error.hint].filter((text) => text).join(". "), true);
        if (answer.status === 401) input.focus();
      } else {
        sessionStorage.setItem(KEY, input.value);
        say([...told.services.map((each) => `${each.name}: ${each.message}`), ...(told.notes ?? [])].join(". "));
      }
    } catch (error) {
      say(fill(WORDS.unreachable, { why: error.message }), true);
    } finally {
      for (const each of buttons) each.disabled = false;
    }
  }
  for (const button of $$("[data-action]", form)) button.addEventListener("click", () => act(button));
}
