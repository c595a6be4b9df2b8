
"use strict";
(() => {
  const PER_PAGE = 25;
  const RANK = { high: 0, medium: 1, low: 2 };
  const by = (id) => document.getElementById(id);
  const data = JSON.parse(by("data").textContent);
  const filters = [...document.querySelectorAll("#filters select[data-filter]")];
  const all = data.findings;
  let shown = all;
  let page = 0;

  for (const [at, one] of all.entries()) {
    one.at = at;
    one.place = one.file + ":" + one.row;
    const source = one.source ? one.source.rows.map((row) => (Array.isArray(row) ? row.join("") : row)) : [];
    one.text = [one.place, one.rule, one.name, one.qualname, one.message, ...one.reasons, ...source].join("\n").toLowerCase();
  }

  const ORDERS = {
    worst: (a, b) => RANK[a.severity] - RANK[b.severity] || a.at - b.at,
    file: (a, b) => compared(a.file, b.file) || a.row - b.row,
    oldest: (a, b) => compared(a.since, b.since) || a.at - b.at,
    newest: (a, b) => compared(b.since, a.since) || a.at - b.at,
  };

  function compared(one, other) {
    if (one === other) return 0;
    if (!one || !other) return one ? -1 : 1;
    return one < other ? -1 : 1;
  }

  // Text goes into the page as text, never as markup: names and source are whatever somebody wrote.
  function made(tag, className, ...parts) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...parts);
    return node;
  }

  function card(one) {
    const article = made("article", one.severity);
    const title = made("h3", "", made("span", "level " + one.severity, one.severity), one.rule, made("span", "name", one.name));
    title.id = "finding-" + one.at;
    article.setAttribute("aria-labelledby", title.id + " place-" + one.at);
    if (one.state) title.append(made("span", "state", one.state));
    const code = made("code", "", one.place);
    let link = code;
    if (one.url && /^https?:/i.test(one.url)) {
      link = made("a", "", code);
      link.href = one.url;
    }
    const place = made("p", "place", link);
    place.id = "place-" + one.at;
    place.append(one.qualname === "<module>" ? " at module level" : " in ", one.qualname === "<module>" ? "" : made("code", "", one.qualname));
    if (one.age) place.append(", " + one.age);
    article.append(title, place, made("p", "", ...coded(one.message)));
    const notes = [...one.reasons];
    if (one.fix) notes.push(one.fix);
    if (notes.length) article.append(made("p", "meta", ...coded(notes.join("; "))));
    article.append(one.source ? excerpt(one.source) : made("p", "meta", one.problem || ""));
    return made("li", "", article);
  }

  // What stands between backticks is code.
  function coded(message) {
    const parts = message.split("`");
    return parts.length % 2 ? parts.map((part, at) => (at % 2 ? made("code", "", part) : part)) : [message];
  }

  function excerpt(source) {
    const block = made("pre", "");
    source.rows.forEach((text, index) => {
      const row = source.first + index;
      const line = made("span", row >= source.from && row <= source.to ? "row hit" : "row");
      line.dataset.row = row;
      if (Array.isArray(text)) line.append(text[0], made("mark", "", text[1]), text[2]);
      else line.append(text);
      line.append("\n");
      block.append(line);
    });
    return block;
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const part = shown.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
    by("list").replaceChildren(...part.map(card));
    by("page").textContent = "Page " + number(page + 1) + " of " + number(pages);
    by("before").disabled = page === 0;
    by("after").disabled = page === pages - 1;
    document.querySelector(".pages").hidden = pages === 1;
  }

  const number = (count) => count.toLocaleString("en");

  function filter() {
    const words = by("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = filters.filter((select) => select.value).map((select) => [select.dataset.filter, select.value]);
    shown = all.filter((one) => wanted.every(([key, value]) => one[key] === value) && words.every((word) => one.text.includes(word)));
    shown.sort(ORDERS[by("order").value]);
    page = 0;
    draw();
    const noun = all.length === 1 ? " finding" : " findings";
    by("count").textContent = shown.length === all.length ? number(all.length) + noun : number(shown.length) + " of " + number(all.length) + noun;
  }

  function turn(step) {
    page += step;
    draw();
    const heading = by("findings");
    heading.scrollIntoView();
    heading.focus({ preventScroll: true });
  }

  function theme(value) {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    by("theme").value = value;
  }

  // Where a browser gives files no storage, the choice holds for as long as the page is open.
  function remembered(write) {
    try {
      if (write === undefined) return localStorage.getItem("unhush-theme") || "";
      localStorage.setItem("unhush-theme", write);
    } catch (error) {
      console.info("the theme can't be remembered: " + error.message);
    }
    return "";
  }

  let waiting = 0;
  by("text").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  by("filters").addEventListener("change", filter);
  by("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    filter();
  });
  by("filters").addEventListener("reset", () => setTimeout(filter));
  by("before").addEventListener("click", () => turn(-1));
  by("after").addEventListener("click", () => turn(1));
  by("theme").addEventListener("change", (event) => {
    theme(event.target.value);
    remembered(event.target.value);
  });
  document.addEventListener("click", (event) => {
    const pick = event.target.closest("button.pick");
    if (!pick) return;
    const select = document.querySelector('#filters select[data-filter="' + pick.dataset.filter + '"]');
    select.value = pick.dataset.value;
    filter();
    turn(0);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    by("text").focus();
  });
  const kept = remembered();
  theme(kept === "light" || kept === "dark" ? kept : "");
  filter();
})();
