// Draws what of the tree can be seen.
const $ = id => document.getElementById(id);
const { all, command, total, ended } = read($("data").textContent);
const summary = programs(all), peak = most(all);

const hues = new Map();
function colour(name) {
  if (!hues.has(name)) hues.set(name, `hsl(${(hues.size * 137.5 + 210) % 360} var(--sat) var(--light))`);
  return hues.get(name);
}

function make(tag, cls, text) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
}

// What is listed.
let listed = [], mode = "", query = "", picked = null, hits = new Set();
let from = 0, to = total || 1e-6;

function searchable(p) {
  if (p.haystack === undefined) {
    p.haystack = [p.text, p.pid, ...p.images.flatMap(i => [i.argv.join(" "), i.exe, i.cwd, ...i.stdio, ...i.set, ...i.unset]), ...p.fails.flatMap(f => [f.what, f.errno, f.why])].join("\n").toLowerCase();
  }
  return p.haystack;
}

function list() {
  hits = new Set();
  let wanted = null;
  if (query || mode) {
    wanted = new Set();
    for (const p of all.values()) {
      const fits = (!query || searchable(p).includes(query)) && (mode !== "critical" || (p.critical && p.critTime > total / 2000)) && (mode !== "bad" || p.failed);
      if (!fits) continue;
      hits.add(p);
      for (let q = p; q && !wanted.has(q); q = all.get(q.parent)) wanted.add(q);
    }
  }
  listed = [];
  const todo = [all.get(0)];
  while (todo.length) {
    const p = todo.pop();
    if (wanted && !wanted.has(p)) continue;
    listed.push(p);
    if (p.open || wanted) for (let i = p.kids.length - 1; i >= 0; i--) todo.push(p.kids[i]);
  }
  $("hits").textContent = query || mode ? `${hits.size} of ${all.size}` : "";
  $("rows").style.height = listed.length * 22 + "px";
  draw();
}

function place(element, a, b, width) {
  const scale = width / (to - from);
  element.style.left = (a - from) * scale + "px";
  element.style.width = Math.max(1, (b - a) * scale) + "px";
  return element;
}

function row(p, i, width) {
  const e = make("div", "row" + (p === picked ? " picked" : "") + ((query || mode) && !hits.has(p) ? " faint" : ""));
  e.style.top = i * 22 + "px";
  e.setAttribute("role", "treeitem");
  const name = make("div", "name");
  name.style.paddingLeft = 8 + Math.min(p.depth, 24) * 14 + "px";
  const twist = make("span", "twist", p.kids.length ? (p.open || query || mode ? "▾" : "▸") : "");
  twist.onclick = event => { event.stopPropagation(); p.open = !p.open; list(); };
  const dot = make("span", "dot");
  dot.style.background = colour(p.name);
  const title = make("b", p.failed ? "bad" : "", p.images.length ? p.name : `(${p.name})`);
  name.append(twist, dot, title, make("i", "", " " + p.argv.slice(1).join(" ").slice(0, 300)));
  const bars = make("div", "time");
  if (p.begun > p.start) {
    const fork = place(make("div", "fork"), p.start, p.begun, width);
    fork.style.background = colour(p.name);
    bars.append(fork);
  }
  if (p.images.length) {
    const bar = place(make("div", "bar"), p.begun, p.end, width);
    bar.style.background = colour(p.name);
    bars.append(bar);
  }
  for (const [a, b] of p.crit) bars.append(place(make("div", "crit"), a, b, width));
  for (const f of p.fails) {
    const mark = make("span", "mark", "✗");
    mark.style.left = (f.t - from) / (to - from) * width + "px";
    bars.append(mark);
  }
  const x = (p.end - from) / (to - from) * width;
  const label = make("span", "long", time(p.end - p.start) + (p.signal ? " " + p.signal : p.status ? " exit " + p.status : ""));
  if (p.failed) label.classList.add("bad");
  if (x < width - 90) label.style.left = x + 6 + "px";
  else {
    const before = (p.start - from) / (to - from) * width;
    if (before > 90) label.style.right = width - before + 6 + "px";
    else { label.style.right = "8px"; label.style.color = "#fff"; label.style.textShadow = "0 0 3px #000"; }
  }
  bars.append(label);
  e.append(name, bars);
  e.onclick = () => pick(p);
  e.ondblclick = () => zoom(p.start, p.end);
  return e;
}

function draw() {
  const view = $("scroll"), top = view.scrollTop, height = view.clientHeight;
  const first = Math.max(0, Math.floor(top / 22) - 8), last = Math.min(listed.length, Math.ceil((top + height) / 22) + 8);
  const width = $("ticks").clientWidth;
  const shown = [];
  for (let i = first; i < last; i++) shown.push(row(listed[i], i, width));
  $("rows").replaceChildren(...shown);
  ticks(width);
  overview();
}

function ticks(width) {
  const span = to - from, rough = span / Math.max(2, width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(n => n * power).find(n => n >= rough) || power;
  const marks = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const mark = make("span", "", step >= 1 ? t.toFixed(0) + " s" : step >= 1e-3 ? (t * 1e3).toFixed(0) + " ms" : (t * 1e3).toFixed(2) + " ms");
    mark.style.left = (t - from) / span * width + "px";
    marks.push(mark);
  }
  $("ticks").replaceChildren(...marks);
}

// How many run at each time, and below it the critical path, by program.
let profile = null, drag = null;
function overview() {
  const canvas = $("overview"), scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = 84;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const g = canvas.getContext("2d"), css = getComputedStyle(document.documentElement);
  const paint = name => css.getPropertyValue(name).trim();
  g.scale(scale, scale);
  if (!profile || profile.length !== width) profile = load(all, total, width);
  const highest = Math.max(1, ...profile);
  g.fillStyle = paint("--ring");
  g.globalAlpha = .55;
  for (let x = 0; x < width; x++) {
    const h = profile[x] / highest * 50;
    g.fillRect(x, 58 - h, 1, h);
  }
  g.globalAlpha = 1;
  const probe = make("span");
  document.body.append(probe);
  for (const p of all.values()) {
    if (!p.critical || !p.critTime) continue;
    probe.style.color = colour(p.name);
    g.fillStyle = getComputedStyle(probe).color;
    for (const [a, b] of p.crit) {
      const x = a / total * width, w = Math.max(.5, (b - a) / total * width);
      g.fillRect(x, 63, w, 16);
      if (w > 7 * p.name.length + 8) {
        const fill = g.fillStyle;
        g.fillStyle = "#fff";
        g.font = "11px ui-sans-serif, system-ui, sans-serif";
        g.fillText(p.name, x + 4, 75);
        g.fillStyle = fill;
      }
    }
  }
  probe.remove();
  g.fillStyle = paint("--hot");
  g.fillRect(0, 80, width, 2);
  g.fillStyle = paint("--dim");
  g.font = "11px ui-sans-serif, system-ui, sans-serif";
  g.fillText(`up to ${peak} at a time`, 6, 14);
  const [a, b] = drag ? drag : [from / total * width, to / total * width];
  g.fillStyle = paint("--ink");
  g.globalAlpha = .12;
  g.fillRect(0, 0, Math.min(a, b), height);
  g.fillRect(Math.max(a, b), 0, width, height);
}

$("overview").onpointerdown = event => {
  const x = event.offsetX;
  drag = [x, x];
  event.target.setPointerCapture(event.pointerId);
};
$("overview").onpointermove = event => { if (drag) { drag[1] = event.offsetX; overview(); } };
$("overview").onpointerup = event => {
  if (!drag) return;
  const width = event.target.clientWidth, [a, b] = drag.map(x => Math.min(1, Math.max(0, x / width)) * total).sort((x, y) => x - y);
  drag = null;
  if ((b - a) / total * width > 4) zoom(a, b); else draw();
};
$("overview").ondblclick = () => zoom(0, total);
$("axis").ondblclick = () => zoom(0, total);
function zoom(a, b) {
  from = Math.max(0, a);
  to = Math.min(total || 1e-6, Math.max(b, from + total * 1e-6));
  draw();
}
$("scroll").addEventListener("wheel", event => {
  const across = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
  if (!event.ctrlKey && !across) return;
  event.preventDefault();
  if (!event.ctrlKey) {
    const by = Math.max(-from, Math.min(total - to, across / $("ticks").clientWidth * (to - from)));
    return zoom(from + by, to + by);
  }
  const box = $("ticks").getBoundingClientRect(), at = from + (event.clientX - box.left) / box.width * (to - from);
  const factor = Math.exp(event.deltaY / 300);
  zoom(at - (at - from) * factor, at + (to - at) * factor);
}, { passive: false });

function pick(p) {
  picked = picked === p ? null : p;
  const box = $("details");
  box.hidden = !picked;
  if (picked) {
    const dl = make("dl");
    const put = (term, text, cls) => { if (text) dl.append(make("dt", "", term), make("dd", cls, String(text))); };
    const up = all.get(p.parent);
    put("process", p.pid + (up ? `, ${p.how} of ${up.pid} ${up.name}` : ""));
    put("time", `${time(p.start)} to ${time(p.end)}, ${time(p.end - p.start)}` + (p.alive ? ", still running" : ""));
    put("ended", p.alive ? "" : p.signal ? "killed by " + p.signal : "exit " + p.status, p.signal || p.status ? "bad" : "");
    put("cpu", p.cpu !== undefined && time(p.cpu) + " of its own");
    put("critical", p.critTime && `${time(p.critTime)}, ${(p.critTime / total * 100).toFixed(1)} % of the whole`, "hot");
    put("memory", p.rss && (p.rss / 1024).toFixed(1) + " MiB at most");
    put("threads", p.threads && p.threads + 1);
    put("copied", p.copied);
    put("flags", p.flags && p.flags.filter(f => f.startsWith("CLONE_NEW")).join(" "));
    p.images.forEach((i, n) => {
      put(n ? "then" : "command", i.argv.join(" "));
      dl.append(make("dt"), copier(i));
      put("file", i.exe);
      put("loaded by", i.interp);
      put("without", i.withheld && `its ${i.withheld}: who is traced without privilege gains none`);
      put("read by", i.chain.length && i.chain.slice(0, -1).join(" "));
      put("directory", i.cwd);
      i.stdio.forEach((to, n) => put(["stdin", "stdout", "stderr"][n], to ?? "closed"));
      put("found", i.searched && `in place ${i.searched + 1} of PATH`);
      put("new in env", [...i.set, ...i.unset.map(name => name + " is gone")].join("\n"));
      put("copied", i.copied && i.copied + ", before it executed");
      put("waited", i.waited && time(i.waited / 1e6) + ", its parent, for the exec");
    });
    for (const f of p.fails) {
      put("failed", `${f.what}: ${f.errno}`, "bad");
      put("in", f.searched);
      put("why", f.why || "not known");
      put("hint", f.hint);
    }
    put("shared", p.shared);
    put("copies", p.copies);
    const close = make("button", "close", "✕");
    close.title = "close";
    close.onclick = () => pick(p);
    box.replaceChildren(make("h2", "", p.text || `copy of ${p.name}`), close, dl);
  }
  draw();
}

// A line for a shell that does the same again; the environment is the shell's.
function copier(image) {
  const files = image.stdio.map((to, n) => to && to.startsWith("/") && !to.startsWith("/dev/pts/") ? ` ${["<", ">", "2>"][n]}${quoted(to)}` : "");
  const dd = make("dd"), line = (image.cwd ? `cd ${quoted(image.cwd)} && ` : "") + image.argv.join(" ") + files.join("");
  const button = make("button", "", "copy with its directory and files");
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(line);
      button.textContent = "copied";
    } catch {
      dd.replaceChildren(line);
      getSelection().selectAllChildren(dd);
    }
  };
  dd.append(button);
  return dd;
}
const quoted = word => /^[\w+,./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

// What each program has cost, as a table; a click lists its processes.
function costs() {
  const box = $("details"), table = make("table"), head = make("tr");
  for (const word of ["program", "times", "waited for", "processor", "longest", "failed"]) head.append(make("th", "", word));
  table.append(head);
  for (const sum of summary.slice(0, 200)) {
    const line = make("tr"), name = make("button", "link", sum.name);
    name.onclick = () => { $("find").value = sum.name.replace(/^\((.*)\)$/, "$1"); $("find").oninput(); };
    const longest = make("button", "link", time(sum.longest.end - sum.longest.start));
    longest.onclick = () => { picked = null; pick(sum.longest); };
    line.append(make("td"), make("td", "", sum.count), make("td", "hot", sum.critTime ? time(sum.critTime) : ""), make("td", "", time(sum.cpu)), make("td"), make("td", "bad", sum.failed || ""));
    line.children[0].append(name);
    line.children[4].append(longest);
    table.append(line);
  }
  const close = make("button", "close", "✕");
  close.title = "close";
  close.onclick = () => { box.hidden = true; };
  box.replaceChildren(make("h2", "", summary.length + " programs"), close, table);
  box.hidden = false;
  picked = null;
  draw();
}

function toggle(name) {
  mode = mode === name ? "" : name;
  for (const id of ["critical", "bad"]) $(id).setAttribute("aria-pressed", mode === id);
  $("scroll").scrollTop = 0;
  list();
}
$("critical").onclick = () => toggle("critical");
$("bad").onclick = () => toggle("bad");
$("fold").onclick = () => {
  const fold = $("fold").textContent === "fold all";
  for (const p of all.values()) p.open = !fold || p.depth < 1;
  $("fold").textContent = fold ? "unfold all" : "fold all";
  list();
};
$("programs").onclick = costs;
$("find").oninput = () => { query = $("find").value.trim().toLowerCase(); list(); };
$("scroll").onscroll = draw;
$("scroll").onkeydown = event => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const at = listed.indexOf(picked);
  if (step && listed[at + step]) {
    event.preventDefault();
    const next = listed[at + step];
    pick(next);
    const y = (at + step) * 22, view = $("scroll");
    if (y < view.scrollTop) view.scrollTop = y;
    if (y + 22 > view.scrollTop + view.clientHeight) view.scrollTop = y + 22 - view.clientHeight;
  } else if (picked && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    picked.open = event.key === "ArrowRight";
    list();
  } else if (event.key === "Escape" && picked) pick(picked);
};
addEventListener("resize", () => { profile = null; draw(); });
addEventListener("keydown", event => { if (event.key === "/" && document.activeElement !== $("find")) { event.preventDefault(); $("find").focus(); } });

document.title = command + " · uexec trace";
$("title").textContent = command;
const cpu = [...all.values()].reduce((sum, p) => sum + (p.cpu || 0), 0);
const bad = [...all.values()].filter(p => p.failed).length;
const facts = [[time(total), "in all"], [time(cpu), "of processor time"], [(cpu / (total || 1)).toFixed(1), "processors on average"], [all.size, "processes"], [ended ? ended.execs : "?", "programs"]];
for (const [value, what] of facts) $("facts").append(make("b", "", value), ` ${what} · `);
$("facts").append(make("b", bad ? "bad" : "", bad), bad === 1 ? " with a failure" : " with failures");
if (!ended) $("facts").append(" · some still run");
const longest = summary.filter(sum => sum.critTime).slice(0, 3);
if (longest.length) $("facts").append(" · waited longest for ", make("span", "hot", longest.map(sum => `${sum.name} ${time(sum.critTime)}`).join(", ")));
list();
