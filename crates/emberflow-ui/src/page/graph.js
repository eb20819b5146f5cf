// The stages of a job as a picture. Where things stand in it is the server's business.
import { h, s } from "./elements.js";
import { about, bytes, count, several, short } from "./numbers.js";

const rowsOf = (n) => (n < 1e6 ? several(n, "row") : `${about(n)} rows`);

export function graphSection() {
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
    more.textContent = g.leftOut ? `${several(g.leftOut, "earlier stage is", "earlier stages are")} not drawn.` : "";
    const focused = holder.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const svg = s("svg", { class: "graph", width: g.width, height: g.height, role: "group", "aria-label": several(g.boxes.length, "stage") },
      s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" }, s("path", { d: "M0 0 L8 4 L0 8 Z" }))));
    for (const a of g.arrows) {
      svg.append(s("path", { class: "arrow", "marker-end": "url(#tip)", d: a.path }));
      // Of several that were not read as a whole, it is not known what came of which.
      const { x, y } = a;
      if (a.bytes != null) svg.append(s("text", { class: "label", x, y: y - 4, text: bytes(a.bytes) }));
      svg.append(s("text", { class: "label", x, y: y + 10, text: a.rows == null ? `of ${rowsOf(a.storedRows)}` : rowsOf(a.rows) }));
    }
    for (const b of g.boxes) {
      const kind = { ShuffleMap: "shuffle", Persist: "cached", Result: "result" }[b.kind] ?? "";
      const ran = b.done != null ? `${count(b.done)}/${several(b.tasks, "task")} · ${several(b.rows, "row")}` : several(b.partitions, "partition");
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
      svg.append(b.stage != null ? s("a", { ...attrs, href: `#/stages/${b.stage}`, "aria-label": `${kind} stage ${b.number}, ${short(b.name)}, ${b.state.toLowerCase()}, ${ran}` }, ...parts) : s("g", attrs, ...parts));
    }
    holder.replaceChildren(svg);
    if (focused) holder.querySelector(`a[href="${focused}"]`)?.focus();
  };
  return el;
}
