// Says what the marks near the pointer stand for, in a box beside it. Without this script the browser shows the titles of the marks.
{
  const box = document.body.appendChild(document.createElement("div")), reach = 18, together = 3;
  box.className = "tip";
  box.hidden = true;
  for (const svg of document.querySelectorAll("figure svg")) {
    const told = [...svg.querySelectorAll("title")].map((title) => {
      const mark = title.parentNode;
      mark.dataset.said = title.textContent;
      title.remove();
      return mark;
    });
    const show = (event) => {
      const near = [];
      for (const mark of told) {
        const at = mark.getBoundingClientRect();
        if (at.width > reach || at.height > reach) continue;
        const away = Math.hypot(event.clientX - (at.left + at.right) / 2, event.clientY - (at.top + at.bottom) / 2);
        if (away < reach) near.push([away, mark]);
      }
      near.sort((a, b) => a[0] - b[0]);
      const found = near.length ? near.filter(([away]) => away < near[0][0] + together).map(([, mark]) => mark)
        : [event.target.closest("[data-said]")].filter(Boolean);
      box.hidden = !found.length;
      box.textContent = [...new Set(found.map((mark) => mark.dataset.said))].slice(0, 6).join("\n");
      const left = event.clientX + 14, top = event.clientY + 14;
      box.style.left = Math.max(0, Math.min(left, innerWidth - box.offsetWidth - 8)) + "px";
      box.style.top = (top + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 14 : top) + "px";
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", () => { box.hidden = true; });
  }
}
