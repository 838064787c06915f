import * as Plot from "@observablehq/plot";

export function chart(rows, width) {
  return Plot.plot({
    width,
    height: 300,
    color: { legend: true },
    x: { type: "band" },
    marks: [Plot.barY(rows, { x: "date", y: "visits", fill: "path", tip: true }), Plot.ruleY([0])],
  });
}

export function table(rows) {
  const made = document.createElement("table");
  const names = Object.keys(rows[0] ?? {});
  const add = (section, tag, values) => {
    const row = section.insertRow();
    for (const value of values) {
      row.appendChild(document.createElement(tag)).textContent = value;
    }
  };
  add(made.createTHead(), "th", names);
  const body = made.createTBody();
  for (const each of rows) {
    add(body, "td", names.map((name) => each[name]));
  }
  return made;
}
