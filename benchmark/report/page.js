"use strict";

// The page is complete without this script, so the script itself makes the controls that need it.

const CYCLES = { numbers: ["descending", "ascending"], text: ["ascending", "descending"] };  // then the first order
const NUMBER = /^[<>≤≥≈~\s]*([+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)/i;

function toNumber(text) {
  const match = NUMBER.exec(text);
  return match ? Number(match[1].replace("−", "-").replaceAll(",", "")) : NaN;
}

// The text of a cell without spread and mark; null where the table prints a dash.
function valueOf(cell) {
  const value = cell.querySelector(".value");
  return value && value.textContent.trim();
}

// In either direction, cells without a value come last, and equal ones keep their order.
function sorted(rows, column, convert, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => {
    const value = valueOf(row.cells[column]);
    return { row, key: value === null ? null : convert(value) };
  });
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  keyed.sort((a, b) => (a.key === null) - (b.key === null) || (a.key !== null && sign * compare(a.key, b.key)));
  return keyed.map(({ row }) => row);
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const blocks = [...table.tBodies].map((body) => {
    return { body, rows: [...body.rows].filter((row) => !row.querySelector(".block")) };  // a block's title stays
  });
  heads.forEach((head, column) => {
    const values = blocks.flatMap(({ rows }) => rows.map((row) => valueOf(row.cells[column])));
    const numeric = column > 0 && values.every((value) => value === null || !Number.isNaN(toNumber(value)));
    const [cycle, convert] = numeric ? [CYCLES.numbers, toNumber] : [CYCLES.text, String];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = cycle[cycle.indexOf(head.getAttribute("aria-sort")) + 1];  // undefined after the last one
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (direction) head.setAttribute("aria-sort", direction);
      for (const { body, rows } of blocks) {
        body.append(...(direction ? sorted(rows, column, convert, direction) : rows));
      }
    });
  });
}

// A page from a file may lack the clipboard; then the text is at least selected.
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C or ⌘C";
  }
}

function makeCopyable(button) {
  const status = button.nextElementSibling;
  button.hidden = false;
  button.addEventListener("click", async () => {
    status.textContent = "";
    status.textContent = await copy(document.getElementById("command"));
  });
}

// In the contents, the part that is being read is marked, and kept in sight.
function followReading(nav) {
  const links = [...nav.querySelectorAll("a")];
  const heads = links.map((link) => document.getElementById(link.hash.slice(1)));
  let current = null;
  const mark = () => {
    const line = innerHeight / 4;
    const above = heads.filter((head) => head.getBoundingClientRect().top < line);
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2 && scrollY > 0;
    const link = atEnd ? links.at(-1) : links[Math.max(0, above.length - 1)];
    if (link === current) return;
    current?.removeAttribute("aria-current");
    (current = link).setAttribute("aria-current", "location");
    const [own, all] = [link.getBoundingClientRect(), nav.getBoundingClientRect()];
    if (own.top < all.top || own.bottom > all.bottom) nav.scrollTop += own.top - all.top - all.height / 3;
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();
}

// On a small screen the contents lie over the text, so they fold up when they have been used.
function makeFoldable(nav) {
  const details = nav.querySelector("details");
  nav.addEventListener("click", (event) => { if (event.target.closest("a")) details.open = false; });
  nav.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  });
}

document.querySelectorAll("table.results").forEach(makeSortable);
document.querySelectorAll("button.copy").forEach(makeCopyable);
document.querySelectorAll("nav").forEach((nav) => { followReading(nav); makeFoldable(nav); });
