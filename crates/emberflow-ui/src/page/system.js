// The application itself: what each worker is at, and what it runs with.
import { badge, h, noneYet, sync, table } from "./elements.js";
import { short, span, stageName } from "./numbers.js";
import { ask } from "./server.js";

export function workersView() {
  const cards = h("div"), none = noneYet("The application has ended: there are no workers any more.");
  none.hidden = true;
  return {
    title: "Workers",
    els: [cards, none],
    async fill() {
      const workers = await ask("/executors/driver/threads");
      none.hidden = workers.length > 0;
      sync(cards, workers, (w) => w.threadId, () => h("section", { class: "card" }), (el, w) => {
        const doing = w.stageId == null ? (w.taskId == null ? "waits for work" : `a task that has just begun, or whose stage was forgotten`) : `partition ${w.partition} of `;
        el.replaceChildren(h("h2", { text: w.threadName }), h("div", { class: "row" }, w.taskId == null ? badge("SKIPPED", "idle") : badge("RUNNING", "busy"),
          h("span", {}, doing, w.stageId != null ? h("a", { href: `#/stages/${w.stageId}`, text: stageName(w.stageNumber, w.stageId) }) : "", w.stageId != null ? ` of job ${w.jobId}, attempt ${w.attempt}, since ${span(w.sinceMs)}; now in ${short(w.operator ?? w.stageName)}${w.rdd == null ? "" : ` (rdd ${w.rdd})`}` : "")),
          ...(w.stackTrace.elems?.length ? [h("ol", { class: "stack-trace", "aria-label": "The operators that it runs, the last first" }, ...w.stackTrace.elems.map((text) => h("li", { text })))] : []));
      });
    },
  };
}

export function environmentView() {
  const columns = [{ head: "Name", cell: (x) => x[0] }, { head: "Value", wide: true, cell: (x) => x[1] }];
  const settings = table("Settings", columns), runtime = table("Program", columns), program = h("section", { class: "card" }, runtime);
  return {
    title: "Environment",
    els: [h("section", { class: "card" }, settings), program],
    async fill() {
      const found = await ask("/environment");
      settings.fill(found.sparkProperties, (x) => x[0]);
      program.hidden = Object.keys(found.runtime).length === 0;
      runtime.fill(Object.entries(found.runtime), (x) => x[0]);
    },
  };
}
