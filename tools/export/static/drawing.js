// What the page shows: the photo with its faces, bars, the region, the response map, and lists to choose from.
import { corners, moved } from "./pictures.js";

export const readable = (name) => name.replaceAll("_", " ");
export const percent = (share) => `${Math.round(share * 100)} %`;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The rows of the attributes. verdicts: { probability, word } of each, null where there are none. */
export function drawAttributes(rows, verdicts) {
  rows.forEach((row, place) => {
    const { probability, word } = verdicts ? verdicts[place] : { probability: 0, word: "" };
    row.className = `attribute ${word}`;
    row.querySelector(".bar > span").style.inlineSize = `${probability * 100}%`;
    row.querySelector(".share").textContent = verdicts ? percent(probability) : "";
    row.querySelector(".word").textContent = word;
  });
}

/** A photo with its faces and, where there is one, the region [x1, y1, x2, y2] on the aligned picture of one of them. */
export function drawPhoto(canvas, photo, faces, face, region) {
  canvas.width = photo.width;
  canvas.height = photo.height;
  const context = canvas.getContext("2d");
  context.putImageData(photo, 0, 0);
  const unit = Math.max(photo.width, photo.height) / 400; // lines have the same width on the screen
  faces.forEach(({ box }, place) => {
    outline(context, corners(box), colour("face"), (place === face ? 2 : 1) * unit, place !== face);
    if (faces.length > 1) drawNumber(context, place + 1, box[0], box[1], unit);
  });
  if (region) {
    const points = corners(region).map((point) => moved(point, faces[face].toPhoto));
    outline(context, points, colour("region"), 2.5 * unit);
  }
}

function drawNumber(context, number, x, y, unit) {
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  const top = Math.max(0, y - 18 * unit), width = context.measureText(String(number)).width + 8 * unit;
  context.fillStyle = colour("face");
  context.fillRect(x, top, width, 18 * unit);
  context.fillStyle = "#fff";
  context.fillText(String(number), x + 4 * unit, top + 14 * unit);
}

function outline(context, points, stroke, width, dashed = false) {
  context.beginPath();
  points.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.lineJoin = "round";
  context.setLineDash(dashed ? [4 * width, 3 * width] : []);
  for (const [style, extra] of [["#0009", 1.6], [stroke, 1]]) {
    context.strokeStyle = style;
    context.lineWidth = width * extra;
    context.stroke();
  }
}

/** An aligned picture, darkened outside a region of it. */
export function drawRegion(canvas, picture, region) {
  const { width, height, data } = picture, context = canvas.getContext("2d");
  canvas.width = width;
  canvas.height = height;
  context.putImageData(new ImageData(data, width, height), 0, 0);
  const [x1, y1, x2, y2] = region;
  context.fillStyle = "#0006";
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(x1, y1, x2 - x1, y2 - y1);
  context.fill("evenodd");
  const inset = width / 120; // all of the line is in the picture
  const inside = [Math.max(x1, inset), Math.max(y1, inset), Math.min(x2, width - inset), Math.min(y2, height - inset)];
  outline(context, corners(inside), colour("region"), width / 80);
  const [left, top, right, bottom] = region.map((side) => side.toFixed(1));
  const words = `Region: ${left} to ${right} across, ${top} to ${bottom} down, of ${width} x ${height} pixels`;
  canvas.setAttribute("aria-label", `The aligned face. ${words}`);
}

/** A response map in the cells of a table; those above a limit are outlined. */
export function drawMap(cells, map, limit) {
  cells.forEach((cell, place) => {
    cell.textContent = map[place].toFixed(2);
    cell.style.setProperty("--share", map[place]);
    cell.className = map[place] > limit ? "above" : "";
  });
}

export function emptyRegion(canvas, cells) {
  canvas.width = canvas.width; // clears it
  canvas.setAttribute("aria-label", "No face yet");
  cells.forEach((cell) => {
    cell.textContent = "";
    cell.className = "";
    cell.style.removeProperty("--share");
  });
}

/** Radio buttons in a fieldset, one for each list of nodes; `chosen` gets the place of the one that is picked. */
export function radios(fieldset, name, labels, chosen) {
  fieldset.querySelectorAll("label").forEach((label) => label.remove());
  labels.forEach((content, place) => {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "radio", name, className: "hidden", checked: place === 0, onchange: () => chosen(place) });
    label.append(input, ...content);
    fieldset.append(label);
  });
}

export function span(className, ...content) {
  const made = document.createElement("span");
  made.className = className;
  made.append(...content);
  return made;
}

export function thumbnail({ width, height, data }) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}
