// Finds faces as data_prep/faces/mtcnn.py and data_prep/faces/face_finder.py do, whose constants are in settings.json: three networks over a pyramid of the photo,
// and searches of the turned photo where none is certain. A detection is { box: [x1, y1, x2, y2], score, landmarks }.
import { align, crop, even, moved, resize, similarity, warp } from "./pictures.js";

export class Finder {
  /** networks: { p, r, o }, functions from a tensor's values and shape to its outputs; settings: of settings.json */
  constructor(networks, settings) {
    this.networks = networks;
    this.settings = settings.finder;
    this.frame = settings.frame;
  }

  /** The faces of a photo, the largest first: box, warning, toPhoto, picture (aligned). */
  async faces(photo, detectionSize) {
    const found = await this.search(photo, detectionSize);
    return found
      .map((one) => this.aligned(photo, one))
      .sort((one, other) => (other.box[2] - other.box[0]) - (one.box[2] - one.box[0]));
  }

  async search(photo, detectionSize) {
    const { SMALL, ENLARGED, CERTAIN, ACCEPTED, RETRY_SIZE, RETRIES } = this.settings;
    const longest = Math.max(photo.width, photo.height);
    let picture = brought(photo, Math.min(detectionSize, Math.max(longest, Math.min(SMALL, ENLARGED * longest))));
    let found = scaled(await this.detect(picture), picture, photo);
    picture = brought(picture, Math.min(RETRY_SIZE, Math.max(picture.width, picture.height)));
    for (const angles of RETRIES) {
      if (found.some(({ score }) => score >= CERTAIN)) break;
      for (const angle of angles) found = found.concat(scaled(await this.look(picture, angle), picture, photo));
    }
    return suppress(found.filter(({ score }) => score >= ACCEPTED), 0.5, true);
  }

  /** Detections in a picture from a search of it turned by an angle, or with a margin if that is 0. */
  async look(picture, angle) {
    const turn = (angle * Math.PI) / 180, cos = Math.cos(turn), sin = Math.sin(turn);
    const { width, height } = picture;
    const margin = angle ? 0 : 2 * this.settings.MARGIN * Math.min(width, height);
    const wide = Math.ceil(Math.abs(cos) * width + Math.abs(sin) * height + margin - 1e-6);
    const high = Math.ceil(Math.abs(sin) * width + Math.abs(cos) * height + margin - 1e-6);
    // From the turned picture to the picture: the inverse of a rotation is its transpose.
    const back = [[cos, sin, width / 2 - (cos * wide + sin * high) / 2], [-sin, cos, height / 2 + (sin * wide - cos * high) / 2]];
    const ofCentres = back.map(([p, q, shift]) => [p, q, shift + (p + q) / 2 - 0.5]);
    const turned = warp(picture, ofCentres, wide, high, this.settings.GROUND);
    return (await this.detect(turned)).map(({ box, score, landmarks }) => {
      const centre = moved([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], back);
      const halves = [(box[2] - box[0]) / 2, (box[3] - box[1]) / 2];
      if (Math.abs(angle) === 90) halves.reverse();
      return {
        box: [centre[0] - halves[0], centre[1] - halves[1], centre[0] + halves[0], centre[1] + halves[1]],
        score,
        landmarks: landmarks.map((point) => moved(point, back)),
      };
    });
  }

  /** Detections in a picture of faces that stand roughly upright. */
  async detect(picture) {
    const [, second, third] = this.settings.THRESHOLDS;
    let found = await this.propose(picture);
    if (!found.length) return [];
    let { offsets, scores } = await this.networks.r(crops(picture, found, 24), [found.length, 24, 24, 3]);
    found = found
      .map((one, row) => ({ box: one.box, offset: offsets.subarray(row * 4, row * 4 + 4), score: scores[row * 2 + 1] }))
      .filter(({ score }) => score > second);
    found = suppress(found, 0.7).map((one) => ({ box: squared(shifted(one)) }));
    if (!found.length) return [];
    let points;
    ({ offsets, scores, points } = await this.networks.o(crops(picture, found, 48), [found.length, 48, 48, 3]));
    found = found
      .map(({ box }, row) => {
        const [x, y] = box, width = box[2] - x, height = box[3] - y;
        const landmarks = [0, 1, 2, 3, 4].map((number) => [
          x + points[row * 10 + number] * width, // five x, then five y, in shares of the box
          y + points[row * 10 + 5 + number] * height,
        ]);
        const one = { box, offset: offsets.subarray(row * 4, row * 4 + 4), score: scores[row * 2 + 1], landmarks };
        return { ...one, box: shifted(one) };
      })
      .filter(({ score }) => score > third);
    return suppress(found, 0.7, true);
  }

  /** Square boxes that the first network proposes over all scales. */
  async propose(picture) {
    const { CELL, STRIDE, PYRAMID_STEP, THRESHOLDS, MOST_PROPOSALS, MIN_FACE_SIZE } = this.settings;
    const all = [];
    for (let scale = CELL / MIN_FACE_SIZE; Math.min(picture.width, picture.height) * scale >= CELL; scale *= PYRAMID_STEP) {
      const width = Math.ceil(picture.width * scale), height = Math.ceil(picture.height * scale);
      const values = new Float32Array(width * height * 3);
      byColumns(resize(picture, width, height, "area"), values, 0);
      const { offsets, scores, shape } = await this.networks.p(values, [1, width, height, 3]);
      const found = [];
      for (let place = 0; place < shape[1] * shape[2]; place += 1) {
        const score = scores[place * 2 + 1];
        if (score < THRESHOLDS[0]) continue;
        const x = (Math.floor(place / shape[2]) * STRIDE) / scale, y = ((place % shape[2]) * STRIDE) / scale;
        const offset = offsets.slice(place * 4, place * 4 + 4);
        found.push({ box: [x, y, x + CELL / scale, y + CELL / scale], score, offset });
      }
      all.push(...suppress(found, 0.5));
    }
    return suppress(all, 0.7).slice(0, MOST_PROPOSALS).map((one) => ({ box: squared(shifted(one)) }));
  }

  /** The face of a detection, brought to the frame that the network knows. */
  aligned(photo, { box, landmarks }) {
    // Detectors count from the corner of the first pixel, aligned pictures from its centre.
    const centred = landmarks.map(([x, y]) => [x - 0.5, y - 0.5]);
    const rough = similarity(this.frame.landmarks, centred);
    const { toPhoto, picture } = align(photo, this.frame.eyes.map((eye) => moved(eye, rough)), this.frame);
    const limits = [photo.width, photo.height, photo.width, photo.height];
    return {
      box: box.map((side, place) => Math.min(Math.max(side, 0), limits[place])),
      warning: this.warning(picture, toPhoto, landmarks),
      toPhoto,
      picture,
    };
  }

  /** Why answers for a face may be wrong; empty where nothing speaks against them. */
  warning(picture, toPhoto, landmarks) {
    const { MIN_EYE_DISTANCE, MIN_SHARPNESS, MAX_TURN } = this.settings;
    const reasons = [];
    const distance = Math.hypot(toPhoto[0][0], toPhoto[1][0]) * (this.frame.eyes[1][0] - this.frame.eyes[0][0]);
    if (distance < MIN_EYE_DISTANCE) {
      reasons.push(`too small: its eyes are ${distance.toFixed(0)} pixels apart, ${MIN_EYE_DISTANCE} are needed`);
    } else if (sharpness(picture, this.settings.inner) < MIN_SHARPNESS) {
      reasons.push("blurred");
    }
    const [left, right, nose] = landmarks;
    const across = [right[0] - left[0], right[1] - left[1]];
    const shift = (nose[0] - (left[0] + right[0]) / 2) * across[0] + (nose[1] - (left[1] + right[1]) / 2) * across[1];
    if (Math.abs(shift) > MAX_TURN * (across[0] ** 2 + across[1] ** 2)) reasons.push("turned to the side");
    return reasons.join("; ");
  }
}

/** Variance of the Laplacian of a face at half its size, in variances of the face itself. */
function sharpness(picture, [x1, y1, x2, y2]) {
  const whole = crop(picture, x1, y1, x2 - x1, y2 - y1);
  for (let at = 0; at < whole.data.length; at += 4) {
    const grey = 0.299 * whole.data[at] + 0.587 * whole.data[at + 1] + 0.114 * whole.data[at + 2];
    whole.data.fill(grey, at, at + 3);
  }
  const { width, height, data } = resize(whole, even(whole.width / 2), even(whole.height / 2), "area");
  const mirrored = (place, size) => (place < 0 ? -place : place >= size ? 2 * size - 2 - place : place);
  const grey = (x, y) => data[(mirrored(y, height) * width + mirrored(x, width)) * 4];
  const values = [], edges = [];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      values.push(grey(x, y));
      edges.push(grey(x - 1, y) + grey(x + 1, y) + grey(x, y - 1) + grey(x, y + 1) - 4 * grey(x, y));
    }
  }
  const variance = (list) => {
    const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
    return list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / list.length;
  };
  return variance(edges) / Math.max(variance(values), 1);
}

/** A picture with this many pixels along its longer side. */
function brought(picture, longest) {
  const scale = longest / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, even(side * scale)));
  return resize(picture, width, height, scale < 1 ? "area" : "linear");
}

function scaled(found, picture, photo) {
  const fx = photo.width / picture.width, fy = photo.height / picture.height;
  return found.map(({ box: [x1, y1, x2, y2], score, landmarks }) => ({
    box: [x1 * fx, y1 * fy, x2 * fx, y2 * fy],
    score,
    landmarks: landmarks.map(([x, y]) => [x * fx, y * fy]),
  }));
}

/** Non-maximum suppression: those that no better one overlaps by more than a limit, the best first. */
function suppress(found, limit, ofSmaller = false) {
  const area = ([x1, y1, x2, y2]) => Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
  const kept = [];
  for (const one of [...found].sort((first, second) => second.score - first.score)) {
    const overlaps = kept.some((better) => {
      const a = better.box, b = one.box;
      const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
      const whole = ofSmaller ? Math.min(area(a), area(b)) : area(a) + area(b) - shared;
      return shared > limit * Math.max(whole, 1e-9);
    });
    if (!overlaps) kept.push(one);
  }
  return kept;
}

/** A box whose sides are moved by offsets in shares of its sizes. */
function shifted({ box, offset }) {
  const width = box[2] - box[0], height = box[3] - box[1];
  return box.map((side, place) => side + offset[place] * (place % 2 ? height : width));
}

/** A box grown about its centre to a square. */
function squared([x1, y1, x2, y2]) {
  const x = (x1 + x2) / 2, y = (y1 + y2) / 2, half = Math.max(x2 - x1, y2 - y1) / 2;
  return [x - half, y - half, x + half, y + half];
}

/** What boxes show of a picture, as a tensor's values; black beyond its edges. */
function crops(picture, found, side) {
  const values = new Float32Array(found.length * side * side * 3).fill(-127.5 / 128);
  found.forEach(({ box }, number) => {
    const [x1, y1, x2, y2] = box.map(even);
    if (x2 - x1 < 1 || y2 - y1 < 1 || x1 >= picture.width || y1 >= picture.height || x2 <= 0 || y2 <= 0) return;
    const part = resize(crop(picture, x1, y1, x2 - x1, y2 - y1), side, side, "area");
    byColumns(part, values, number * side * side * 3);
  });
  return values;
}

/** Pixels as the networks take them: R G B in [-1, 1], column by column. */
function byColumns({ width, height, data }, values, start) {
  for (let x = 0, at = start; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const from = (y * width + x) * 4;
      for (let channel = 0; channel < 3; channel += 1, at += 1) values[at] = (data[from + channel] - 127.5) / 128;
    }
  }
}
