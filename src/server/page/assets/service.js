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
  const style = () => getComputedStyle(document.documentElement);
  const kinds = {
    cpu: { points: (mine) => mine.points.map((point) => [point.at, point.cpu]), figure: percent },
    memory: { points: (mine) => mine.points.map((point) => [point.at, point.memory]), figure: bytes },
    latency: { points: (mine) => mine.probes.map((tick) => [tick.at, tick.ms]), figure: took },
  };
  const plots = new Map();
  let names = [];

  function build(kind, box) {
    const colour = (name) => style().getPropertyValue(name).trim();
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
          { ...axis, space: 70 },
          { ...axis, size: 62, values: (_, values) => values.map(figure), ...(kind === "memory" ? { incrs: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192].map((n) => n * 1048576) } : {}) },
        ],
        series: [{}, ...names.map((name, place) => ({ label: name, stroke: colour(`--series-${place % 8}`), width: 1.5, points: { show: false }, spanGaps: false }))],
        hooks: { setCursor: [(plot) => hover(plot, box, figure)] },
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
    const gap = Math.max(25000, span_ms / 200);
    names.forEach((name, place) => {
      let before = null;
      for (const [at, value] of kept.get(name) ? kinds[kind].points(kept.get(name)) : []) {
        const row = (time) => rows.get(time) ?? rows.set(time, new Array(names.length).fill(undefined)).get(time);
        if (before !== null && at - before > gap) row(before + 1)[place] = null;
        row(at)[place] = value;
        before = at;
      }
    });
    const times = [...rows.keys()].sort((a, b) => a - b);
    return [times.map((time) => time / 1000), ...names.map((_, place) => times.map((time) => rows.get(time)[place]))];
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
      const mine = kept.get(row.dataset.instance);
      const { points, figure } = kinds[row.dataset.figures];
      const values = mine ? points(mine).map(([, value]) => value).filter((value) => value != null) : [];
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

  listeners.push((services) => {
    const shown = services.flatMap((service) => service.instances.map((each) => each.name)).filter((name) => !about.includes("/") || name === about);
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
