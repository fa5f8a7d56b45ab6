"use strict";
// Tables: a click on a heading sorts by it, a second one the other way round. A foot stays where it is.
for (const head of document.querySelectorAll(".wide thead th")) {
  head.querySelector("button").addEventListener("click", () => {
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending" || (!head.hasAttribute("aria-sort") && column > 0);
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].textContent;
    const number = text => parseFloat(text.replaceAll(",", ""));  // an interval after it does not count
    const order = (a, b) => {
      const x = value(a), y = value(b), difference = number(x) - number(y);
      return Number.isNaN(difference) ? x.localeCompare(y) : difference;
    };
    [...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))).forEach(row => body.append(row));
  });
}

// Pickers: one panel of many. Lists of one kind follow each other.
const pickers = [...document.querySelectorAll(".picker")];
function pick(kind, place) {
  for (const picker of pickers.filter(one => one.dataset.kind === kind)) {
    const list = picker.querySelector("select");
    if (list) list.value = place;
    picker.querySelectorAll(".panel").forEach((panel, number) => { panel.hidden = number !== place; });
    picker.dispatchEvent(new CustomEvent("pick", { detail: place }));
  }
}
for (const picker of pickers) {
  const list = picker.querySelector("select");
  if (list) {
    const count = list.options.length, choose = place => pick(picker.dataset.kind, (place + count) % count);
    list.addEventListener("change", () => choose(+list.value));
    for (const button of picker.querySelectorAll(".step[data-by]"))
      button.addEventListener("click", () => choose(+list.value + +button.dataset.by));
  }
}

// Regions: a face, and what is drawn on it step by step.
const SVG = "http://www.w3.org/2000/svg", SIDE = 224;
function add(parent, name, attributes, text) {
  const made = parent.appendChild(document.createElementNS(SVG, name));
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
}
function box(parent, sides, kind) {
  const place = { x: sides[0], y: sides[1], width: sides[2] - sides[0], height: sides[3] - sides[1] };
  add(parent, "rect", { ...place, class: "edge" });
  add(parent, "rect", { ...place, class: kind });
}
function heat(parent, values) {
  const side = Math.sqrt(values.length), step = SIDE / side;
  values.forEach((value, place) => {
    const x = (place % side) * step, y = Math.floor(place / side) * step;
    add(parent, "rect", { x, y, width: step, height: step, class: "heat", fill: "#ffb000", "fill-opacity": 0.75 * value });
    add(parent, "text", { x: x + step / 2, y: y + step / 2 + 5, "text-anchor": "middle", class: "value" }, value.toFixed(2));
  });
}
for (const viewer of document.querySelectorAll(".viewer")) {
  const { entries, steps } = JSON.parse(viewer.querySelector("script").textContent);
  const picker = viewer.closest(".picker"), picture = viewer.querySelector("svg"), strip = viewer.querySelector(".strip");
  const words = viewer.querySelector(".words"), said = viewer.querySelector(".said");
  const buttons = [...viewer.querySelectorAll(".steps button[data-step]")];
  let attribute = 0, face = 0, step = steps.length - 1;
  function show() {
    const entry = entries[attribute][face];
    const drawn = { response: () => heat(picture, entry.response), region: () => box(picture, entry.region, "found"),
      revised: () => heat(picture, entry.revised), final: () => box(picture, entry.final, "found"),
      truth: () => { box(picture, entry.final, "found"); if (entry.truth) box(picture, entry.truth, "true"); } };
    picture.replaceChildren();
    add(picture, "use", { href: "#" + entry.face });
    const [name, , explained] = steps[step];
    if (drawn[name]) drawn[name]();
    buttons.forEach((button, number) => button.setAttribute("aria-pressed", number === step));
    [...strip.children].forEach((button, number) => button.setAttribute("aria-pressed", number === face));
    words.textContent = name === "truth" && !entry.truth ? "No true box is known of this face." : explained;
    said.textContent = entry.words;
    picture.setAttribute("aria-label", `${entry.words} ${words.textContent}`);
  }
  function fill() {
    strip.replaceChildren();
    entries[attribute].forEach((entry, number) => {
      const button = strip.appendChild(document.createElement("button"));
      button.type = "button";
      button.setAttribute("aria-label", `Face ${number + 1}: ${entry.words}`);
      add(add(button, "svg", { viewBox: "0 0 224 224" }), "use", { href: "#" + entry.face });
      button.addEventListener("click", () => { face = number; show(); });
    });
    face = 0;
    if (entries[attribute].length) show();
  }
  buttons.forEach((button, number) => button.addEventListener("click", () => { step = number; show(); }));
  viewer.querySelector(".steps").addEventListener("keydown", event => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    step = (step + by + steps.length) % steps.length;
    show();
    buttons[step].focus();
    event.preventDefault();
  });
  picker.addEventListener("pick", event => { attribute = event.detail; fill(); });
}
for (const kind of new Set(pickers.map(picker => picker.dataset.kind))) pick(kind, 0);

// A page on paper shows what is folded, too, but for the long tables.
addEventListener("beforeprint", () => document.querySelectorAll("details:not(.long)").forEach(part => { part.open = true; }));
