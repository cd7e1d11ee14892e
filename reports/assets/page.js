"use strict";
const find = (id) => document.getElementById(id);

// Tables sorted by their column headers, after the W3C's sortable-table pattern.
const sortable = (table) => {
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (column === 0) return rows.indexOf(row); // the network's order
    return cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", column ? "none" : "ascending");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const sorted = [...rows].sort((one, other) => {
        const [a, b] = [keyOf(one, column), keyOf(other, column)];
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return a === b ? 0 : sign * (a < b ? -1 : 1);
      });
      table.tBodies[0].append(...sorted);
    });
  });
};
document.querySelectorAll("#summary, .sortable").forEach(sortable);

const filter = find("filter");
if (filter) {
  const rows = [...find("summary").tBodies[0].rows];
  const tell = () => {
    const wanted = filter.value.trim().toLowerCase();
    rows.forEach((row) => { row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted); });
    find("count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  filter.addEventListener("input", tell);
  find("filter-row").hidden = false;
  tell();
}

// A link to a layer opens it.
const follow = () => {
  const target = find(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const holder = target.closest("details.layer");
  if (holder) holder.open = true;
  target.scrollIntoView();
};
window.addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#layer-"]');
  if (link && link.hash === location.hash) follow();
});
follow();
const layers = [...document.querySelectorAll("details.layer")];
const openAll = (open) => layers.forEach((layer) => { layer.open = open; });
if (layers.length) {
  find("open-all").addEventListener("click", () => openAll(true));
  find("close-all").addEventListener("click", () => openAll(false));
  find("open-row").hidden = false;
}

// Light or dark: as the system says, until chosen.
const theme = find("theme");
const root = document.documentElement;
const stored = () => { try { return localStorage.getItem("normstats-theme"); } catch { return null; } };
const store = (name) => { try { localStorage.setItem("normstats-theme", name); } catch { /* kept for this visit only */ } };
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`); };
if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; store(root.dataset.theme); label(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
theme.hidden = false;
label();

// Each drawing can be saved as a file; those of a layer share a place for their buttons.
document.querySelectorAll("figure").forEach((figure) => {
  const own = figure.querySelector(".files");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = own ? "Save SVG" : `Save SVG: ${figure.querySelector(".figure-title").textContent}`;
  button.addEventListener("click", () => {
    const svg = figure.querySelector("svg").cloneNode(true);
    svg.setAttribute("color", "black");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
    link.download = `${figure.id.replace("figure-", "")}.svg`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  (own ?? figure.parentElement.nextElementSibling.querySelector(".files")).append(" ", button);
});
