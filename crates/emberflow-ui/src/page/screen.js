// Which view is shown, and when it is filled anew. A view has a title, its elements, and a function that fills them.
import { $, h } from "./elements.js";

let current = { title: "", els: [], fill: async () => {} }, busy = false, again = false, over = false;

export const title = () => current.title;
export const isOver = () => over;

// The application has ended: what is on the screen stays there.
export function end() { over = true; }

export function show(view) {
  current = view;
  $("content").replaceChildren(...view.els);
  refresh();
}

export async function refresh() {
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
