// Chooses and sorts the rows of tables. Without this script the boxes stay hidden, and every row is there in the sweep's order.
for (const table of document.querySelectorAll(".scroll > table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];

  // Recipe and K stay where they are when the table is scrolled sideways: K beside the recipe, however wide that is.
  const recipe = table.querySelector("th.stick:not(.second)");
  const beside = () => recipe && table.style.setProperty("--k", recipe.offsetWidth + "px");
  beside();
  window.addEventListener("resize", beside);

  const box = table.parentElement.previousElementSibling;
  if (box && box.matches("details.filter")) {
    box.hidden = false;
    const apply = () => {
      const chosen = [...box.querySelectorAll("fieldset")].map(
        (set) => new Set([...set.querySelectorAll("input:checked")].map((input) => input.value)));
      let filtered = false, before = null;
      for (const row of rows) {
        row.hidden = !chosen.every((words, n) => words.has(row.getAttribute("data-f" + n)));
        filtered = filtered || row.hidden;
        if (row.hidden) continue;
        row.classList.toggle("first", row.dataset.f0 !== before);
        before = row.dataset.f0;
      }
      table.classList.toggle("filtered", filtered);
      beside();
    };
    box.addEventListener("change", apply);
    box.addEventListener("click", (event) => {
      if (event.target.tagName !== "BUTTON") return;
      const on = event.target.value === "all";
      for (const input of event.target.parentElement.querySelectorAll("input")) input.checked = on;
      apply();
    });
  }

  // What a cell is sorted by: its data-v, else the first number of its text, k, M and G counted; words where the column has words.
  const key = (cell, words) => {
    if (cell.dataset.v) return Number(cell.dataset.v);
    const own = [...cell.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("").trim();
    const text = own || cell.querySelector(".again")?.textContent || "";
    if (words) return text || null;
    const found = text.replace("−", "-").match(/^([+-]?[\d.]+)(?:\s([kMG])\b)?/);
    return found ? Number(found[1]) * ({k: 1e3, M: 1e6, G: 1e9}[found[2]] ?? 1) : null;
  };
  const sort = (head) => {
    const next = {ascending: "descending", descending: null}[head.ariaSort] ?? (head.ariaSort ? null : "ascending");
    const column = heads.indexOf(head), down = next === "descending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    let ordered = rows;
    if (next) {
      head.ariaSort = next;
      const keys = new Map(rows.map((row) => [row, key(row.cells[column], head.classList.contains("l"))]));
      ordered = [...rows].sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (x === null || y === null) return (x === null) - (y === null);  // what has no number stands last
        return down * (typeof x === "string" ? x.localeCompare(y) : x - y);
      });
    }
    table.classList.toggle("sorted", next !== null);
    body.append(...ordered);
    beside();
  };
  if (table.closest(".exhibit") || rows.length < 3) continue;  // an exhibit's rows belong together
  for (const head of heads) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head));
  }
}
