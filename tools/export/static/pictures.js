// Arithmetic on pictures, as data_prep/geometry.py and OpenCV do it.
// A picture is { width, height, data }: RGBA bytes, row by row, as ImageData has it. A matrix is [[a, b, x], [c, d, y]].

/** What each of `to` new rows takes of `from` old ones: lists [first old row, weights]. */
function weights(from, to, method) {
  const step = from / to;
  return Array.from({ length: to }, (_, number) => {
    if (method === "average") {
      const low = number * step, high = Math.min(low + step, from), first = Math.floor(low + 1e-9);
      const shares = [];
      for (let cell = first; cell < high - 1e-9; cell += 1) {
        shares.push((Math.min(high, cell + 1) - Math.max(low, cell)) / (high - low));
      }
      return [first, shares];
    }
    let place = (number + 0.5) * step - 0.5;
    if (method === "from the beginning") {
      const first = Math.floor(number * step);
      const beyond = Math.max(0, number + 1 - (first + 1) / step);
      place = first + beyond - Math.floor(beyond);
    }
    place = Math.min(Math.max(place, 0), from - 1);
    const first = Math.min(Math.floor(place), Math.max(from - 2, 0));
    return from === 1 ? [0, [1]] : [first, [1 - (place - first), place - first]];
  });
}

/** A picture brought to another size: "area" is OpenCV's INTER_AREA, "linear" its INTER_LINEAR. */
export function resize(picture, width, height, kind) {
  if (width === picture.width && height === picture.height) return picture;
  const shrinks = picture.width >= width && picture.height >= height;
  const method = kind === "linear" ? "linear" : shrinks ? "average" : "from the beginning";
  const columns = weights(picture.width, width, method), rows = weights(picture.height, height, method);
  const across = new Float32Array(picture.height * width * 3);
  for (let y = 0, at = 0; y < picture.height; y += 1) {
    for (const [first, shares] of columns) {
      let r = 0, g = 0, b = 0, from = (y * picture.width + first) * 4;
      for (const share of shares) {
        r += share * picture.data[from];
        g += share * picture.data[from + 1];
        b += share * picture.data[from + 2];
        from += 4;
      }
      across[at] = r; across[at + 1] = g; across[at + 2] = b;
      at += 3;
    }
  }
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  const line = new Float32Array(width * 3);
  rows.forEach(([first, shares], y) => {
    line.fill(0);
    shares.forEach((share, number) => {
      const from = (first + number) * width * 3;
      for (let at = 0; at < line.length; at += 1) line[at] += share * across[from + at];
    });
    for (let x = 0; x < width; x += 1) {
      for (let channel = 0; channel < 3; channel += 1) data[(y * width + x) * 4 + channel] = line[x * 3 + channel];
    }
  });
  return { width, height, data };
}

/** A part of a picture; what lies outside it is black. */
export function crop(picture, x, y, width, height) {
  const data = new Uint8ClampedArray(width * height * 4);
  const left = Math.max(x, 0), right = Math.min(x + width, picture.width);
  for (let row = Math.max(y, 0); row < Math.min(y + height, picture.height) && left < right; row += 1) {
    const from = (row * picture.width + left) * 4;
    data.set(picture.data.subarray(from, from + (right - left) * 4), ((row - y) * width + left - x) * 4);
  }
  return { width, height, data };
}

/**
 * The picture whose pixel (x, y) shows what stands at matrix * (x, y) in another, bilinear between pixels.
 * ground: grey of what lies outside; without it the outermost pixels go on.
 */
export function warp(picture, matrix, width, height, ground) {
  const [[a, b, tx], [c, d, ty]] = matrix;
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  const lastX = picture.width - 1, lastY = picture.height - 1;
  const pixel = (x, y, channel) => {
    if (ground !== undefined && (x < 0 || y < 0 || x > lastX || y > lastY)) return ground;
    const column = Math.min(Math.max(x, 0), lastX), row = Math.min(Math.max(y, 0), lastY);
    return picture.data[(row * picture.width + column) * 4 + channel];
  };
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      const px = a * x + b * y + tx, py = c * x + d * y + ty;
      const left = Math.floor(px), top = Math.floor(py), right = px - left, low = py - top;
      for (let channel = 0; channel < 3; channel += 1) {
        const above = pixel(left, top, channel) * (1 - right) + pixel(left + 1, top, channel) * right;
        const below = pixel(left, top + 1, channel) * (1 - right) + pixel(left + 1, top + 1, channel) * right;
        data[at + channel] = above * (1 - low) + below * low;
      }
    }
  }
  return { width, height, data };
}

export function moved([x, y], [[a, b, tx], [c, d, ty]]) {
  return [a * x + b * y + tx, c * x + d * y + ty];
}

/** Rotation, scale and shift that take points closest to others, by least squares. */
export function similarity(source, target) {
  const mean = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const [mx, my] = mean(source), [nx, ny] = mean(target);
  let real = 0, imaginary = 0, size = 0;
  source.forEach(([x, y], place) => {
    const ax = x - mx, ay = y - my, bx = target[place][0] - nx, by = target[place][1] - ny;
    real += ax * bx + ay * by;
    imaginary += ax * by - ay * bx;
    size += ax * ax + ay * ay;
  });
  real /= Math.max(size, 1e-12);
  imaginary /= Math.max(size, 1e-12);
  return [[real, -imaginary, nx - real * mx + imaginary * my], [imaginary, real, ny - imaginary * mx - real * my]];
}

export function corners([x1, y1, x2, y2]) {
  return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
}

/** The upright box round points. */
export function bounds(points) {
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** The aligned picture of a face whose eyes stand at two points of a photo, and the matrix from it to the photo. */
export function align(photo, eyes, frame) {
  const toPhoto = similarity(frame.eyes, eyes);
  const scale = Math.hypot(toPhoto[0][0], toPhoto[1][0]);
  const limits = [photo.width, photo.height, photo.width, photo.height];
  const box = bounds(corners([0, 0, frame.width, frame.height]).map((point) => moved(point, toPhoto)));
  const [left, top, right, bottom] = box.map((side, place) => place < 2
    ? Math.min(Math.max(Math.floor(side) - 2, 0), limits[place] - 1)
    : Math.min(Math.max(Math.ceil(side) + 2, 1), limits[place]));
  let part = crop(photo, left, top, right - left, bottom - top);
  const shrink = Math.min(1, 1.5 / scale);
  if (shrink < 1) {
    part = resize(part, Math.max(1, even(part.width * shrink)), Math.max(1, even(part.height * shrink)), "area");
  }
  const matrix = [[part.width / (right - left), left], [part.height / (bottom - top), top]].map(([factor, low], row) => {
    const [p, q, shift] = toPhoto[row];
    return [p * factor, q * factor, (shift - low + 0.5) * factor - 0.5];
  });
  return { toPhoto, picture: warp(part, matrix, frame.width, frame.height) };
}

/** Rounding as Python and OpenCV do it: halves to even. */
export function even(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}
