// Elements: how they are made, and changed only where they differ, so that focus and scroll stay. Whatever comes from
// users is written as text; nothing is ever parsed as markup.
import { count } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
export const $ = (id) => document.getElementById(id);

export function set(el, attrs) {
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
export const h = (tag, attrs = {}, ...children) => make(document.createElement(tag), attrs, children);
export const s = (tag, attrs = {}, ...children) => make(document.createElementNS(SVG, tag), attrs, children);
export const badge = (state, text = state.toLowerCase()) => h("span", { class: "badge", "data-state": state, text });

// Makes the children of `parent` those of `items`, each made once by its key and updated after.
export function sync(parent, items, key, create, update) {
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
export function table(caption, columns, { sort, onSort } = {}) {
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
export function adopt(old, fresh) {
  old.onclick = fresh.onclick;
  [...old.children].forEach((child, at) => adopt(child, fresh.children[at]));
}

export function meter(done, running, failed, all) {
  const share = (n) => (all ? Math.min(100, (100 * n) / all) : 0);
  const text = `${count(done)} / ${count(all)}${running ? ` (${count(running)} running)` : ""}${failed ? `, ${count(failed)} failed` : ""}`;
  return h("div", { class: "meter", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": all, "aria-valuenow": done, "aria-label": text },
    h("i", { class: "busy", "width%": share(done + running) }), h("i", { class: failed && done < all ? "bad" : "", "width%": share(done) }), h("b", { text }));
}
export const noneYet = (text) => h("p", { class: "nothing", text });
