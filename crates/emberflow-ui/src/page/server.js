// What the page asks the server, and the token that it shows there.
import { $, h } from "./elements.js";
import { isOver, missing, refresh } from "./screen.js";

const API = "api/v1/applications/-";

// The token, which came behind the # and leaves the address bar at once.
const given = /^#token=([\w-]+)$/.exec(location.hash);
if (given) {
  sessionStorage.setItem("token", given[1]);
  history.replaceState(null, "", "#/jobs");
}
const token = sessionStorage.getItem("token");

const request = (path, method = "GET") => fetch(path, { method, cache: "no-store", headers: token ? { "X-Emberflow-Token": token } : {} });

export async function ask(path) {
  const answer = await request(API + path);
  const said = async () => (await answer.text()).trim();
  if (answer.status === 404 || answer.status === 400) throw missing(await said());
  if (!answer.ok) throw new Error(await said());
  return answer.json();
}

// Takes the news until the application has ended. An `EventSource` would, but cannot show the token.
export async function listen(told, lost) {
  while (!isOver()) {
    let why = "no answer";
    try {
      const answer = await request("news");
      if (!answer.ok) why = answer.status === 403 ? "refused" : `error ${answer.status}`;
      else await read(answer.body.pipeThrough(new TextDecoderStream()).getReader(), told);
    } catch { /* The server is gone; it may come back. */ }
    if (isOver()) return;
    lost(why);
    await new Promise((later) => setTimeout(later, 1000));
  }
}
async function read(stream, told) {
  for (let text = ""; ;) {
    const { value, done } = await stream.read();
    if (done) return;
    const messages = (text + value).split("\n\n");
    text = messages.pop();
    // Each is one line; those without data only keep the connection alive.
    for (const message of messages) if (message.startsWith("data: ")) told(JSON.parse(message.slice(6)));
  }
}
function say(text) { $("said").textContent = text; }

async function cancelJob(job) {
  $("question").textContent = `Cancel job ${job}? Its results are lost.`;
  const dialog = $("ask");
  dialog.returnValue = "keep";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "cancel") return;
  const answer = await request(`${API}/jobs/${job}/cancel`, "POST");
  say(answer.ok ? `Job ${job} was cancelled.` : `Job ${job} was not cancelled: ${await answer.text()}`);
  refresh();
}
export function cancelButton(job) {
  if (job.status !== "RUNNING" || !token) return h("span");
  return h("button", { type: "button", class: "danger", text: "Cancel", "aria-label": `Cancel job ${job.jobId}`, click: () => cancelJob(job.jobId) });
}
