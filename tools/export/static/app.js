// The page: pictures in, answers shown. Networks run in worker.js.
import { drawAttributes, drawMap, drawPhoto, drawRegion, emptyRegion, percent, radios, readable, span, thumbnail } from "./drawing.js";
import { ask, startWorker } from "./networks.js";

const element = (id) => document.getElementById(id);
const [stage, photo, video] = ["stage", "photo", "video"].map(element);
const [threshold, average] = ["threshold", "average"].map(element);
let settings;
let picture = null; // ImageData of the photo that is shown
let faces = [], face = 0, answers = null, attribute = 0;
let stream = null; // of the camera, while it is on
let asked = null; // promise of the stream, while the browser asks the user for permission
let finding = 0; // milliseconds that the search of the picture took
let newest = 0; // number of the latest picture: faces found in older ones are dropped
let current = 0; // number of the picture that `faces` were found in: answers for other ones are dropped

// Messages --------------------------------------------------------------------------------------------------------------

class Problem extends Error {}

function say(text) {
  element("status").textContent = text;
}

function complain(text) {
  element("problem").textContent = text;
  element("problem").hidden = !text;
  if (text) say("");
}

/** Run an action of the user; what goes wrong is said in one line. */
async function attempt(action) {
  complain("");
  try {
    await action();
  } catch (error) {
    complain(error instanceof Problem ? error.message : `Something went wrong: ${error.message}.`);
  }
}

// Pictures --------------------------------------------------------------------------------------------------------------

/** The pixels of a file or an address of this page. Its size is known before anything is decoded. */
async function decoded(address, name) {
  const image = new Image();
  image.src = address;
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
  } catch {
    throw new Problem(`${name} is not a picture that this browser can read. Choose a JPEG, PNG or WebP file.`);
  }
  const { naturalWidth: width, naturalHeight: height } = image;
  const { mostPixels, leastSide, longestSide } = settings.photos;
  if (Math.min(width, height) < leastSide) {
    throw new Problem(`${name} has ${width} x ${height} pixels, too few for a face: ${leastSide} x ${leastSide} are needed.`);
  }
  if (width * height > mostPixels) {
    throw new Problem(`${name} has ${width} x ${height} pixels; this page takes ${mostPixels / 1e6} million at most. `
      + "Make it smaller and choose it again.");
  }
  return pixels(image, width, height, longestSide);
}

/** What an image or a video shows, at most `longest` pixels along its longer side, as ImageData. */
function pixels(source, width, height, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // under what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function openFile(file) {
  if (!file) return;
  stopCamera();
  const address = URL.createObjectURL(file);
  try {
    await show(await decoded(address, file.name || "The file"), element("aligned").checked);
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Find and answer for the faces of a picture. */
async function show(shown, aligned, detectionSize = settings.photos.detectionSize) {
  newest += 1;
  const mine = newest;
  if (!stream) say(aligned ? "" : "Looking for faces ...");
  const found = await ask("find", { number: mine, picture: shown, aligned, detectionSize });
  if (mine !== newest) return;
  [picture, faces, face, finding, current] = [shown, found.faces, 0, found.milliseconds, mine];
  if (!stream || !faces.length) answers = null;
  drawFaces();
  if (!faces.length) {
    drawAll();
    say(stream ? "No face in sight." : "No face found. Choose another photo, or tick \"Already aligned\" if it is a face.");
  }
  await answer();
}

let answering = false, again = false; // while an answer is computed, the latest wish waits

/** Answer for the chosen face with the settings of the controls. */
async function answer() {
  again = true;
  if (answering) return;
  answering = true;
  try {
    while (again && faces.length) {
      again = false;
      const mine = current;
      const averageWeight = average.checked ? settings.region.averageWeight : 0;
      if (!answers && !stream) say("Answering ...");
      const result = await ask("answer", { number: mine, face, threshold: Number(threshold.value), averageWeight });
      if (!result || mine !== current) continue;
      answers = result.answers;
      element("times").textContent = `Times: finding faces ${finding.toFixed(0)} ms, answering ${result.milliseconds.toFixed(0)} ms.`;
      if (mine === newest) say(summary()); // otherwise the next picture is being searched
      drawAll();
    }
  } finally {
    answering = false;
  }
}

function summary() {
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  const chosen = faces.length > 1 ? `; answers are for face ${face + 1}` : "";
  return `${count}${chosen}.`;
}

// Camera ----------------------------------------------------------------------------------------------------------------

const CAMERA_PROBLEMS = {
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the browser's settings for this page.",
  NotReadableError: "The camera is used by another program. Close that program and try again.",
};

async function startCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Problem("This browser gives the camera only to pages from https:// or from localhost.");
  }
  if (asked) return;
  say("Waiting for the camera ...");
  const mine = navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
  asked = mine;
  let opened;
  try {
    opened = await mine;
  } catch (error) {
    if (asked !== mine) return;
    asked = null;
    throw new Problem(CAMERA_PROBLEMS[error.name] ?? `The camera could not be started (${error.message}).`);
  }
  if (asked !== mine) { // a picture was opened meanwhile
    stop(opened);
    return;
  }
  [stream, asked] = [opened, null];
  drawCameraButton();
  video.srcObject = stream;
  await video.play();
  while (stream === opened && opened.active) {
    const shown = pixels(video, video.videoWidth, video.videoHeight, settings.camera.longestSide);
    await show(shown, false, settings.camera.detectionSize);
    await new Promise((resolve) => { requestAnimationFrame(resolve); });
  }
  if (stream === opened) stopCamera();
}

function stop(opened) {
  opened.getTracks().forEach((track) => track.stop());
}

function stopCamera() {
  if (stream) stop(stream);
  [stream, asked] = [null, null];
  video.srcObject = null;
  drawCameraButton();
}

function drawCameraButton() {
  element("camera").textContent = stream ? "Stop the camera" : "Use the camera";
  element("camera").setAttribute("aria-pressed", String(Boolean(stream)));
}

// Drawing ---------------------------------------------------------------------------------------------------------------

/** What the network says of an attribute of the chosen face. */
function verdict(place) {
  const probability = answers.probability[place], present = Boolean(answers.present[place]);
  const certain = (present ? probability : 1 - probability) >= settings.minConfidence;
  return { probability, word: certain ? (present ? "present" : "absent") : "uncertain" };
}

function drawAll() {
  const limit = Number(threshold.value), cells = [...element("map").querySelectorAll("td")];
  element("chosen").textContent = readable(settings.attributes[attribute]);
  element("threshold-value").textContent = limit.toFixed(2);
  const warning = faces[face]?.warning;
  element("warning").textContent = warning ? `Answers for this face may be wrong: ${warning}.` : "";
  element("warning").hidden = !warning;
  const rows = [...element("attributes").querySelectorAll("label")];
  drawAttributes(rows, answers && settings.attributes.map((_, place) => verdict(place)));
  const region = answers?.region.slice(attribute * 4, attribute * 4 + 4);
  stage.classList.toggle("filled", Boolean(picture));
  if (picture) {
    drawPhoto(photo, picture, faces, face, region);
    photo.setAttribute("aria-label", `The photo. ${faces.length ? summary() : "No face found."}`);
  }
  if (answers) {
    const map = answers.revised_response.slice(attribute * 16, attribute * 16 + 16);
    drawRegion(element("aligned-face"), faces[face].picture, region);
    drawMap(cells, map, limit);
    element("fallback").hidden = map.some((value) => value > limit);
  } else {
    emptyRegion(element("aligned-face"), cells);
    element("fallback").hidden = true;
  }
}

/** The faces to choose from, where there are several. */
function drawFaces() {
  element("faces").hidden = faces.length < 2;
  const labels = faces.map((one, place) => [thumbnail(one.picture), span("number", String(place + 1))]);
  radios(element("faces"), "face", faces.length > 1 ? labels : [], (place) => attempt(async () => {
    [face, answers] = [place, null];
    drawAll();
    await answer();
  }));
}

// Start -----------------------------------------------------------------------------------------------------------------

function buildControls() {
  const rows = settings.attributes.map((name) => [
    span("name", readable(name)), span("bar", span("")), span("share"), span("word"),
  ]);
  radios(element("attributes"), "attribute", rows, (place) => {
    attribute = place;
    drawAll();
  });
  const body = element("map").querySelector("tbody");
  for (let row = 0; row < 4; row += 1) {
    const line = body.insertRow();
    for (let column = 0; column < 4; column += 1) line.insertCell();
  }
  for (const [place, path] of settings.examples.entries()) {
    const button = document.createElement("button"), image = document.createElement("img");
    Object.assign(image, { src: path, alt: `Example ${place + 1}`, width: 89, height: 109 });
    Object.assign(button, { type: "button", className: "example", onclick: () => attempt(async () => {
      stopCamera();
      await show(await decoded(path, image.alt), element("aligned").checked);
    }) });
    button.append(image);
    element("examples").append(button);
  }
  const confidence = percent(settings.minConfidence);
  element("meaning").textContent = settings.calibrated
    ? `Bars: calibrated probability that the attribute is present. Uncertain: the answer would be right less often than ${confidence}.`
    : "Bars: probabilities of a network that has not been evaluated; they are not calibrated.";
  element("synthetic").hidden = !settings.synthetic;
  resetControls();
}

function resetControls() {
  threshold.value = settings.region.threshold;
  average.checked = true;
}

function listen() {
  element("file").onchange = ({ target }) => attempt(async () => {
    const [file] = target.files;
    target.value = ""; // the same file can be chosen again
    await openFile(file);
  });
  element("camera").onclick = () => attempt(async () => {
    if (stream) stopCamera();
    else await startCamera();
  });
  const changed = () => attempt(async () => {
    element("threshold-value").textContent = Number(threshold.value).toFixed(2);
    if (faces.length) await answer();
  });
  threshold.oninput = changed;
  average.onchange = changed;
  element("reset").onclick = () => { resetControls(); changed(); };
  document.ondragover = (event) => { event.preventDefault(); stage.classList.add("over"); };
  document.ondragleave = () => stage.classList.remove("over");
  document.ondrop = (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    attempt(() => openFile(event.dataTransfer.files[0]));
  };
  matchMedia("(prefers-color-scheme: dark)").onchange = drawAll;
}

async function start() {
  if (typeof WebAssembly !== "object") {
    throw new Problem("This browser has no WebAssembly, which the networks need. Use a current Firefox, Chrome, Edge or Safari.");
  }
  say("Loading the networks ...");
  element("progress").hidden = false;
  startWorker((share) => { element("progress").value = share; });
  try {
    settings = await ask("start");
  } catch (error) {
    throw new Problem(`The networks could not be started: ${error.message}.`);
  } finally {
    element("progress").hidden = true;
  }
  buildControls();
  listen();
  element("main").hidden = false;
  drawAll();
  say("Ready. Choose a photo, an example or the camera.");
}

await attempt(start);
document.documentElement.dataset.state = settings ? "ready" : "failed";
