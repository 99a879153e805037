"use strict";

// The page is complete without this script, so the controls that need it are hidden until it runs.

const OTHER = { ascending: "descending", descending: "ascending" };
const $ = (id) => document.getElementById(id);
const bodies = [...document.querySelectorAll("table.board")].map((table) => table.tBodies[0]);

// In either direction, what has no value comes last, and equal ones keep their order.
function sortBy(head) {
  const body = head.closest("table").tBodies[0];
  const numeric = head.dataset.type === "number";
  const sign = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
  const keyed = [...body.rows].map((row) => {
    const key = row.cells[head.cellIndex].dataset.sort;
    return { row, key: numeric && key !== "" ? Number(key) : key };
  });
  const compare = (a, b) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  keyed.sort((a, b) => (a.key === "") - (b.key === "") || (a.key !== "" && sign * compare(a.key, b.key)));
  body.append(...keyed.map(({ row }) => row));
}

function makeSortable(head) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const direction = OTHER[head.getAttribute("aria-sort")] ?? head.dataset.first;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    sortBy(head);
  });
}

// Every row shows the score of the setting that is chosen; one that was not tested in it shows a dash.
function showSetting() {
  const chosen = $("setting").value;
  document.querySelectorAll(".chosen").forEach((place) => { place.textContent = chosen; });
  for (const body of bodies) {
    for (const row of body.rows) {
      const [mean, text, ends] = JSON.parse(row.dataset.scores)[chosen] ?? ["", "–", ""];
      const cell = row.querySelector(".score");
      cell.dataset.sort = mean;
      cell.querySelector(".value").textContent = text;
      cell.querySelector(".more").textContent = ends;
    }
    const head = body.closest("table").tHead.querySelector("[aria-sort]");
    if (head.classList.contains("by-score")) sortBy(head);
  }
}

function filter() {
  const [task, source, verified] = [$("task").value, $("source").value, $("verified").value];
  let shown = 0;
  for (const section of document.querySelectorAll("section.board")) {
    const fits = (!task || section.dataset.task === task) && (!source || section.dataset.source === source);
    let left = 0;
    for (const row of section.querySelectorAll("tbody tr")) {
      row.hidden = !fits || (verified && row.dataset.verified !== verified);
      left += !row.hidden;
    }
    section.hidden = left === 0;
    shown += left;
  }
  $("count").textContent = `${shown} of ${$("count").dataset.total} rows shown`;
}

document.querySelectorAll("table.board thead th").forEach(makeSortable);
for (const id of ["task", "source", "verified"]) $(id).addEventListener("change", filter);
$("setting").addEventListener("change", showSetting);
$("filters").hidden = false;
showSetting();  // a browser may have kept what was chosen before
filter();
