// Shows and hides table rows by the boxes above the table. Without this script the boxes stay hidden and every row is there.
for (const box of document.querySelectorAll("details.filter")) {
  box.hidden = false;
  const table = box.nextElementSibling.querySelector("table");
  const apply = () => {
    const chosen = [...box.querySelectorAll("fieldset")].map(
      (set) => new Set([...set.querySelectorAll("input:checked")].map((input) => input.value)));
    let filtered = false, before = null;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !chosen.every((words, n) => words.has(row.getAttribute("data-f" + n)));
      filtered = filtered || row.hidden;
      if (row.hidden) continue;
      row.classList.toggle("first", row.dataset.f0 !== before);
      before = row.dataset.f0;
    }
    table.classList.toggle("filtered", filtered);
  };
  box.addEventListener("change", apply);
  box.addEventListener("click", (event) => {
    if (event.target.tagName !== "BUTTON") return;
    const on = event.target.value === "all";
    for (const input of event.target.parentElement.querySelectorAll("input")) input.checked = on;
    apply();
  });
}
