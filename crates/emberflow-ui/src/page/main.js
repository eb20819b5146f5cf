// The page: which view the address names, what stands at the top, and the news that say when to look again. It asks the
// REST interface for what it shows, and draws it.
import { $, h, set, sync } from "./elements.js";
import { jobView, jobsView } from "./jobs.js";
import { kindName, kindsOf, memoryView } from "./memory.js";
import { bytes, count, span } from "./numbers.js";
import { end, isOver, nowhere, refresh, show, title } from "./screen.js";
import { listen } from "./server.js";
import { stageView, stagesView } from "./stages.js";
import { storageView } from "./storage.js";
import { environmentView, workersView } from "./system.js";

const views = {
  jobs: (id) => (id ? jobView(id) : jobsView()),
  stages: (id) => (id ? stageView(id) : stagesView()),
  storage: (id) => storageView(id),
  memory: memoryView,
  workers: workersView,
  environment: environmentView,
};

function open() {
  const hash = ["", "#/", "#content"].includes(location.hash) ? "#/jobs" : location.hash;
  const [, name, id] = /^#\/(\w+)(?:\/(\d+))?$/.exec(hash) ?? [];
  // Some views are of one thing only.
  const known = Object.hasOwn(views, name) && (id === undefined || views[name].length > 0) ? name : null;
  show(known ? views[known](id) : nowhere(hash));
  document.title = `${title()} · ${$("name").textContent}`;
  for (const a of document.querySelectorAll("nav a")) set(a, { "aria-current": a.getAttribute("href") === `#/${known}` ? "page" : null });
}

function fact(name, value, more) { return { name, value, more }; }
function overview(news) {
  $("name").textContent = news.name;
  document.title = `${title()} · ${news.name}`;
  const m = news.memory, kinds = kindsOf(m), used = kinds.reduce((sum, kind) => sum + m[kind], 0);
  const facts = [
    fact("Jobs running", count(news.runningJobs), `of ${count(news.jobs)}${news.failedJobs ? `, ${count(news.failedJobs)} failed` : ""}`),
    fact("Tasks running", count(news.runningTasks), `${news.pendingTasks ? `${count(news.pendingTasks)} pending, ` : ""}${count(news.tasks)} done${news.failedTasks ? `, ${count(news.failedTasks)} failed` : ""}`),
    fact("Rows", count(news.rows), ""), fact("Lost", count(news.partitionsLost), `${count(news.partitionsRebuilt)} rebuilt`),
    fact("Spilled", bytes(m.spilled), ""), fact("Workers", count(news.workers), `${news.replayed ? "ran" : "up"} ${span(news.uptimeMs)}`),
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
let version = -1, running = 0;
function told(news) {
  running = news.runningTasks;
  overview(news);
  const state = news.over ? "ended" : news.replayed ? "history" : "live";
  live(state === "live" ? state : "SKIPPED", state);
  if (news.over) end();
  else if (news.version !== version) refresh();
  version = news.version;
}
// A task that takes long says nothing meanwhile, but its time goes on.
setInterval(() => { if (running && !isOver() && !document.hidden) refresh(); }, 1000);

// Light or dark.
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
$("theme").onclick = () => {
  const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  refresh();
};

document.querySelector(".skip").onclick = (event) => { event.preventDefault(); $("content").focus(); };
addEventListener("hashchange", () => { open(); $("content").focus({ preventScroll: true }); });
open();
listen(told, (why) => live("FAILED", why));
