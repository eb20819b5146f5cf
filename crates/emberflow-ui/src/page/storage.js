// Storage: every partition that is kept, a cell each.
import { h, noneYet, set, sync } from "./elements.js";
import { bytes, count, several, short } from "./numbers.js";
import { missing, refresh } from "./screen.js";
import { ask } from "./server.js";

const CELL_STATES = ["resident", "spilled", "computing", "rebuilding", "lost", "empty", "dropped"];
// More that were dropped than these are folded into a line.
const DROPPED = 3;

// Of one RDD, if its id is given.
export function storageView(id) {
  const legend = h("ul", { class: "legend" }, ...CELL_STATES.map((state) => h("li", {}, h("i", { "data-cell": state }), state)), h("li", { text: "with a hole: rebuilt after a loss" }));
  const stores = h("div"), dropped = h("div"), folded = h("div"), summary = h("summary");
  const fold = h("details", { class: "card" }, summary, folded), none = noneYet("Nothing is kept: cache an RDD, or run a shuffle.");
  fold.ontoggle = () => refresh();
  return {
    title: id ? `Storage of rdd ${id}` : "Storage",
    back: ["#/storage", "To all that is stored"],
    els: [h("section", { class: "card" }, h("h2", { text: "Every partition that is kept, a cell each" }), legend), stores, dropped, fold, none],
    async fill() {
      const all = await ask(`/storage/stores${id ? "?limit=100000" : "?limit=60"}`);
      const found = id ? all.filter((x) => String(x.rdd) === id) : all;
      if (id && !found.length) throw missing(`nothing is stored of an rdd ${id}, or it was forgotten`);
      none.hidden = found.length > 0;
      const kept = found.filter((x) => !x.released), gone = found.filter((x) => x.released), many = gone.length > DROPPED;
      fold.hidden = !many;
      set(summary, { text: `${several(gone.length, "store")} that were dropped lately` });
      draw(stores, kept);
      draw(dropped, many ? [] : gone);
      // What is folded is not drawn.
      draw(folded, many && fold.open ? gone : []);
    },
  };

  function draw(into, found) {
    sync(into, found, (x) => x.id, () => h("section", { class: "card" }, h("h2"), h("div", { class: "row soft" }), h("div", { class: "cells", role: "img" })), (el, x) => {
      const [head, line, cells] = el.children;
      const what = x.kind === "Persist" ? "Cached rows" : "Shuffle";
      set(head, { text: `${what}: ${x.name ? `${x.name}, ` : ""}${short(x.operator)}` });
      const facts = x.released ? [`rdd ${x.rdd}`, "dropped"] : [`rdd ${x.rdd}`, `${count(x.storedPartitions)} of ${several(x.partitions, "partition")}`, several(x.rows, "row"), `${bytes(x.bytes)} in memory`, `${bytes(x.fileBytes)} on disk`];
      if (x.losses) facts.push(`${count(x.losses)} lost, ${count(x.rebuilt)} rebuilt`);
      if (x.partitionsPerCell > 1) facts.push(`a cell is ${x.partitionsPerCell} partitions`);
      set(line, { text: facts.join(" · ") });
      set(el, { class: x.released ? "card released" : "card" });
      const tally = CELL_STATES.map((state) => [state, x.cells.filter((c) => c[0] === state).length]).filter(([, n]) => n);
      set(cells, { "aria-label": `${several(x.cells.length, "cell")}: ${tally.map(([state, n]) => `${n} ${state}`).join(", ")}` });
      sync(cells, x.cells.map((cell, at) => ({ cell, at })), (c) => c.at, () => h("i"), (i, { cell: [state, rows, mem, disk, losses, rebuilt], at }) =>
        set(i, { "data-cell": state, class: rebuilt ? "rebuilt" : null, title: `partition ${at * x.partitionsPerCell}: ${state}, ${several(rows, "row")}, ${bytes(mem)} in memory, ${bytes(disk)} on disk${losses ? `, lost ${several(losses, "time")}` : ""}` }));
    });
  }
}
