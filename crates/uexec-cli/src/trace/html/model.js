"use strict";
// Makes a tree of the rows of a trace, and finds what the whole had to wait for. Touches no page.

// Rows, a line each; of a trace that was cut off, the last one may not be whole.
function rows(text) {
  const lines = text.split("\n").filter(line => line);
  try {
    return JSON.parse("[" + lines.join(",") + "]");
  } catch {
    lines.pop();
    return JSON.parse("[" + lines.join(",") + "]");
  }
}

const base = path => path.slice(path.lastIndexOf("/") + 1);

function read(text) {
  const all = new Map(), given = [];
  const trace = { all, command: "", total: 0, ended: null };
  function process(id, t, pid, parent, how) {
    const p = { id, pid, parent, how, start: t, end: null, images: [], fails: [], kids: [], depth: 0, crit: [], critTime: 0, open: true };
    all.set(id, p);
    const up = all.get(parent);
    if (up && up !== p) { up.kids.push(p); p.depth = up.depth + 1; }
    return p;
  }
  for (const r of rows(text)) {
    if (typeof r[0] === "number") trace.total = Math.max(trace.total, r[2]);
    switch (r[0]) {
      case "start": trace.command = r[1]; process(0, 0, 0, -1, ""); break;
      case "end": trace.ended = { processes: r[2], execs: r[3], failed: r[4] }; break;
      case 0: {
        // What is shared and copied is told once; then its number is.
        if (Array.isArray(r[7])) given.push(r[7]);
        const [shared, copies] = Array.isArray(r[7]) ? r[7] : given[r[7]];
        Object.assign(process(r[1], r[2], r[3], r[4], r[5]), { flags: r[6], shared, copies });
        break;
      }
      case 1: {
        const p = all.get(r[1]);
        p.pid = r[3];
        p.images.push({ t: r[2], argv: r[4], path: r[5], exe: r[6], cwd: r[7], chain: r[8], set: r[9], unset: r[10], searched: r[11], copied: r[12], waited: r[13], interp: r[14], name: r[15], withheld: r[16], stdio: r[17] });
        break;
      }
      case 2: all.get(r[1]).fails.push({ t: r[2], what: r[3], errno: r[4], why: r[5], hint: r[6], searched: r[7] }); break;
      case 3: Object.assign(all.get(r[1]), { end: r[2], status: r[3], signal: r[4], cpu: r[5], rss: r[6], threads: r[7], copied: r[8], waited: r[9] }); break;
    }
  }
  for (const p of all.values()) {
    if (p.end === null) { p.end = trace.total; p.alive = true; }
    const last = p.images[p.images.length - 1];
    const up = all.get(p.parent);
    p.argv = last ? last.argv : [];
    p.name = last ? last.name : up ? up.name : "?";
    p.text = last ? last.argv.join(" ") : "";
    p.begun = last ? p.images[0].t : p.end;
    p.failed = p.fails.length > 0 || (p.status !== 0 && !p.alive);
  }
  critical(all.get(0));
  return trace;
}

// What the whole had to wait for: from its end backwards, always to the child that ended last.
function critical(root) {
  const todo = [root];
  while (todo.length) {
    const p = todo.pop();
    let at = p.end;
    for (const kid of [...p.kids].sort((a, b) => b.end - a.end)) {
      if (kid.end > at) continue;
      if (at > kid.end) p.crit.push([kid.end, at]);
      todo.push(kid);
      at = kid.start;
    }
    if (at > p.start) p.crit.push([p.start, at]);
    p.critical = true;
    p.critTime = p.crit.reduce((sum, [a, b]) => sum + b - a, 0);
  }
}

// What each program has cost, all its processes together: those that were waited for longest first.
function programs(all) {
  const sums = new Map();
  for (const p of all.values()) {
    const name = p.images.length ? p.name : `(${p.name})`;
    if (!sums.has(name)) sums.set(name, { name, count: 0, failed: 0, critTime: 0, cpu: 0, longest: p });
    const sum = sums.get(name);
    sum.count++;
    sum.failed += p.failed ? 1 : 0;
    sum.critTime += p.critTime;
    sum.cpu += p.cpu || 0;
    if (p.end - p.start > sum.longest.end - sum.longest.start) sum.longest = p;
  }
  return [...sums.values()].sort((a, b) => b.critTime - a.critTime || b.cpu - a.cpu);
}

// Those that wait for children do not count.
const working = all => [...all.values()].filter(p => !p.kids.length && p.images.length);

// How many have run at the same time, at most.
function most(all) {
  const steps = working(all).flatMap(p => [[p.start, 1], [p.end, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let now = 0, peak = 0;
  for (const [, step] of steps) peak = Math.max(peak, now += step);
  return peak;
}

// How many have run on average, in each of so many parts of the time.
function load(all, total, parts) {
  const busy = new Float64Array(parts);
  for (const p of working(all)) {
    const a = p.start / total * parts, b = p.end / total * parts;
    for (let x = Math.floor(a); x < b && x < parts; x++) busy[x] += Math.min(b, x + 1) - Math.max(a, x);
  }
  return busy;
}

const time = s => s < 0.01 ? (s * 1e3).toFixed(2) + " ms" : s < 1 ? (s * 1e3).toFixed(0) + " ms" : s.toFixed(2) + " s";
