// What is wider than its place says so, as long as it is.
function makeHinted(box) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "Scroll sideways to see all of it →";
  hint.hidden = true;
  box.before(hint);
  new ResizeObserver(() => { hint.hidden = box.scrollWidth <= box.clientWidth + 1; }).observe(box);
}

document.querySelectorAll(".scroll").forEach(makeHinted);
