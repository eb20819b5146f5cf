// The page: asks the REST interface for what it shows, and draws it. Whatever comes from there is written as text;
// nothing is ever parsed as markup. What stands on the screen is changed where it differs, so that focus and scroll stay.
"use strict";

const API = "api/v1/applications/-";
const SVG = "http://www.w3.org/2000/svg";
const ROWS = 50;
const $ = (id) => document.getElementById(id);

// ---- The token, which came behind the # and leaves the address bar at once.
const given = /^#token=([0-9a-f]+)$/.exec(location.hash);
if (given) {
  sessionStorage.setItem("token", given[1]);
  history.replaceState(null, "", "#/jobs");
}
const token = sessionStorage.getItem("token");

// ---- Words for numbers.
const count = (n) => Number(n ?? 0).toLocaleString("en");
const about = (n) => Number(n ?? 0).toLocaleString("en", { notation: "compact" });
function bytes(n) {
  if (n == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; n >= 1024 && at < 4; at++) n /= 1024;
  return `${at && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}
function span(ms) {
  if (ms == null) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
// `count at src/main.rs:7:10` without the folders.
const short = (operator) => operator.replace(/ at .*?([^/\\]+):(\d+):\d+$/, " at $1:$2");

// ---- Elements.
function set(el, attrs) {
  for (const [name, value] of Object.entries(attrs)) {
    if (name === "text") { if (el.textContent !== String(value ?? "")) el.textContent = value ?? ""; }
    else if (name === "click") el.onclick = value;
    else if (name === "width%") el.style.width = `${value}%`;
    else if (name === "left%") el.style.left = `${value}%`;
    else if (name === "top") el.style.top = `${value}px`;
    else if (name === "height" && !(el instanceof SVGElement)) el.style.height = `${value}px`;
    else if (value == null || value === false) el.removeAttribute(name);
    else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, value);
  }
  return el;
}
const make = (el, attrs, children) => { set(el, attrs); el.append(...children.filter((c) => c != null)); return el; };
const h = (tag, attrs = {}, ...children) => make(document.createElement(tag), attrs, children);
const s = (tag, attrs = {}, ...children) => make(document.createElementNS(SVG, tag), attrs, children);
const badge = (state, text = state.toLowerCase()) => h("span", { class: "badge", "data-state": state, text });

// Makes the children of `parent` those of `items`, each made once by its key and updated after.
function sync(parent, items, key, create, update) {
  const known = new Map([...parent.children].filter((c) => c._key !== undefined).map((c) => [c._key, c]));
  let before = null;
  for (const item of items) {
    const id = key(item);
    let el = known.get(id);
    if (!el) { el = create(item); el._key = id; }
    known.delete(id);
    update(el, item);
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== el) parent.insertBefore(el, place);
    before = el;
  }
  for (const el of known.values()) el.remove();
}

// A table of columns: { head, cell(item) -> text or element, number, sort }.
function table(caption, columns, { sort, onSort } = {}) {
  const heads = columns.map((c) => {
    const label = c.sort ? h("button", { type: "button", text: c.head, click: () => onSort(c.sort) }) : c.head;
    return h("th", { scope: "col", class: c.number ? "number" : null }, label);
  });
  const body = h("tbody");
  const el = h("table", {}, h("caption", { text: caption }), h("thead", {}, h("tr", {}, ...heads)), body);
  el.fill = (items, key, by) => {
    columns.forEach((c, at) => {
      const dir = c.sort && by === c.sort ? "ascending" : c.sort && by === `-${c.sort}` ? "descending" : null;
      set(heads[at], { "aria-sort": dir });
    });
    sync(body, items, key,
      () => h("tr", {}, ...columns.map((c) => h("td", { class: c.number ? "number" : c.wide ? "text" : null }))),
      (row, item) => columns.forEach((c, at) => {
        const value = c.cell(item);
        const cell = row.children[at];
        if (!(value instanceof Node)) set(cell, { text: value });
        else if (cell.firstChild && cell.firstChild.isEqualNode(value)) adopt(cell.firstChild, value);
        else cell.replaceChildren(value);
      }));
    el.caption.hidden = items.length === 0;
  };
  return el;
}
// An element that looks the same stays, and does what the new one would.
function adopt(old, fresh) {
  old.onclick = fresh.onclick;
  [...old.children].forEach((child, at) => adopt(child, fresh.children[at]));
}

function meter(done, running, failed, all) {
  const share = (n) => (all ? Math.min(100, (100 * n) / all) : 0);
  const text = `${count(done)} / ${count(all)}${running ? ` (${count(running)} running)` : ""}${failed ? `, ${count(failed)} failed` : ""}`;
  return h("div", { class: "meter", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": all, "aria-valuenow": done, "aria-label": text },
    h("i", { class: "busy", "width%": share(done + running) }), h("i", { class: failed && done < all ? "bad" : "", "width%": share(done) }), h("b", { text }));
}

// ---- Asking.
async function ask(path) {
  const answer = await fetch(API + path, { cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}
function say(text) { $("said").textContent = text; }

async function cancelJob(job) {
  $("question").textContent = `Cancel job ${job}? Its results are lost.`;
  const dialog = $("ask");
  dialog.returnValue = "keep";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "cancel") return;
  const answer = await fetch(`${API}/jobs/${job}/cancel`, { method: "POST", headers: { "X-Emberflow-Token": token } });
  say(answer.ok ? `Job ${job} was cancelled.` : `Job ${job} was not cancelled: ${await answer.text()}`);
  refresh();
}
function cancelButton(job) {
  if (job.status !== "RUNNING" || !token) return h("span");
  return h("button", { type: "button", class: "danger", text: "Cancel", "aria-label": `Cancel job ${job.jobId}`, click: () => cancelJob(job.jobId) });
}

// ---- The views: each gives its elements, and a function that fills them anew.
const jobLink = (job) => h("a", { href: `#/jobs/${job.jobId}`, text: job.description || short(job.name) });
const stageLink = (stage) => h("a", { href: `#/stages/${stage.stageId}`, text: short(stage.name) });
const noneYet = (text) => h("p", { class: "nothing", text });

const jobColumns = [
  { head: "Job", number: true, cell: (j) => j.jobId },
  { head: "What", wide: true, cell: (j) => h("span", {}, jobLink(j), h("span", { class: "soft", text: j.description ? ` ${short(j.name)}` : "" }), h("span", { class: "soft", text: j.jobGroup ? ` · ${j.jobGroup}` : "" })) },
  { head: "State", cell: (j) => badge(j.status) },
  { head: "Submitted", number: true, cell: (j) => clock(j.startMs) },
  { head: "Took", number: true, cell: (j) => span(j.durationMs) },
  { head: "Stages", number: true, cell: (j) => `${j.numCompletedStages}/${j.numCompletedStages + j.numActiveStages + j.numFailedStages}${j.numSkippedStages ? ` +${j.numSkippedStages} skipped` : ""}` },
  { head: "Tasks", cell: (j) => meter(j.numCompletedTasks, j.numActiveTasks, j.numFailedTasks, j.numTasks) },
  { head: "", cell: cancelButton },
];
const stageColumns = [
  { head: "Stage", number: true, cell: (x) => x.stageId },
  { head: "What", wide: true, cell: stageLink },
  { head: "Makes", cell: (x) => ({ ShuffleMap: "shuffle", Persist: "cached rows", Result: "result" })[x.kind] ?? "–" },
  { head: "State", cell: (x) => badge(x.status) },
  { head: "Took", number: true, cell: (x) => span(x.durationMs) },
  { head: "Tasks", cell: (x) => meter(x.numCompleteTasks, x.numActiveTasks, x.numFailedTasks, x.numTasks) },
  { head: "Rows", number: true, cell: (x) => count(x.rows) },
  { head: "Bytes", number: true, cell: (x) => bytes(x.bytes) },
  { head: "Spilled", number: true, cell: (x) => (x.diskBytesSpilled ? bytes(x.diskBytesSpilled) : "–") },
];

function jobsTimeline() {
  const lanes = h("div", { class: "lanes" }), axis = h("div", { class: "axis" }, h("span"), h("span"));
  const el = h("section", { class: "card", "aria-label": "Jobs over time" }, h("h2", { text: "Timeline" }), lanes, axis);
  el.fill = (all) => {
    const jobs = all.slice(0, 60).reverse();
    el.hidden = jobs.length === 0;
    if (el.hidden) return;
    const now = Math.max(...jobs.map((j) => j.endMs ?? Date.now())), first = Math.min(...jobs.map((j) => j.startMs));
    const length = Math.max(now - first, 1), ends = [];
    for (const j of jobs) {
      let lane = ends.findIndex((end) => end <= j.startMs + length / 1000);
      if (lane < 0) lane = ends.length;
      ends[lane] = j.endMs ?? now;
      j.lane = Math.min(lane, 9);
    }
    set(lanes, { height: Math.min(ends.length, 10) * 24 + 4 });
    sync(lanes, jobs, (j) => j.jobId, (j) => h("a", { href: `#/jobs/${j.jobId}` }), (a, j) => {
      const text = j.description || short(j.name);
      set(a, { text, title: `job ${j.jobId}: ${text}, ${j.status.toLowerCase()}, ${span(j.durationMs)}`, "data-state": j.status,
        "left%": (100 * (j.startMs - first)) / length, "width%": (100 * ((j.endMs ?? now) - j.startMs)) / length, top: 2 + j.lane * 24 });
    });
    axis.children[0].textContent = clock(first);
    axis.children[1].textContent = `${clock(now)} · ${span(length)}`;
  };
  return el;
}

function jobsView() {
  const timeline = jobsTimeline(), jobs = table("Jobs", jobColumns), none = noneYet("No job has run yet.");
  return {
    title: "Jobs",
    els: [timeline, h("section", { class: "card scroll" }, jobs, none)],
    async fill() {
      const found = await ask("/jobs?limit=200");
      timeline.fill(found);
      jobs.fill(found, (j) => j.jobId);
      none.hidden = found.length > 0;
    },
  };
}

function graphSection() {
  const holder = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The stages of the job as a picture" });
  const legend = h("ul", { class: "legend", "aria-label": "What the colours mean" }, ...["COMPLETE", "RUNNING", "PENDING", "SKIPPED", "FAILED", "CANCELLED"].map((state) =>
    h("li", {}, h("i", { "data-state": state }), state.toLowerCase())), h("li", { text: "double border: kept in the cache" }), h("li", { text: "dashed border: was there already" }));
  const more = h("p", { class: "soft" });
  const el = h("section", { class: "card" }, h("h2", { text: "Stages" }), holder, legend, more);
  let last = "";
  el.fill = (g) => {
    const now = JSON.stringify(g);
    if (now === last) return;
    last = now;
    el.hidden = g.boxes.length === 0;
    more.textContent = g.leftOut ? `${count(g.leftOut)} earlier stages are not drawn.` : "";
    const focused = holder.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const svg = s("svg", { class: "graph", width: g.width, height: g.height, role: "group", "aria-label": `${g.boxes.length} stages` },
      s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" }, s("path", { d: "M0 0 L8 4 L0 8 Z" }))));
    for (const a of g.arrows) {
      svg.append(s("path", { class: "arrow", "marker-end": "url(#tip)", d: a.path }));
      if (a.bytes == null) continue;
      const { x, y } = a;
      svg.append(s("text", { class: "label", x, y: y - 4, text: bytes(a.bytes) }), s("text", { class: "label", x, y: y + 10, text: `${about(a.rows)} rows` }));
    }
    for (const b of g.boxes) {
      const kind = { ShuffleMap: "shuffle", Persist: "cached", Result: "result" }[b.kind] ?? "";
      const ran = b.done != null ? `${count(b.done)}/${count(b.tasks)} tasks · ${count(b.rows)} rows` : `${count(b.partitions)} partitions`;
      const left = b.x + g.padding;
      let y = b.y + g.padding + 12;
      const parts = [
        s("title", { text: `${b.name} (${b.state.toLowerCase()})\n${b.operators.join("\n")}` }),
        s("rect", { class: "box", x: b.x, y: b.y, width: g.boxWidth, height: b.height, rx: 8 }),
        b.kind === "Persist" ? s("rect", { class: "inner", x: b.x + 3, y: b.y + 3, width: g.boxWidth - 6, height: b.height - 6, rx: 6 }) : null,
        b.tasks && b.done < b.tasks ? s("rect", { class: "progress", x: b.x + 4, y: b.y + b.height - 6, width: (g.boxWidth - 8) * b.done / b.tasks, height: 3, rx: 1.5 }) : null,
        s("text", { class: "title", x: left, y, text: b.title }),
        s("text", { class: "meta", x: left, y: y += g.lineHeight, text: `${kind} · ${ran}${b.losses ? ` · ${b.losses} lost` : ""}` }),
        ...b.lines.map((line) => s("text", { class: "line", x: left, y: y += g.lineHeight, text: line })),
      ];
      const attrs = { "data-state": b.state, class: b.state === "SKIPPED" ? "skipped" : "" };
      svg.append(b.stage != null ? s("a", { ...attrs, href: `#/stages/${b.stage}`, "aria-label": `${kind} stage ${b.stage}, ${short(b.name)}, ${b.state.toLowerCase()}, ${ran}` }, ...parts) : s("g", attrs, ...parts));
    }
    holder.replaceChildren(svg);
    if (focused) holder.querySelector(`a[href="${focused}"]`)?.focus();
  };
  return el;
}

function jobView(id) {
  const title = h("h1"), state = h("div", { class: "row" }), error = h("div", { class: "error" });
  const graph = graphSection(), stages = table("Runs of stages", stageColumns);
  return {
    title: `Job ${id}`,
    els: [h("section", { class: "card" }, title, state, error), graph, h("section", { class: "card scroll" }, stages)],
    async fill() {
      const job = await ask(`/jobs/${id}`);
      title.replaceChildren(`Job ${job.jobId}: ${job.description || short(job.name)} `, h("small", { text: job.description ? job.name : "" }));
      const fresh = [badge(job.status), h("span", { text: `submitted ${clock(job.startMs)}` }), h("span", { text: `took ${span(job.durationMs)}` }),
        h("div", { class: "grow" }, meter(job.numCompletedTasks, job.numActiveTasks, job.numFailedTasks, job.numTasks)), cancelButton(job)];
      sync(state, fresh.map((el, at) => ({ el, at })), (x) => x.at, (x) => h("div", { class: x.at === 3 ? "grow" : "" }, x.el), (old, x) => {
        if (old.firstChild.isEqualNode(x.el)) adopt(old.firstChild, x.el); else old.replaceChildren(x.el);
      });
      set(error, { text: job.error });
      error.hidden = !job.error;
      graph.fill(await ask(`/jobs/${id}/graph`));
      const all = await ask("/stages");
      const own = new Set(job.stageIds);
      stages.fill(all.filter((x) => own.has(x.stageId)), (x) => x.stageId);
    },
  };
}

function stagesView() {
  const stages = table("Stages", stageColumns), none = noneYet("No stage has run yet.");
  return {
    title: "Stages",
    els: [h("section", { class: "card scroll" }, stages, none)],
    async fill() {
      const found = await ask("/stages?limit=200");
      stages.fill(found, (x) => x.stageId);
      none.hidden = found.length > 0;
    },
  };
}

function drawTimeline(canvas, t) {
  const height = 22, gap = 4, label = 70, scale = devicePixelRatio || 1;
  const width = canvas.clientWidth || 800, all = t.workers * (height + gap);
  canvas.width = width * scale; canvas.height = all * scale;
  set(canvas, { height: all });
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
  const tone = (name) => style.getPropertyValue(name);
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif"; pen.textBaseline = "middle";
  for (let w = 0; w < t.workers; w++) {
    const y = w * (height + gap);
    pen.fillStyle = tone("--hover"); pen.fillRect(label, y, width - label, height);
    pen.fillStyle = tone("--soft"); pen.fillText(`worker ${w}`, 0, y + height / 2);
  }
  const at = (us) => label + ((width - label) * us) / Math.max(t.lengthUs, 1);
  for (const [worker, began, ended, tasks] of t.spans) {
    pen.fillStyle = tone(tasks > 1 ? "--running" : "--done");
    pen.globalAlpha = .85;
    pen.fillRect(at(began), worker * (height + gap) + 2, Math.max(at(ended) - at(began) - (tasks > 1 ? 0 : .7), 1), height - 4);
  }
}

function stageView(id) {
  const title = h("h1"), state = h("div", { class: "row" }), error = h("div", { class: "error" });
  const summary = table("How the tasks are spread", [
    { head: "Measure", cell: (x) => x.name },
    ...["Least", "25 %", "Median", "75 %", "Most"].map((head, at) => ({ head, number: true, cell: (x) => x.say(x.values[at]) })),
  ]);
  const canvas = h("canvas", { role: "img" }), axis = h("div", { class: "axis" }, h("span", { text: "0" }), h("span"));
  const timeline = h("section", { class: "card" }, h("h2", { text: "Workers over time" }), canvas, axis,
    h("ul", { class: "legend" }, h("li", {}, h("i", { "data-state": "COMPLETE" }), "one task"), h("li", {}, h("i", { "data-state": "RUNNING" }), "tasks too short to be told apart")));
  const view = { offset: 0, sort: "id", status: "" };
  const turn = (by) => { view.sort = view.sort === by ? `-${by}` : by; view.offset = 0; refresh(); };
  const tasks = table("Tasks", [
    { head: "Task", number: true, sort: "id", cell: (t) => t.taskId },
    { head: "Partition", number: true, sort: "index", cell: (t) => t.partitionId },
    { head: "Attempt", number: true, sort: "attempt", cell: (t) => t.attempt + 1 },
    { head: "State", sort: "status", cell: (t) => badge(t.status) },
    { head: "Worker", number: true, sort: "worker", cell: (t) => t.worker ?? "–" },
    { head: "Locality", cell: (t) => t.taskLocality.toLowerCase().replace("_", " ") },
    { head: "Took", number: true, sort: "runtime", cell: (t) => span(t.durationUs / 1000) },
    { head: "Rows", number: true, sort: "rows", cell: (t) => count(t.rows) },
    { head: "Bytes", number: true, sort: "bytes", cell: (t) => bytes(t.bytes) },
    { head: "Spilled", number: true, sort: "spilled", cell: (t) => (t.taskMetrics.diskBytesSpilled ? bytes(t.taskMetrics.diskBytesSpilled) : "–") },
    { head: "Error", wide: true, cell: (t) => (t.errorMessage ? h("div", { class: "error", text: t.errorMessage }) : "") },
  ], { onSort: turn });
  const page = (by) => { view.offset = Math.max(0, view.offset + by); refresh(); };
  const back = h("button", { type: "button", text: "← Earlier", click: () => page(-ROWS) });
  const on = h("button", { type: "button", text: "Later →", click: () => page(ROWS) });
  const where = h("span", { class: "soft" });
  const failedOnly = h("input", { type: "checkbox", id: "failed" });
  failedOnly.onchange = () => { view.status = failedOnly.checked ? "failed" : ""; view.offset = 0; refresh(); };
  return {
    title: `Stage ${id}`,
    els: [h("section", { class: "card" }, title, state, error), h("section", { class: "card scroll" }, summary), timeline,
      h("section", { class: "card scroll" }, tasks, h("div", { class: "row pager" }, h("label", { for: "failed" }, failedOnly, " only those that failed"), h("span", { class: "grow" }), where, back, on))],
    async fill() {
      const query = `offset=${view.offset}&length=${ROWS}&sortBy=${view.sort}${view.status ? `&status=${view.status}` : ""}`;
      const base = `/stages/${id}/0`;
      const [x, q, t, shown] = await Promise.all([ask(base), ask(`${base}/taskSummary`), ask(`${base}/timeline`), ask(`${base}/taskList?${query}`)]);
      title.replaceChildren(`Stage ${x.stageId}: ${short(x.name)} `, h("small", {}, "of ", h("a", { href: `#/jobs/${x.jobId}`, text: `job ${x.jobId}` })));
      state.replaceChildren(badge(x.status), h("span", { text: `took ${span(x.durationMs)}` }), h("span", { text: `${span(x.executorRunTime)} of work` }),
        h("span", { text: `${count(x.rows)} rows, ${bytes(x.bytes)}` }), x.diskBytesSpilled ? h("span", { text: `${bytes(x.diskBytesSpilled)} spilled` }) : "",
        h("div", { class: "grow" }, meter(x.numCompleteTasks, x.numActiveTasks, x.numFailedTasks, x.numTasks)));
      set(error, { text: x.failureReason });
      error.hidden = !x.failureReason;
      const us = (n) => span(n / 1000);
      summary.fill([
        { name: "Time on a worker", values: q.runTimeUs, say: us }, { name: "Wait for a worker", values: q.waitUs, say: us },
        { name: "Rows", values: q.rows, say: count }, { name: "Bytes", values: q.bytes, say: bytes }, { name: "Spilled to disk", values: q.diskBytesSpilled, say: bytes },
      ], (m) => m.name);
      timeline.hidden = t.spans.length === 0;
      if (!timeline.hidden) drawTimeline(canvas, t);
      const busy = t.spans.reduce((sum, [, a, b]) => sum + b - a, 0) / Math.max(1, t.workers * t.lengthUs);
      set(canvas, { "aria-label": `${t.workers} workers, ${Math.round(100 * busy)} % busy over ${us(t.lengthUs)}` });
      axis.children[1].textContent = `${us(t.lengthUs)} · ${Math.round(100 * busy)} % busy`;
      tasks.fill(shown, (task) => task.taskId, view.sort);
      where.textContent = shown.length ? `${count(view.offset + 1)} to ${count(view.offset + shown.length)} of ${count(view.status ? x.numFailedTasks : x.tasksRemembered)}` : "none";
      back.disabled = view.offset === 0;
      on.disabled = shown.length < ROWS;
    },
  };
}

const CELL_STATES = ["resident", "spilled", "computing", "rebuilding", "lost", "empty", "dropped"];
function storageView() {
  const legend = h("ul", { class: "legend" }, ...CELL_STATES.map((state) => h("li", {}, h("i", { "data-cell": state }), state)), h("li", { text: "with a hole: rebuilt after a loss" }));
  const stores = h("div"), none = noneYet("Nothing is kept: cache an RDD, or run a shuffle.");
  return {
    title: "Storage",
    els: [h("section", { class: "card" }, h("h2", { text: "Every partition that is kept, a cell each" }), legend), stores, none],
    async fill() {
      const found = await ask("/storage/stores?limit=60");
      none.hidden = found.length > 0;
      sync(stores, found, (x) => x.id, () => h("section", { class: "card" }, h("h2"), h("div", { class: "row soft" }), h("div", { class: "cells", role: "img" })), (el, x) => {
        const [head, line, cells] = el.children;
        const what = x.kind === "Persist" ? "Cached rows" : "Shuffle";
        set(head, { text: `${what}: ${x.name ? `${x.name}, ` : ""}${short(x.operator)}` });
        const facts = x.released ? [`rdd ${x.rdd}`, "dropped"] : [`rdd ${x.rdd}`, `${count(x.storedPartitions)} of ${count(x.partitions)} partitions`, `${count(x.rows)} rows`, `${bytes(x.bytes)} in memory`, `${bytes(x.fileBytes)} on disk`];
        if (x.losses) facts.push(`${count(x.losses)} lost, ${count(x.rebuilt)} rebuilt`);
        if (x.partitionsPerCell > 1) facts.push(`a cell is ${x.partitionsPerCell} partitions`);
        set(line, { text: facts.join(" · ") });
        set(el, { class: x.released ? "card released" : "card" });
        const tally = CELL_STATES.map((state) => [state, x.cells.filter((c) => c[0] === state).length]).filter(([, n]) => n);
        set(cells, { "aria-label": `${x.cells.length} cells: ${tally.map(([state, n]) => `${n} ${state}`).join(", ")}` });
        sync(cells, x.cells.map((cell, at) => ({ cell, at })), (c) => c.at, () => h("i"), (i, { cell: [state, rows, mem, disk, losses, rebuilt], at }) =>
          set(i, { "data-cell": state, class: rebuilt ? "rebuilt" : null, title: `partition ${at * x.partitionsPerCell}: ${state}, ${count(rows)} rows, ${bytes(mem)} in memory, ${bytes(disk)} on disk${losses ? `, lost ${losses} times` : ""}` }));
      });
    },
  };
}

// The kinds of memory are those that the account has, whatever they are.
const KINDS = ["persisted", "map_outputs", "working", "results"];
const place = (name) => (KINDS.includes(name) ? KINDS.indexOf(name) : KINDS.length);
const kindsOf = (memory) => Object.keys(memory).filter((name) => !["budget", "peak", "spilled"].includes(name) && !name.endsWith("_in_all")).sort((a, b) => place(a) - place(b));
const kindName = (name) => name.replaceAll("_", " ");

function memoryView() {
  const chart = s("svg", { class: "chart", viewBox: "0 0 1000 240", preserveAspectRatio: "none", role: "img" });
  const axis = h("div", { class: "axis" }, h("span"), h("span"), h("span")), legend = h("ul", { class: "legend" });
  const now = table("Now", [{ head: "What", cell: (x) => x.name }, { head: "Bytes", number: true, cell: (x) => bytes(x.bytes) }]);
  return {
    title: "Memory",
    els: [h("section", { class: "card" }, h("h2", { text: "What rows take in memory" }), chart, axis, legend), h("section", { class: "card" }, now)],
    async fill() {
      const m = await ask("/memory"), kinds = kindsOf(m.now);
      const samples = [...m.samples, { atMs: m.nowMs, memory: m.now }];
      const sums = samples.map(({ memory }) => { let sum = 0; return kinds.map((kind) => (sum += memory[kind])); });
      const most = Math.max(1, ...sums.map((x) => x.at(-1)));
      const top = m.now.budget < most * 4 ? Math.max(most, m.now.budget) * 1.08 : most * 1.25;
      const first = samples[0].atMs, length = Math.max(1, m.nowMs - first);
      const x = (at) => (1000 * (samples[at].atMs - first)) / length, y = (n) => 240 - (240 * n) / top;
      const area = (kind) => {
        let upper = "", lower = "";
        samples.forEach((_, at) => {
          const below = kind ? sums[at][kind - 1] : 0;
          // What is taken stays taken until the next sample.
          const next = at + 1 < samples.length ? x(at + 1) : 1000;
          upper += `L${x(at)} ${y(sums[at][kind])} L${next} ${y(sums[at][kind])} `;
          lower = `L${next} ${y(below)} L${x(at)} ${y(below)} ` + lower;
        });
        return `M${upper.slice(1)}${lower}Z`;
      };
      chart.replaceChildren(...kinds.map((_, kind) => s("path", { class: `k${kind % 4}`, d: area(kind), opacity: .8 })),
        s("line", { class: "budget", x1: 0, x2: 1000, y1: y(m.now.budget), y2: y(m.now.budget) }));
      set(chart, { "aria-label": kinds.map((kind) => `${kindName(kind)} ${bytes(m.now[kind])}`).join(", ") + ` of ${bytes(m.now.budget)}` });
      const texts = [clock(first), `top: ${bytes(top)}${m.now.budget > top ? `; the budget of ${bytes(m.now.budget)} is far above` : ""}`, clock(m.nowMs)];
      texts.forEach((text, at) => set(axis.children[at], { text }));
      legend.replaceChildren(...kinds.map((kind, at) => h("li", {}, h("i", { class: `k${at % 4}` }), kindName(kind))), h("li", { text: "dashed: the budget" }));
      const rest = Object.keys(m.now).filter((name) => name !== "budget" && !kinds.includes(name));
      now.fill(["budget", ...kinds, ...rest].map((name) => ({ name: kindName(name), bytes: m.now[name] })), (row) => row.name);
    },
  };
}

function workersView() {
  const cards = h("div");
  return {
    title: "Workers",
    els: [cards],
    async fill() {
      const workers = await ask("/executors/driver/threads");
      sync(cards, workers, (w) => w.threadId, () => h("section", { class: "card" }), (el, w) => {
        const doing = w.stageId == null ? (w.taskId == null ? "waits for work" : `a task that has just begun, or whose stage was forgotten`) : `partition ${w.partition} of `;
        el.replaceChildren(h("h2", { text: w.threadName }), h("div", { class: "row" }, w.taskId == null ? badge("SKIPPED", "idle") : badge("RUNNING", "busy"),
          h("span", {}, doing, w.stageId != null ? h("a", { href: `#/stages/${w.stageId}`, text: `stage ${w.stageId}` }) : "", w.stageId != null ? `: ${short(w.stageName)}, attempt ${w.attempt}, ${span(w.sinceLaunchMs)} since it was launched` : "")),
          ...(w.stackTrace.elems?.length ? [h("ol", { class: "stack-trace", "aria-label": "The operators that it runs, the last first" }, ...w.stackTrace.elems.map((text) => h("li", { text })))] : []));
      });
    },
  };
}

function environmentView() {
  const columns = [{ head: "Name", cell: (x) => x[0] }, { head: "Value", wide: true, cell: (x) => x[1] }];
  const settings = table("Settings", columns), runtime = table("Program", columns);
  return {
    title: "Environment",
    els: [h("section", { class: "card" }, settings), h("section", { class: "card" }, runtime)],
    async fill() {
      const found = await ask("/environment");
      settings.fill(found.sparkProperties, (x) => x[0]);
      runtime.fill(Object.entries(found.runtime), (x) => x[0]);
    },
  };
}

// ---- Which view, and when it is drawn anew.
let current = null, busy = false, again = false, over = false;
function open() {
  const [, name, id] = /^#\/(\w+)(?:\/(\d+))?$/.exec(location.hash) ?? [];
  const views = { jobs: id ? () => jobView(id) : jobsView, stages: id ? () => stageView(id) : stagesView, storage: storageView, memory: memoryView, workers: workersView, environment: environmentView };
  current = (views[name] ?? jobsView)();
  document.title = `${current.title} · ${$("name").textContent}`;
  for (const a of document.querySelectorAll("nav a")) set(a, { "aria-current": a.getAttribute("href") === `#/${views[name] ? name : "jobs"}` ? "page" : null });
  $("content").replaceChildren(...current.els);
  refresh();
}
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  const view = current;
  try {
    await view.fill();
    view.filled = true;
  } catch (error) {
    // What is on the screen stays there when the application has ended.
    const text = over ? "The application has ended." : error.message;
    if (view === current && !(over && view.filled)) $("content").replaceChildren(h("p", { class: "nothing", text }));
  }
  busy = false;
  if (again || view !== current) { again = false; refresh(); }
}

function fact(name, value, more) { return { name, value, more }; }
function overview(news) {
  $("name").textContent = news.name;
  document.title = `${current.title} · ${news.name}`;
  const m = news.memory, kinds = kindsOf(m), used = kinds.reduce((sum, kind) => sum + m[kind], 0);
  const facts = [
    fact("Jobs running", count(news.runningJobs), `of ${count(news.jobs)}${news.failedJobs ? `, ${count(news.failedJobs)} failed` : ""}`),
    fact("Tasks running", count(news.runningTasks), `${count(news.tasks)} done${news.failedTasks ? `, ${count(news.failedTasks)} failed` : ""}`),
    fact("Rows", count(news.rows), ""), fact("Lost", count(news.partitionsLost), `${count(news.partitionsRebuilt)} rebuilt`),
    fact("Spilled", bytes(m.spilled), ""), fact("Workers", count(news.workers), `up ${span(news.uptimeMs)}`),
    { ...fact("Memory", bytes(used), `of ${bytes(m.budget)}`), kinds },
  ];
  if (news.eventsMissed) facts.push(fact("Events missed", count(news.eventsMissed), "too fast to be shown"));
  sync($("facts"), facts, (f) => f.name, (f) => h("div", { class: f.kinds ? "wide" : "" }, h("dt", { text: f.name }), h("dd", {}, h("span"), " ", h("small")), f.kinds ? h("div", { class: "stack" }, ...f.kinds.map((_, at) => h("i", { class: `k${at % 4}` }))) : null), (el, f) => {
    set(el.querySelector("dd span"), { text: f.value });
    set(el.querySelector("dd small"), { text: f.more });
    f.kinds?.forEach((kind, at) => set(el.querySelectorAll(".stack i")[at], { "width%": (100 * m[kind]) / m.budget, title: `${kindName(kind)}: ${bytes(m[kind])}` }));
  });
}

function live(state, text) { set($("live"), { "data-state": state, text }); }
function listen() {
  const news = new EventSource("news");
  let version = -1, running = 0;
  news.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    over = told.over;
    running = told.runningTasks;
    overview(told);
    live(over ? "SKIPPED" : "live", over ? "ended" : "live");
    if (over) news.close();
    else if (told.version !== version) refresh();
    version = told.version;
  };
  news.onerror = () => { if (!over) live("FAILED", "no answer"); };
  // A task that takes long says nothing meanwhile, but its time goes on.
  setInterval(() => { if (running && !over && !document.hidden) refresh(); }, 1000);
}

// ---- Light or dark.
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
$("theme").onclick = () => {
  const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  refresh();
};

addEventListener("hashchange", () => { open(); $("content").focus({ preventScroll: true }); });
open();
listen();
