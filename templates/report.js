// Adds interaction to a page that is complete without this file.
(() => {
  "use strict";

  const page = document.body.dataset;
  const scriptUrl = document.currentScript.src; // assets/… of this report, which may be served below a prefix
  const language = document.documentElement.dataset.locale;

  // Times are shown relative to now: "12 minutes ago".

  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const ago = (moment) => { // in English like the page; loading Intl takes long
    const seconds = Math.round((Date.now() - moment) / 1000);
    const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || UNITS[3];
    const count = Math.trunc(Math.abs(seconds) / size);
    const words = `${count} ${unit}${count === 1 ? "" : "s"}`;
    if (!count) return "just now";
    return seconds > 0 ? `${words} ago` : `in ${words}`;
  };

  const showRelativeTimes = () => {
    for (const time of document.querySelectorAll("time.ago")) {
      time.title ||= time.textContent;
      time.textContent = ago(Date.parse(time.dateTime));
    }
  };

  const showTimesOfDay = () => { // in print, a relative time would soon be wrong
    for (const time of document.querySelectorAll("time.ago")) time.textContent = time.title;
  };

  // A banner says if the next build is overdue. Only reportgen's own server has /status.json; its pages have
  // the entry "reportgen" in the header Server-Timing.

  const isServed = () =>
    performance.getEntriesByType("navigation")
      .some((entry) => (entry.serverTiming || []).some(({ name }) => name === "reportgen"));

  const nextDue = async () => {
    const planned = { due: Date.parse(page.due), grace: page.grace * 1000 };
    if (Date.now() <= planned.due + planned.grace || !isServed()) return planned;
    try {
      const response = await fetch(new URL("../status.json", scriptUrl), { cache: "no-store" });
      const answer = await response.json();
      const due = Date.parse(answer.next_due);
      return due > planned.due ? { due, grace: planned.grace } : planned;
    } catch {
      return planned;
    }
  };

  const updateBanner = async () => {
    const banner = document.querySelector(".overdue");
    if (!banner) return;
    const { due, grace } = await nextDue();
    banner.hidden = Date.now() <= due + grace;
    const time = banner.querySelector("time");
    time.dateTime = new Date(due).toISOString();
    time.textContent = ago(due);
  };

  // Tables sort by every column. A cell's data-v is its value; empty values stay last in both directions.

  let collator; // made at the first sort: loading it takes time

  const valueOf = (cell) => {
    const text = cell.dataset.v ?? cell.textContent;
    if (text === "") return null;
    return "v" in cell.dataset || cell.matches(".rank") ? Number(text) : text;
  };

  const compare = (one, two, sign) => {
    if (one === null || two === null) return (one === null) - (two === null);
    if (typeof one === "string") return sign * collator.compare(one, two);
    return one === two ? 0 : sign * (one < two ? -1 : 1);
  };

  const sortBy = (table, head) => {
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows];
    const keys = new Map(rows.map((row) => [row, valueOf(row.cells[column])]));
    const order = head.getAttribute("aria-sort");
    const numbers = [...keys.values()].some((key) => typeof key === "number") && !head.matches(".rank");
    const descending = order ? order === "ascending" : numbers;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    collator ||= new Intl.Collator(language, { numeric: true });
    rows.sort((one, two) => compare(keys.get(one), keys.get(two), descending ? -1 : 1));
    table.tBodies[0].append(...rows);
  };

  const makeSortable = (table) => {
    if (table.tBodies[0].rows.length < 2) return;
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, head));
      head.append(button);
    }
  };

  // Tables filter by the text of each row's <th>.

  const makeFilterable = (table) => {
    const rows = [...table.tBodies[0].rows];
    const bar = table.parentNode.previousElementSibling; // has its height from the style sheet, so that nothing shifts
    if (!bar.matches(".filter")) return;
    const label = document.createElement("label");
    const input = document.createElement("input");
    const found = document.createElement("output");
    input.type = "search";
    input.setAttribute("aria-label", `Filter ${table.dataset.noun}`);
    input.autocomplete = "off";
    input.spellcheck = false;
    label.append("Filter ", input);
    bar.append(label, found);
    let texts;
    const plain = (count) => (count < 1000 ? count : count.toLocaleString(language));
    const filter = () => {
      const query = input.value.trim().toLocaleLowerCase(language);
      if (query) texts ||= rows.map((row) => row.querySelector("th").textContent.toLocaleLowerCase(language));
      rows.forEach((row, at) => { row.hidden = query !== "" && !texts[at].includes(query); });
      const count = rows.filter((row) => !row.hidden).length;
      found.textContent = `${plain(count)} of ${plain(rows.length)} ${table.dataset.noun}`;
    };
    input.addEventListener("input", filter);
    filter();
  };

  // A chart becomes interactive in place on its first hover, focus or tap; the library is loaded then.

  let library;

  const load = () => {
    library ||= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = page.vega;
      script.onload = resolve;
      script.onerror = () => {
        library = undefined;
        script.remove();
        reject(new Error("the chart library did not load"));
      };
      document.head.append(script);
    });
    return library;
  };

  // The tooltip is inside <main>, as accessibility rules ask, and moves by a transform, which shifts no layout.

  const tooltipBox = document.createElement("div");
  tooltipBox.id = "tooltip";

  const hideTooltip = () => tooltipBox.classList.remove("visible");

  const contents = new Map(); // of the tooltips of each interactive chart

  const linesOf = (chart, mark) => {
    const { lines, tips } = contents.get(chart);
    if (!tips) return mark.trim ? [["", mark]] : Object.entries(mark); // as a panel's own specification says
    return lines.map(([name, colour], at) => [name, tips[mark][at], colour]).filter((line) => line[1]);
  };

  const showTooltip = (event, lines) => {
    tooltipBox.classList.toggle("visible", Boolean(lines));
    if (!lines) return;
    const table = document.createElement("table");
    for (const [name, value, colour] of lines) {
      const row = table.insertRow();
      const cell = row.insertCell();
      cell.textContent = name || value;
      if (colour) cell.style.borderInlineStart = `6px solid ${colour}`;
      if (name) row.insertCell().textContent = value;
      else cell.colSpan = 2;
    }
    tooltipBox.replaceChildren(table);
    const { width, height } = tooltipBox.getBoundingClientRect();
    const x = Math.max(0, Math.min(event.clientX + 12, document.documentElement.clientWidth - width - 4));
    const below = event.clientY + 16;
    const y = below + height > innerHeight ? event.clientY - height - 8 : below;
    tooltipBox.style.transform = `translate(${x}px, ${Math.max(0, y)}px)`;
  };

  const makeInteractive = async (chart, box) => {
    const { datasets, lines, tips, ...specs } = JSON.parse(document.getElementById(chart.dataset.live).textContent);
    const stage = document.createElement("div");
    stage.className = "stage";
    await load();
    box.append(stage);
    contents.set(chart, { lines, tips });
    const tooltip = (handler, event, item, mark) => showTooltip(event, mark && linesOf(chart, mark));
    const options = { ast: true, actions: false, defaultStyle: false, renderer: "svg", tooltip };
    await window.vegaEmbed(stage, { ...specs[box.className], datasets }, options);
    for (const mark of stage.querySelectorAll("[role^=graphics]")) mark.removeAttribute("role"); // for screen readers, the chart is one image
    stage.classList.replace("stage", "live");
    box.replaceChildren(stage);
  };

  const visibleBox = (chart) => [...chart.children].find((child) => child.offsetParent);

  const sendPointer = (target, x, y) => {
    const event = { bubbles: true, clientX: x, clientY: y };
    for (const name of ["pointerover", "pointermove"]) target?.dispatchEvent(new PointerEvent(name, event));
  };

  const addActivation = (chart) => {
    const started = new Set();
    let pointer;
    const activate = async (event) => {
      if (event.clientX !== undefined) pointer = [event.clientX, event.clientY];
      const box = visibleBox(chart);
      if (event.type === "pointermove" || !box || started.has(box)) return;
      started.add(box);
      try {
        await makeInteractive(chart, box);
        if (pointer && chart.matches(":hover")) sendPointer(document.elementFromPoint(...pointer), ...pointer);
      } catch {
        started.delete(box); // the static drawing stays; the next hover tries again
      }
    };
    chart.tabIndex = 0;
    for (const name of ["pointerenter", "pointermove", "focus", "click"]) chart.addEventListener(name, activate);
  };

  // Keyboard: left and right move through the marks of an interactive chart and announce them to screen
  // readers; up and down select the entries of its legend one after the other.

  const marksOf = (box) => {
    const marks = [...box.querySelectorAll(".role-mark path")].filter((mark) => mark.__data__?.tooltip);
    const places = new Map(marks.map((mark) => [mark, mark.getBoundingClientRect().left]));
    return marks.sort((one, two) => places.get(one) - places.get(two));
  };

  const announce = (chart, mark) => {
    const { left, width, top, height } = mark.getBoundingClientRect();
    sendPointer(mark, left + width / 2, top + height / 2);
    const words = linesOf(chart, mark.__data__.tooltip).map(([name, value]) => (name ? `${name}: ${value}` : value));
    chart.nextElementSibling.textContent = words.join(", ");
  };

  const addKeyboard = (chart) => {
    const status = document.createElement("p");
    status.className = "unseen";
    status.setAttribute("role", "status");
    chart.after(status);
    const hint = document.createElement("p");
    hint.hidden = true;
    hint.id = `${chart.dataset.live}-hint`;
    hint.textContent = "Left and right: values. Up and down: what the legend names. Escape: close.";
    status.after(hint);
    chart.setAttribute("role", "application"); // arrow keys go to the chart, not to the screen reader
    chart.setAttribute("aria-roledescription", "interactive chart");
    chart.setAttribute("aria-describedby", hint.id);
    let mark = -1;
    let entry = -1;
    chart.addEventListener("keydown", (event) => {
      const box = visibleBox(chart);
      const markStep = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const legendStep = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const entries = box.querySelectorAll(".live .role-legend-label text");
      const marks = marksOf(box);
      if (markStep && marks.length) {
        mark = mark < 0 && markStep < 0 ? marks.length - 1 : (mark + markStep + marks.length) % marks.length;
        announce(chart, marks[mark]);
      } else if (legendStep && entries.length) {
        entries[entry]?.dispatchEvent(new MouseEvent("click", { bubbles: true })); // deselect the entry before
        entry = ((entry + 1 + legendStep + entries.length + 1) % (entries.length + 1)) - 1;
        entries[entry]?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        status.textContent = entry < 0 ? "All of them" : entries[entry].textContent;
      } else {
        return;
      }
      event.preventDefault();
    });
    chart.addEventListener("blur", hideTooltip);
  };

  showRelativeTimes();
  updateBanner();
  addEventListener("beforeprint", showTimesOfDay);
  addEventListener("afterprint", showRelativeTimes);
  setInterval(() => { showRelativeTimes(); updateBanner(); }, 30000);
  document.querySelector("main").append(tooltipBox);
  addEventListener("keydown", ({ key }) => { if (key === "Escape") hideTooltip(); });
  // Not on "scroll": a mark that the keyboard selects is scrolled into view.
  for (const name of ["wheel", "touchmove"]) addEventListener(name, hideTooltip, { passive: true });
  const tasks = [...document.querySelectorAll("main table")].flatMap((table) => [
    () => makeSortable(table),
    () => makeFilterable(table),
  ]);
  if (page.vega) {
    for (const chart of document.querySelectorAll(".chart")) {
      tasks.push(() => { addActivation(chart); addKeyboard(chart); });
    }
  }
  for (const task of tasks) setTimeout(task); // one task each, so that the page can answer to a tap between two
})();
