// Jobs: all of them over time and as a table; one of them with its stages.
import { graphSection } from "./graph.js";
import { adopt, badge, h, meter, noneYet, set, sync, table } from "./elements.js";
import { clock, short, span } from "./numbers.js";
import { ask, cancelButton } from "./server.js";
import { stageColumns } from "./stages.js";

const jobLink = (job) => h("a", { href: `#/jobs/${job.jobId}`, text: job.description || short(job.name) });

const jobColumns = [
  { head: "Job", number: true, cell: (j) => j.jobId },
  { head: "What", wide: true, cell: (j) => h("span", {}, jobLink(j), h("span", { class: "soft", text: j.description ? ` ${short(j.name)}` : "" }), h("span", { class: "soft", text: j.jobGroup ? ` · ${j.jobGroup}` : "" })) },
  { head: "State", cell: (j) => badge(j.status) },
  { head: "Submitted", number: true, cell: (j) => clock(j.startMs) },
  { head: "Took", number: true, cell: (j) => span(j.durationMs) },
  { head: "Stages", number: true, cell: (j) => `${j.numCompletedStages}/${j.numCompletedStages + j.numActiveStages + j.numPendingStages + j.numFailedStages}${j.numSkippedStages ? ` +${j.numSkippedStages} skipped` : ""}` },
  { head: "Tasks", cell: (j) => meter(j.numCompletedTasks, j.numActiveTasks, j.numFailedTasks, j.numTasks) },
  { head: "", cell: cancelButton },
];

// How wide a job is drawn at least, in pixels, as the style sheet says: less could be neither seen nor clicked.
const LEAST = 12;

function jobsTimeline() {
  const lanes = h("div"), band = h("div", { class: "lanes" }, lanes), axis = h("div", { class: "axis" }, h("span"), h("span"));
  const el = h("section", { class: "card", "aria-label": "Jobs over time" }, h("h2", { text: "Timeline" }), band, axis);
  el.fill = (all) => {
    const jobs = all.slice(0, 60).reverse();
    el.hidden = jobs.length === 0;
    if (el.hidden) return;
    const now = Math.max(...jobs.map((j) => j.endMs ?? Date.now())), first = Math.min(...jobs.map((j) => j.startMs));
    const length = Math.max(now - first, 1), ends = [];
    for (const j of jobs) {
      let lane = ends.findIndex((end) => end <= j.startMs);
      if (lane < 0) lane = ends.length;
      ends[lane] = Math.max(j.endMs ?? now, j.startMs + length * (LEAST + 1) / (lanes.clientWidth || 1000));
      j.lane = Math.min(lane, 9);
    }
    set(band, { height: Math.min(ends.length, 10) * 24 + 4 });
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

export function jobsView() {
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

export function jobView(id) {
  const title = h("h1"), state = h("div", { class: "row" }), error = h("div", { class: "error" });
  const graph = graphSection(), stages = table("Runs of stages", stageColumns);
  return {
    title: `Job ${id}`,
    back: ["#/jobs", "To all jobs"],
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
      const picture = await ask(`/jobs/${id}/graph`);
      graph.fill(picture);
      const all = await ask("/stages");
      const own = new Set(job.stageIds);
      // One that another job has begun has this job's number here. Parents first, as in the picture.
      const numbers = new Map(picture.boxes.map((b) => [b.store, b.number]));
      const runs = all.filter((x) => own.has(x.stageId)).map((x) => ({ ...x, number: numbers.get(x.storeId) ?? (x.jobId === job.jobId ? x.number : null) }));
      stages.fill(runs.sort((a, b) => a.number - b.number || a.stageId - b.stageId), (x) => x.stageId);
    },
  };
}
