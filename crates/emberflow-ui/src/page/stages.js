// Stages: all of them as a table; one of them with its tasks.
import { badge, h, meter, noneYet, set, table } from "./elements.js";
import { bytes, count, several, short, span, stageName } from "./numbers.js";
import { refresh } from "./screen.js";
import { ask } from "./server.js";

const ROWS = 50;

const us = (n) => span(n == null ? null : n / 1000);
const stageLink = (stage) => h("a", { href: `#/stages/${stage.stageId}`, text: short(stage.name) });

export const stageColumns = [
  { head: "Stage", number: true, cell: (x) => x.number ?? "–" },
  { head: "What", wide: true, cell: stageLink },
  { head: "Makes", cell: (x) => ({ ShuffleMap: "shuffle", Persist: "cached rows", Result: "result" })[x.kind] ?? "–" },
  { head: "State", cell: (x) => badge(x.status) },
  { head: "Took", number: true, cell: (x) => span(x.durationMs) },
  { head: "Tasks", cell: (x) => meter(x.numCompleteTasks, x.numActiveTasks, x.numFailedTasks, x.numTasks) },
  { head: "Rows", number: true, cell: (x) => count(x.rows) },
  { head: "Bytes", number: true, cell: (x) => bytes(x.bytes) },
  { head: "Spilled", number: true, cell: (x) => (x.diskBytesSpilled ? bytes(x.diskBytesSpilled) : "–") },
];

const jobColumn = { head: "Job", number: true, cell: (x) => h("a", { href: `#/jobs/${x.jobId}`, text: x.jobId }) };

export function stagesView() {
  const stages = table("Stages", [jobColumn, ...stageColumns]), none = noneYet("No stage has run yet.");
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

export function stageView(id) {
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
    { head: "Read from", cell: (t) => ({ NO_PREF: "source", PROCESS_LOCAL: "memory", NODE_LOCAL: "disk" })[t.taskLocality] ?? "–" },
    { head: "Took", number: true, sort: "runtime", cell: (t) => us(t.durationUs) },
    { head: "Rows read", number: true, sort: "rowsread", cell: (t) => count(t.rowsRead) },
    { head: "Bytes read", number: true, sort: "bytesread", cell: (t) => bytes(t.bytesRead) },
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
    title: `Run ${id} of a stage`,
    back: ["#/stages", "To all stages"],
    els: [h("section", { class: "card" }, title, state, error), h("section", { class: "card scroll" }, summary), timeline,
      h("section", { class: "card scroll" }, tasks, h("div", { class: "row pager" }, h("label", { for: "failed" }, failedOnly, " only those that failed"), h("span", { class: "grow" }), where, back, on))],
    async fill() {
      const query = `offset=${view.offset}&length=${ROWS}&sortBy=${view.sort}${view.status ? `&status=${view.status}` : ""}`;
      const base = `/stages/${id}/0`;
      const [x, q, t, shown] = await Promise.all([ask(base), ask(`${base}/taskSummary`), ask(`${base}/timeline`), ask(`${base}/taskList?${query}`)]);
      const name = stageName(x.number, x.stageId);
      title.replaceChildren(`${name[0].toUpperCase()}${name.slice(1)} of `, h("a", { href: `#/jobs/${x.jobId}`, text: `job ${x.jobId}` }), `: ${short(x.name)} `, h("small", { text: x.number == null ? "" : `run ${x.stageId}` }));
      state.replaceChildren(badge(x.status), h("span", { text: x.durationMs == null ? "waits for other stages" : `took ${span(x.durationMs)}` }), h("span", { text: `${us(x.runTimeUs)} of work` }),
        h("span", { text: `${several(x.inputRecords + x.shuffleReadRecords, "row")} read` }), h("span", { text: `${several(x.rows, "row")}, ${bytes(x.bytes)} written` }), x.diskBytesSpilled ? h("span", { text: `${bytes(x.diskBytesSpilled)} spilled` }) : "", x.numFailedTasks ? h("span", { text: `${several(x.numFailedTasks, "attempt")} failed` }) : "",
        h("div", { class: "grow" }, meter(x.numCompleteTasks, x.numActiveTasks, x.numFailedTasks, x.numTasks)));
      set(error, { text: x.failureReason });
      error.hidden = !x.failureReason;
      summary.fill([
        { name: "Time on a worker", values: q.runTimeUs, say: us }, { name: "Wait for a worker", values: q.waitUs, say: us },
        { name: "Rows read", values: q.rowsRead, say: count }, { name: "Bytes read", values: q.bytesRead, say: bytes },
        { name: "Rows", values: q.rows, say: count }, { name: "Bytes", values: q.bytes, say: bytes }, { name: "Spilled to disk", values: q.diskBytesSpilled, say: bytes },
      ], (m) => m.name);
      timeline.hidden = t.spans.length === 0;
      if (!timeline.hidden) drawTimeline(canvas, t);
      const busy = t.spans.reduce((sum, [, a, b]) => sum + b - a, 0) / Math.max(1, t.workers * t.lengthUs);
      set(canvas, { "aria-label": `${several(t.workers, "worker")}, ${Math.round(100 * busy)} % busy over ${us(t.lengthUs)}` });
      axis.children[1].textContent = `${us(t.lengthUs)} · ${Math.round(100 * busy)} % busy`;
      tasks.fill(shown, (task) => task.taskId, view.sort);
      where.textContent = shown.length ? `${count(view.offset + 1)} to ${count(view.offset + shown.length)} of ${count(view.status ? x.numFailedTasks : x.tasksRemembered)}` : "none";
      back.disabled = view.offset === 0;
      on.disabled = shown.length < ROWS;
    },
  };
}
