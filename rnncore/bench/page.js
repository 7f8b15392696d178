"use strict";
// A click on a column's name sorts the rows by it, another one the other way round. Rows without a number stay last.
const numberOf = (cell) => Number.parseFloat(cell.dataset.number);
const byNumber = (a, b, sign) => {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
  return sign * (x - y);
};
const byText = (a, b, sign) => sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });

for (const table of document.querySelectorAll("table")) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const sign = header.ariaSort === "ascending" ? -1 : 1;
      const compare = header.classList.contains("text") ? byText : byNumber;
      const rows = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], sign));
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}

const download = document.getElementById("download");
const record = new Blob([document.getElementById("record").textContent], { type: "application/json" });
download.firstElementChild.href = URL.createObjectURL(record);
download.hidden = false;
