// Which view is shown, and when it is filled anew. A view has a title, its elements, and a function that fills them.
import { $, h } from "./elements.js";

let current = { title: "", els: [], fill: async () => {} }, busy = false, again = false, over = false, lost = false;

export const title = () => current.title;
export const isOver = () => over;

// What is not there, which a link from elsewhere or of earlier may name.
export function missing(text) { return Object.assign(new Error(text), { missing: true }); }
export function nowhere(address) {
  return { title: "Nothing here", els: [], fill: async () => { throw missing(`Nothing is at ${address}: the address is misspelt, or of another version.`); } };
}

// The application has ended: what is on the screen stays there.
export function end() { over = true; }

export function show(view) {
  current = view;
  lost = false;
  $("content").replaceChildren(...view.els);
  refresh();
}

export async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  const view = current;
  try {
    await view.fill();
    // It may have been in vain before.
    if (view === current && lost) { lost = false; $("content").replaceChildren(...view.els); }
    view.filled = true;
  } catch (error) {
    // What is on the screen stays there when the application has ended.
    const text = over ? "The application has ended." : error.message;
    if (view === current && !(over && view.filled)) {
      lost = true;
      const back = view.back ?? ["#/jobs", "To all jobs"];
      $("content").replaceChildren(h("div", { class: "nothing" }, h("p", { text }), error.missing ? h("a", { href: back[0], text: back[1] }) : null));
    }
  }
  busy = false;
  if (again || view !== current) { again = false; refresh(); }
}
