// Sorts, filters and unfolds the tables, and draws the interactive charts. Without it the page shows
// all rows, and the figures as pictures.
"use strict";

const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;
const UNITS = { k: 1e3, M: 1e6, B: 1e9, s: 1, min: 60, h: 3600, MB: 1 };

function make(name, attributes = {}, parent = null, text = "") {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function draw(name, attributes, parent, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

// ---- explanations that follow the pointer and the focus ----

const tip = make("div", { class: "tip", role: "tooltip", id: "tip", hidden: "" }, document.body);

function explain(element, text) {
  const show = () => {
    tip.textContent = text;
    tip.hidden = false;
    const box = element.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left) + scrollX}px`;
    const above = box.top - tip.offsetHeight - 6;
    tip.style.top = `${(above > 0 ? above : box.bottom + 6) + scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const event of ["mouseenter", "focus"]) element.addEventListener(event, show);
  for (const event of ["mouseleave", "blur"]) element.addEventListener(event, hide);
  element.setAttribute("aria-describedby", "tip");
}

addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// ---- pictures that are enlarged by a click ----

const viewer = make("dialog", { class: "viewer" }, document.body);
viewer.addEventListener("click", () => viewer.close());

function makeZoomable(image) {
  const button = make("button", { class: "zoom", type: "button", title: "Enlarge" });
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const large = image.cloneNode();
    const room = Math.min(innerWidth * 0.92 / image.naturalWidth, innerHeight * 0.8 / image.naturalHeight);
    large.width = image.naturalWidth * (room > 1 ? Math.floor(room) : room);
    viewer.replaceChildren(large);
    make("p", {}, viewer, image.alt);
    viewer.showModal();
  });
}

// ---- tables ----

function numberOf(cell) {
  const match = cell.textContent.replaceAll(",", "").match(/^\s*(-?[\d.]+)/);
  if (!match) return null;
  const unit = cell.textContent.match(/\d\s+(k|M|B|s|min|h|MB)\b/);
  return Number(match[1]) * (unit ? UNITS[unit[1]] : 1);
}

function compareCells(a, b) {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) return x - y;
  if (x === null && y === null) return a.textContent.localeCompare(b.textContent);
  return x === null ? 1 : -1;
}

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const groups = [];
  for (const row of body.rows) {
    if (row.classList.contains("seed")) groups.at(-1).push(row);
    else groups.push([row]);
  }
  const cellOf = (group) => group[0].cells[column];
  groups.sort((a, b) => {
    const missing = (numberOf(cellOf(a)) === null) - (numberOf(cellOf(b)) === null);
    if (missing && table.tHead.rows[0].cells[column].classList.contains("right")) return missing;
    return (descending ? -1 : 1) * compareCells(cellOf(a), cellOf(b));
  });
  for (const group of groups) body.append(...group);
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, null, head.textContent);
    head.replaceChildren(button);
    if (head.dataset.meaning) explain(button, head.dataset.meaning);
    button.addEventListener("click", () => {
      const best = head.textContent.includes("↑") ? "descending" : "ascending";
      const other = best === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === best ? other : best;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      sortBy(table, column, order === "descending");
    });
  });
}

function makeUnfoldable(table) {
  for (const row of table.tBodies[0].rows) {
    const seeds = [];
    let next = row.nextElementSibling;
    while (next && next.classList.contains("seed")) {
      seeds.push(next);
      next = next.nextElementSibling;
    }
    if (row.classList.contains("seed") || !seeds.length) continue;
    const button = make("button", { type: "button", class: "unfold", "aria-expanded": "false" }, null, "▸");
    button.setAttribute("aria-label", `Seeds of ${row.cells[0].textContent.trim()}`);
    row.cells[0].prepend(button);
    button.addEventListener("click", () => {
      const isOpen = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!isOpen));
      button.textContent = isOpen ? "▸" : "▾";
      for (const seed of seeds) seed.hidden = isOpen;
    });
  }
}

function rowsOf(table) {
  return [...table.tBodies[0].rows].filter((row) => !row.classList.contains("seed"));
}

function nameOf(row) {
  return row.cells[0].textContent.replace(/[▸▾]/, "").trim();
}

function toggle(parent, text, change) {
  const button = make("button", { type: "button", "aria-pressed": "true" }, parent, text);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    change(on);
  });
}

function fold(table, corner, isShown) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.dataset.corner !== corner) return;
    for (const row of table.rows) if (row.cells[column]) row.cells[column].hidden = !isShown;
  });
}

function addControls(section, tables) {
  const controls = section.querySelector(".controls");
  const models = [...new Set(rowsOf(tables[0]).map(nameOf))];
  const corners = [...new Set(tables.flatMap((table) =>
    [...table.tHead.rows[0].cells].map((head) => head.dataset.corner)))]
    .filter((corner) => corner && corner !== "identity");
  if (models.length > 1) {
    make("span", {}, controls, "Models:");
    for (const model of models) toggle(controls, model, (on) => {
      for (const table of tables) for (const row of rowsOf(table)) if (nameOf(row) === model) {
        row.hidden = !on;
        const button = row.querySelector(".unfold[aria-expanded='true']");
        if (!on && button) button.click();
      }
      section.dispatchEvent(new CustomEvent("models", { detail: { model, on } }));
    });
    make("span", { class: "gap" }, controls);
  }
  if (corners.length > 1) {
    make("span", {}, controls, "Columns:");
    for (const corner of corners) toggle(controls, corner, (on) => {
      for (const table of tables) fold(table, corner, on);
    });
  }
  controls.hidden = !controls.children.length;
}

// ---- charts ----

const HEIGHT = 420, LEFT = 78, RIGHT = 24, TOP = 16, BOTTOM = 54;
let WIDTH = 760;  // that of the page, within limits

function niceStep(span, count) {
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function scaleOf(values, isLog, from, to) {
  let low = Math.min(...values), high = Math.max(...values), ticks = [];
  if (isLog) {
    const margin = Math.max(1.15, (high / low) ** 0.06);
    [low, high] = [low / margin, high * margin];
    const decades = Math.log10(high / low);
    const factors = decades < 1 ? [1, 2, 3, 5, 7] : decades < 2 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const factor of factors) ticks.push(factor * 10 ** power);
    ticks = ticks.filter((tick) => tick >= low && tick <= high);
    if (ticks.length < 2) ticks = [Math.min(...values), Math.max(...values)];
    const place = (value) => from + (to - from) * Math.log(value / low) / Math.log(high / low);
    return { place, ticks };
  }
  const span = high - low || Math.abs(high) || 1;
  [low, high] = [low - 0.06 * span, high + 0.06 * span];
  const step = niceStep(high - low, WIDTH < 500 ? 4 : 6);
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
  return { place: (value) => from + (to - from) * (value - low) / (high - low), ticks };
}

function write(value) {
  if (value === null) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  return Number(value.toPrecision(3)).toLocaleString("en");
}

function frame(parent, label) {
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, parent);
  return svg;
}

function axes(svg, x, y, xTitle, yTitle) {
  for (const tick of x.ticks) {
    draw("line", { class: "grid", x1: x.place(tick), x2: x.place(tick), y1: TOP, y2: HEIGHT - BOTTOM }, svg);
    draw("text", { class: "muted", x: x.place(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, svg, write(tick));
  }
  for (const tick of y.ticks) {
    draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y.place(tick), y2: y.place(tick) }, svg);
    draw("text", { class: "muted", x: LEFT - 8, y: y.place(tick) + 4, "text-anchor": "end" }, svg, write(tick));
  }
  draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 10, "text-anchor": "middle" }, svg, xTitle);
  const middle = (TOP + HEIGHT - BOTTOM) / 2;
  draw("text", { x: 18, y: middle, "text-anchor": "middle", transform: `rotate(-90 18 ${middle})` }, svg, yTitle);
}

function mark(svg, x, y, color, text) {
  const circle = draw("circle", { class: "mark", cx: x, cy: y, r: 6, fill: color, tabindex: 0, role: "img", "aria-label": text }, svg);
  explain(circle, text);
  return circle;
}

function addLegend(parent, lines) {
  const list = make("ul", { class: "legend" }, parent);
  for (const line of lines) {
    const entry = make("li", {}, list);
    make("span", { class: "dot", style: `background:${line.color}` }, entry);
    entry.append(line.label);
  }
}

function nothing(parent) {
  make("p", { class: "facts" }, parent, "Nothing to draw: no shown model has both numbers.");
}

function drawScatter(parent, data, lines, xKey, yKey) {
  const [xColumn, yColumn] = [xKey, yKey].map((key) => data.columns.find((each) => each.key === key));
  const known = lines.filter((line) => line.values[xKey][0] !== null && line.values[yKey][0] !== null);
  if (!known.length) return nothing(parent);
  const [xs, ys] = [xKey, yKey].map((key) => known.map((line) => line.values[key][0]));
  const xLog = (xColumn.isRatio || xKey === "network_passes") && Math.min(...xs) > 0;
  const yLog = yColumn.isRatio && Math.min(...ys) > 0;
  const x = scaleOf(xs, xLog, LEFT, WIDTH - RIGHT), y = scaleOf(ys, yLog, HEIGHT - BOTTOM, TOP);
  const svg = frame(parent, `${yColumn.title} against ${xColumn.title}`);
  axes(svg, x, y, xColumn.title, yColumn.title);
  for (const way of new Set(known.map((line) => line.way))) {
    const points = known.filter((line) => line.way === way)
      .sort((a, b) => a.values[xKey][0] - b.values[xKey][0])
      .map((line) => `${x.place(line.values[xKey][0])},${y.place(line.values[yKey][0])}`);
    const color = known.find((line) => line.way === way).color;
    if (points.length > 1) draw("polyline", { points: points.join(" "), fill: "none", stroke: color, "stroke-width": 1.5 }, svg);
  }
  for (const line of known) {
    const [[xMean, xStd], [yMean, yStd]] = [line.values[xKey], line.values[yKey]];
    const error = (std) => std === null ? "" : ` ± ${write(std)}`;
    const text = `${line.label}\n${xColumn.title} ${write(xMean)}${error(xStd)}\n${yColumn.title} ${write(yMean)}${error(yStd)}`;
    mark(svg, x.place(xMean), y.place(yMean), line.color, text);
  }
  addLegend(parent, known);
}

function drawLearning(parent, data, isHidden) {
  const curves = data.learning.filter((curve) => !isHidden(curve.label));
  if (!curves.length) return nothing(parent);
  const points = curves.flatMap((curve) => curve.points);
  const column = data.columns.find((each) => each.key === data.y);
  const x = scaleOf(points.map((point) => point[0]), false, LEFT, WIDTH - RIGHT);
  const values = points.map((point) => point[1]);
  const y = scaleOf(values, Math.min(...values) > 0, HEIGHT - BOTTOM, TOP);
  const title = `${column ? column.title : ""} in validation`;
  const svg = frame(parent, `${title} over the seconds of training`);
  axes(svg, x, y, "training seconds", title);
  for (const curve of curves) {
    const places = curve.points.map(([time, value]) => `${x.place(time)},${y.place(value)}`);
    draw("polyline", { points: places.join(" "), fill: "none", stroke: curve.color, "stroke-width": 1.5 }, svg);
    for (const [time, value, std] of curve.points) {
      const error = std === null ? "" : ` ± ${write(std)}`;
      mark(svg, x.place(time), y.place(value), curve.color, `${curve.label}\nafter ${write(time)} s: ${write(value)}${error}`).setAttribute("r", 4);
    }
  }
  addLegend(parent, curves);
}

function drawRadar(parent, data, lines) {
  const known = lines.filter((line) => line.scores.every((score) => score !== null));
  if (!known.length) return nothing(parent);
  const svg = frame(parent, "The trilemma: quality, speed and diversity, each from 0 to 1");
  const centre = [WIDTH / 2, HEIGHT / 2 + 34], radius = Math.min(190, WIDTH / 2 - 80);
  const directions = [90, 210, 330].map((angle) => angle * Math.PI / 180);
  const place = (score, index) => [centre[0] + radius * score * Math.cos(directions[index]), centre[1] - radius * score * Math.sin(directions[index])];
  const ring = (scores) => scores.map((score, index) => place(score, index).join(",")).join(" ");
  for (const level of [0.25, 0.5, 0.75, 1])
    draw("polygon", { class: "grid", points: ring([level, level, level]), fill: "none" }, svg);
  ["quality", "speed", "diversity"].forEach((name, index) => {
    const [x, y] = place(1.1, index);
    draw("text", { x, y: y + 4, "text-anchor": ["middle", "end", "start"][index] }, svg, name);
  });
  for (const line of known) {
    draw("polygon", { points: ring(line.scores), fill: "none", stroke: line.color, "stroke-width": 1.8 }, svg);
    const [quality, speed, diversity] = line.scores.map((score) => score.toFixed(2));
    line.scores.forEach((score, index) => mark(svg, ...place(score, index), line.color, `${line.label}\nquality ${quality}, speed ${speed}, diversity ${diversity}`));
  }
  addLegend(parent, known);
  make("p", { class: "facts" }, parent, `${data.rules.join(". ")}.`);
}

function choice(parent, text, options, chosen, change) {
  const label = make("label", {}, parent, `${text} `);
  const select = make("select", {}, label);
  for (const [value, title] of options) {
    const option = make("option", { value }, select, title);
    option.selected = value === chosen;
  }
  select.addEventListener("change", change);
  return select;
}

function addExplorer(section, element) {
  const data = JSON.parse(element.querySelector("script").textContent);
  const hidden = new Set();
  const bar = make("div", {}, element);
  const columns = data.columns.map((each) => [each.key, each.title]);
  const kinds = [["scatter", "two columns"], ["radar", "the three corners"]];
  if (data.learning.length) kinds.splice(1, 0, ["learning", "quality over training"]);
  const kind = choice(bar, "Show", kinds, "scatter", redraw);
  const x = choice(bar, "across", columns, data.x, redraw);
  const y = choice(bar, "upwards", columns, data.y, redraw);
  const chart = make("div", {}, element);

  function redraw() {
    tip.hidden = true;
    chart.replaceChildren();
    WIDTH = Math.max(320, Math.min(760, chart.clientWidth || 760));
    for (const select of [x, y]) select.parentElement.hidden = kind.value !== "scatter";
    const isHidden = (label) => [...hidden].some((model) => label === model || label.startsWith(`${model} `));
    const lines = data.lines.filter((line) => !isHidden(line.label.replaceAll("_", " ")));
    if (kind.value === "scatter") drawScatter(chart, data, lines, x.value, y.value);
    if (kind.value === "learning") drawLearning(chart, data, (label) => isHidden(label.replaceAll("_", " ")));
    if (kind.value === "radar") drawRadar(chart, data, lines);
  }

  section.addEventListener("models", (event) => {
    if (event.detail.on) hidden.delete(event.detail.model);
    else hidden.add(event.detail.model);
    redraw();
  });
  element.hidden = false;
  redraw();
  addEventListener("resize", () => { if (chart.clientWidth < 760 || WIDTH < 760) redraw(); });
}

for (const section of document.querySelectorAll("section")) {
  const tables = [...section.querySelectorAll("table.results")];
  for (const table of tables) {
    makeSortable(table);
    makeUnfoldable(table);
  }
  if (tables.length) addControls(section, tables);
  const element = section.querySelector(".explorer");
  if (element) addExplorer(section, element);
}

for (const image of document.querySelectorAll(".pictures img")) makeZoomable(image);
