// Words for numbers.

export const count = (n) => Number(n ?? 0).toLocaleString("en");
// `1 row`, `2 rows`.
export const several = (n, one, many = `${one}s`) => `${count(n)} ${Number(n) === 1 ? one : many}`;
export const about = (n) => Number(n ?? 0).toLocaleString("en", { notation: "compact" });
export function bytes(n) {
  if (n == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; n >= 1024 && at < 4; at++) n /= 1024;
  return `${at && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}
export function span(ms) {
  if (ms == null) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
// Stages of a job are numbered parents first. Each run of one has an id, which alone is known if nobody saw the plan.
export const stageName = (number, run) => (number == null ? `run ${run} of a stage` : `stage ${number}`);
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
// `count at src/main.rs:7:10` without the folders.
export const short = (operator) => operator.replace(/ at .*?([^/\\]+):(\d+):\d+$/, " at $1:$2");
