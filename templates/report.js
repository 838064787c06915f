// Makes a finished page handier: it reads the same without this file.
(() => {
  "use strict";

  const page = document.body.dataset;
  const here = document.currentScript.src; // assets/… of this report, which may stand below a prefix
  const language = document.documentElement.dataset.locale;

  // Times read "12 minutes ago".

  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const ago = (moment) => { // in English, as all words of the page; and Intl takes long to load
    const seconds = Math.round((Date.now() - moment) / 1000);
    const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || UNITS[3];
    const count = Math.trunc(Math.abs(seconds) / size);
    const words = `${count} ${unit}${count === 1 ? "" : "s"}`;
    if (!count) return "just now";
    return seconds > 0 ? `${words} ago` : `in ${words}`;
  };

  const tellTimes = () => {
    for (const time of document.querySelectorAll("time.ago")) {
      time.title ||= time.textContent;
      time.textContent = ago(Date.parse(time.dateTime));
    }
  };

  const tellClock = () => { // paper does not know how long it lies about
    for (const time of document.querySelectorAll("time.ago")) time.textContent = time.title;
  };

  // A dead scheduler shows itself: where the next build is overdue, a banner says so. Only
  // reportgen's own server has a status to ask; it makes itself known in the header Server-Timing.

  const served = () =>
    performance.getEntriesByType("navigation")
      .some((entry) => (entry.serverTiming || []).some(({ name }) => name === "reportgen"));

  const nextDue = async () => {
    const own = { due: Date.parse(page.due), grace: page.grace * 1000 };
    if (Date.now() <= own.due + own.grace || !served()) return own;
    try {
      const response = await fetch(new URL("../status.json", here), { cache: "no-store" });
      const status = await response.json();
      const due = Date.parse(status.next_due);
      return due > own.due ? { due, grace: own.grace } : own;
    } catch {
      return own;
    }
  };

  const tellOverdue = async () => {
    const banner = document.querySelector(".overdue");
    if (!banner) return;
    const { due, grace } = await nextDue();
    banner.hidden = Date.now() <= due + grace;
    const time = banner.querySelector("time");
    time.dateTime = new Date(due).toISOString();
    time.textContent = ago(due);
  };

  // Tables sort by every column. A cell's data-v is its value; an empty one stands last either way.

  let collator; // made when it is needed: these take time to load

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
    const was = head.getAttribute("aria-sort");
    const numbers = [...keys.values()].some((key) => typeof key === "number") && !head.matches(".rank");
    const down = was ? was === "ascending" : numbers;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    collator ||= new Intl.Collator(language, { numeric: true });
    rows.sort((one, two) => compare(keys.get(one), keys.get(two), down ? -1 : 1));
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

  // And filter by the text of their first column of words.

  const makeFilterable = (table) => {
    const rows = [...table.tBodies[0].rows];
    const bar = table.parentNode.previousElementSibling; // keeps the room, so that nothing moves
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
      const wanted = input.value.trim().toLocaleLowerCase(language);
      if (wanted) texts ||= rows.map((row) => row.querySelector("th").textContent.toLocaleLowerCase(language));
      rows.forEach((row, at) => { row.hidden = wanted !== "" && !texts[at].includes(wanted); });
      const count = rows.filter((row) => !row.hidden).length;
      found.textContent = `${plain(count)} of ${plain(rows.length)} ${table.dataset.noun}`;
    };
    input.addEventListener("input", filter);
    filter();
  };

  // Charts come alive in their place on the first hover, focus or tap, and not before.

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

  // The tooltip stands inside the page's landmarks, and moves by a transform, which shifts no layout.

  const bubble = document.createElement("div");
  bubble.id = "tooltip";

  const dismiss = () => bubble.classList.remove("visible");

  const tell = (event, values) => {
    bubble.classList.toggle("visible", Boolean(values));
    if (!values) return;
    const table = document.createElement("table");
    for (const [name, value] of Object.entries(values)) {
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = value;
    }
    bubble.replaceChildren(table);
    const { width, height } = bubble.getBoundingClientRect();
    const x = Math.max(0, Math.min(event.clientX + 12, document.documentElement.clientWidth - width - 4));
    const below = event.clientY + 16;
    const y = below + height > innerHeight ? event.clientY - height - 8 : below;
    bubble.style.transform = `translate(${x}px, ${Math.max(0, y)}px)`;
  };

  const OPTIONS = {
    ast: true,
    actions: false,
    defaultStyle: false,
    renderer: "svg",
    tooltip: (handler, event, item, values) => tell(event, values),
  };

  const enliven = async (chart, box) => {
    const { datasets, ...specs } = JSON.parse(document.getElementById(chart.dataset.live).textContent);
    const stage = document.createElement("div");
    stage.className = "stage";
    await load();
    box.append(stage);
    await window.vegaEmbed(stage, { ...specs[box.className], datasets }, OPTIONS);
    for (const mark of stage.querySelectorAll("[role^=graphics]")) mark.removeAttribute("role"); // the figure is the image
    stage.classList.replace("stage", "live");
    box.replaceChildren(stage);
  };

  const shown = (chart) => [...chart.children].find((child) => child.offsetParent);

  const pointAt = (target, x, y) => {
    const event = { bubbles: true, clientX: x, clientY: y };
    for (const name of ["pointerover", "pointermove"]) target?.dispatchEvent(new PointerEvent(name, event));
  };

  const makeLive = (chart) => {
    const begun = new Set();
    let pointer;
    const wake = async (event) => {
      if (event.clientX !== undefined) pointer = [event.clientX, event.clientY];
      const box = shown(chart);
      if (event.type === "pointermove" || !box || begun.has(box)) return;
      begun.add(box);
      try {
        await enliven(chart, box);
        if (pointer && chart.matches(":hover")) pointAt(document.elementFromPoint(...pointer), ...pointer);
      } catch {
        begun.delete(box); // the drawing stays; a later visit tries again
      }
    };
    chart.tabIndex = 0;
    for (const name of ["pointerenter", "pointermove", "focus", "click"]) chart.addEventListener(name, wake);
  };

  // The keyboard does what the pointer does: left and right walk through a live chart's marks, which
  // are read aloud as well; up and down walk through its legend.

  const marksOf = (box) => {
    const marks = [...box.querySelectorAll(".role-mark path")].filter((mark) => mark.__data__?.tooltip);
    const places = new Map(marks.map((mark) => [mark, mark.getBoundingClientRect()]));
    const column = (mark) => Math.round(places.get(mark).left);
    return marks.sort((one, two) => column(one) - column(two)); // of equals, the largest path stays first
  };

  const readAloud = (chart, mark) => {
    const { left, width, top, height } = mark.getBoundingClientRect();
    pointAt(mark, left + width / 2, top + height / 2);
    const words = Object.entries(mark.__data__.tooltip).map(([name, value]) => `${name}: ${value}`);
    chart.nextElementSibling.textContent = words.join(", ");
  };

  const makeWalkable = (chart) => {
    const said = document.createElement("p");
    said.className = "unseen";
    said.setAttribute("role", "status");
    chart.after(said);
    const hint = document.createElement("p");
    hint.hidden = true;
    hint.id = `${chart.dataset.live}-hint`;
    hint.textContent = "Left and right: values. Up and down: what the legend names. Escape: close.";
    said.after(hint);
    chart.setAttribute("role", "application"); // arrows are for the chart, not for the reader of the screen
    chart.setAttribute("aria-roledescription", "interactive chart");
    chart.setAttribute("aria-describedby", hint.id);
    let mark = -1;
    let entry = -1;
    chart.addEventListener("keydown", (event) => {
      const box = shown(chart);
      const across = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const along = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const entries = box.querySelectorAll(".live .role-legend-label text");
      if (across && box.querySelector(".live")) {
        const marks = marksOf(box);
        mark = mark < 0 && across < 0 ? marks.length - 1 : (mark + across + marks.length) % marks.length;
        readAloud(chart, marks[mark]);
      } else if (along && entries.length) {
        entries[entry]?.dispatchEvent(new MouseEvent("click", { bubbles: true })); // off again
        entry = ((entry + 1 + along + entries.length + 1) % (entries.length + 1)) - 1;
        entries[entry]?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        said.textContent = entry < 0 ? "All of them" : entries[entry].textContent;
      } else {
        return;
      }
      event.preventDefault();
    });
    chart.addEventListener("blur", dismiss);
  };

  tellTimes();
  tellOverdue();
  addEventListener("beforeprint", tellClock);
  addEventListener("afterprint", tellTimes);
  setInterval(() => { tellTimes(); tellOverdue(); }, 30000);
  document.querySelector("main").append(bubble);
  addEventListener("keydown", ({ key }) => { if (key === "Escape") dismiss(); });
  // Not on "scroll": what the keyboard walks to is scrolled into view.
  for (const name of ["wheel", "touchmove"]) addEventListener(name, dismiss, { passive: true });
  const works = [...document.querySelectorAll("main table")].flatMap((table) => [
    () => makeSortable(table),
    () => makeFilterable(table),
  ]);
  if (page.vega) {
    for (const chart of document.querySelectorAll(".chart")) {
      works.push(() => { makeLive(chart); makeWalkable(chart); });
    }
  }
  for (const work of works) setTimeout(work); // one at a time: a finger may come in between
})();
