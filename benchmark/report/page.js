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

document.querySelectorAll("table.results").forEach(makeSortable);
document.querySelectorAll("button.copy").forEach(makeCopyable);
