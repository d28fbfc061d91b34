"use strict";
// Lights up what belongs to the chosen part, says what it is, and finds parts by text.
(() => {
  const items = JSON.parse(document.getElementById("data").textContent).items;
  const root = document.body;
  const name = document.getElementById("name");
  const said = document.getElementById("said");
  const find = document.getElementById("find");
  const unfold = document.getElementById("unfold");
  const greeting = [...said.childNodes];
  const parts = new Map();
  for (const g of document.querySelectorAll("[data-id]")) {
    const all = parts.get(g.dataset.id) || [];
    all.push(g);
    parts.set(g.dataset.id, all);
  }
  const joins = [...document.querySelectorAll("[data-a]")].filter((p) => p.dataset.a);
  const element = (tag, text) => {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const labels = (id) => {
    const item = items[id];
    const at = item.facts.find(([k]) => ["range", "bytes", "what", "value", "path", "file"].includes(k));
    return at ? `${item.title}: ${at[1]}` : item.title;
  };
  const buttons = (heading, ids) => {
    const box = element("div");
    box.className = "links";
    for (const id of ids) {
      const b = element("button", labels(id));
      b.type = "button";
      b.addEventListener("click", () => select(id, true));
      box.append(b);
    }
    return ids.length ? [element("h3", heading), box] : [];
  };

  function setUnfolded(on) {
    if (!unfold) return;
    root.classList.toggle("unfolded", on);
    unfold.setAttribute("aria-pressed", String(on));
    unfold.textContent = on ? unfold.dataset.less : unfold.dataset.more;
  }

  function clear() {
    root.classList.remove("picking");
    for (const e of document.querySelectorAll(".lit, .chosen")) {
      e.classList.remove("lit", "chosen");
      if (e.hasAttribute("aria-pressed")) e.setAttribute("aria-pressed", "false");
    }
  }

  const seen = (g) => g.getClientRects().length > 0;

  function select(id, scroll) {
    const item = items[id];
    if (!item) return;
    clear();
    root.classList.add("picking");
    const own = parts.get(id) || [];
    if (own.length && !own.some(seen)) setUnfolded(true);
    for (const g of own) {
      g.classList.add("chosen");
      g.setAttribute("aria-pressed", "true");
    }
    const lit = new Set(item.links);
    for (const link of lit) for (const g of parts.get(link) || []) g.classList.add("lit");
    lit.add(id);
    for (const p of joins) p.classList.toggle("lit", lit.has(p.dataset.a) && lit.has(p.dataset.b));
    const list = element("dl");
    for (const [k, v] of item.facts) if (v) list.append(element("dt", k), element("dd", v));
    name.textContent = item.title;
    said.replaceChildren(list, ...buttons("belongs to", item.links.filter((l) => items[l])));
    const target = own.find(seen);
    if (scroll && target) target.scrollIntoView({ block: "center", behavior: "auto" });
    if (scroll && target) target.focus({ preventScroll: true });
    history.replaceState(null, "", "#select=" + encodeURIComponent(id));
  }

  function letGo() {
    clear();
    name.textContent = "Details";
    said.replaceChildren(...greeting);
    history.replaceState(null, "", "#");
  }

  function search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return letGo();
    clear();
    const hits = Object.keys(items).filter((id) =>
      (id + " " + items[id].title + " " + items[id].facts.flat().join(" ")).toLowerCase().includes(wanted));
    root.classList.add("picking");
    for (const id of hits) for (const g of parts.get(id) || []) g.classList.add("lit");
    name.textContent = hits.length === 1 ? "1 part" : `${hits.length} parts`;
    said.replaceChildren(...buttons("found", hits.slice(0, 100)));
  }

  document.getElementById("picture").addEventListener("click", (event) => {
    const g = event.target.closest("[data-id]");
    if (g) select(g.dataset.id, false);
    else letGo();
  });
  document.addEventListener("keydown", (event) => {
    const g = event.target.closest && event.target.closest("[data-id]");
    if (event.key === "Escape") {
      find.value = "";
      letGo();
    } else if (event.key === "/" && event.target !== find) {
      event.preventDefault();
      find.focus();
    } else if (g && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      select(g.dataset.id, false);
    }
  });
  find.addEventListener("input", () => search(find.value));
  if (unfold) unfold.addEventListener("click", () => setUnfolded(!root.classList.contains("unfolded")));
  const open = () => {
    const wanted = /^#select=(.+)$/.exec(location.hash);
    if (wanted) select(decodeURIComponent(wanted[1]), true);
  };
  window.addEventListener("hashchange", open);
  open();
})();
