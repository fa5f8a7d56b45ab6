// Runs the networks, away from the page's own thread so that the page stays usable.
import * as ort from "./onnxruntime-web/ort.wasm.bundle.min.mjs";
import { Finder } from "./finder.js";

const RUNTIME = "onnxruntime-web/ort-wasm-simd-threaded.wasm.gz";
const here = new URL(".", import.meta.url).href;
let sessions, settings, finder;
let faces = []; // of the latest picture; with `image`, the network's input, once it was asked for
let current = 0; // its number

const tasks = {
  /** Load everything. Returns the settings. */
  async start() {
    settings = await (await fetched("settings.json")).json();
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1; // more need a server that sends headers of its own (COOP and COEP)
    const names = ["pnet", "rnet", "onet", "cascade"];
    const files = await downloaded([...names.map((name) => `networks/${name}.onnx.gz`), RUNTIME]);
    ort.env.wasm.wasmBinary = files.pop();
    sessions = {};
    for (const [number, name] of names.entries()) {
      sessions[name] = await ort.InferenceSession.create(files[number], { executionProviders: ["wasm"] });
    }
    const network = (session, outputs) => async (values, shape) => {
      const input = new ort.Tensor("float32", values, shape);
      const results = await session.run({ [session.inputNames[0]]: input });
      const entries = Object.entries(outputs).map(([key, name]) => [key, results[name].data]);
      return { ...Object.fromEntries(entries), shape: results[outputs.scores].dims };
    };
    const { p, r, o } = settings.finder.OUTPUTS;
    finder = new Finder(
      { p: network(sessions.pnet, p), r: network(sessions.rnet, r), o: network(sessions.onet, o) },
      settings,
    );
    return settings;
  },

  /** Find the faces of a picture, or take it as one that is aligned. Returns them without what only this thread needs. */
  async find({ number, picture, aligned, detectionSize }) {
    const began = performance.now();
    let found;
    if (aligned) {
      const { width, height } = picture;
      const toPhoto = [[1, 0, 0], [0, 1, 0]];
      found = [{ box: [0, 0, width, height], warning: "", toPhoto, picture }];
    } else {
      found = await finder.faces(picture, detectionSize);
    }
    if (number > current) [faces, current] = [found, number]; // the search of an older picture may end later
    return { faces: found, milliseconds: performance.now() - began };
  },

  /** Answers for a face of picture `number`: arrays by the names of the network's outputs; null if it is not the latest. */
  async answer({ number, face, threshold, averageWeight }) {
    if (number !== current) return null;
    const began = performance.now();
    const one = faces[face];
    if (!one.image) {
      const { width, height, data } = one.picture;
      const pixels = new Uint8Array(width * height * 3);
      for (let from = 0, at = 0; from < data.length; from += 4, at += 3) {
        pixels[at] = data[from];
        pixels[at + 1] = data[from + 1];
        pixels[at + 2] = data[from + 2];
      }
      one.image = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
    }
    const scalar = (value) => new ort.Tensor("float32", Float32Array.of(value), []);
    const results = await sessions.cascade.run({
      image: one.image, threshold: scalar(threshold), average_weight: scalar(averageWeight),
    });
    const answers = Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Array.from(data, Number)]));
    return { answers, milliseconds: performance.now() - began };
  },
};

async function fetched(path) {
  const response = await fetch(here + path);
  if (!response.ok) throw new Error(`the file ${path} of this page could not be loaded (${response.status})`);
  return response;
}

/** The bytes of several compressed files; tells the page how far it is. */
async function downloaded(paths) {
  let received = 0;
  return Promise.all(paths.map(async (path) => {
    const reader = (await fetched(path)).body.getReader(), parts = [];
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      parts.push(step.value);
      received += step.value.length;
      self.postMessage({ progress: received / settings.bytes });
    }
    const blob = new Blob(parts), [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
    // Some servers declare the compression, so that the browser has undone it already.
    const packed = first === 0x1f && second === 0x8b;
    const stream = packed ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }));
}

self.onmessage = async ({ data: { id, task, options } }) => {
  try {
    self.postMessage({ id, result: await tasks[task](options) });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
