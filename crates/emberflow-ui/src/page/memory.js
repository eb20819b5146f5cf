// Memory: what rows take, by kind, over time.
import { h, s, set, table } from "./elements.js";
import { bytes, clock, several } from "./numbers.js";
import { ask } from "./server.js";

// What together fills the budget. Of the rest of the account, these are bytes; what else it has is counted.
const KINDS = ["persisted", "map_outputs", "working", "results"];
const BYTES = ["budget", ...KINDS, "peak", "spilled", "spilled_in_all", "read_back_in_all"];
export const kindsOf = (memory) => KINDS.filter((name) => name in memory);
export const kindName = (name) => name.replaceAll("_", " ");

export function memoryView() {
  const chart = s("svg", { class: "chart", viewBox: "0 0 1000 240", preserveAspectRatio: "none", role: "img" });
  const axis = h("div", { class: "axis" }, h("span"), h("span"), h("span")), legend = h("ul", { class: "legend" });
  const now = table("Now", [{ head: "What", cell: (x) => x.name }, { head: "How much", number: true, cell: (x) => x.value }]);
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
      now.fill(["budget", ...kinds, ...rest].map((name) => ({ name: kindName(name), value: BYTES.includes(name) ? bytes(m.now[name]) : several(m.now[name], "time") })), (row) => row.name);
    },
  };
}
