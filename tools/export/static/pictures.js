// Arithmetic on pictures, as data_prep/geometry.py and OpenCV do it.
// A picture is { width, height, data }: RGBA bytes, row by row, as ImageData has it. A matrix is [[a, b, x], [c, d, y]].

/** A picture brought to another size: "area" is OpenCV's INTER_AREA, "linear" its INTER_LINEAR, to the last bit. */
export function resize(picture, width, height, kind) {
  if (width === picture.width && height === picture.height) return picture;
  const shrinks = picture.width >= width && picture.height >= height;
  if (kind === "area" && shrinks) return averaged(picture, width, height);
  return interpolated(picture, width, height, kind);
}

/** Each new pixel is the mean of the old ones that it covers. */
function averaged(picture, width, height) {
  const columns = shares(picture.width, width), rows = shares(picture.height, height);
  const across = new Float32Array(picture.height * width * 3);
  for (let y = 0, at = 0; y < picture.height; y += 1) {
    for (const [first, weights] of columns) {
      let r = 0, g = 0, b = 0, from = (y * picture.width + first) * 4;
      for (const weight of weights) {
        r += weight * picture.data[from];
        g += weight * picture.data[from + 1];
        b += weight * picture.data[from + 2];
        from += 4;
      }
      across[at] = r;
      across[at + 1] = g;
      across[at + 2] = b;
      at += 3;
    }
  }
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  const line = new Float32Array(width * 3);
  rows.forEach(([first, weights], y) => {
    line.fill(0);
    weights.forEach((weight, number) => {
      const from = (first + number) * width * 3;
      for (let at = 0; at < line.length; at += 1) line[at] += weight * across[from + at];
    });
    for (let x = 0; x < width; x += 1) {
      for (let channel = 0; channel < 3; channel += 1) data[(y * width + x) * 4 + channel] = line[x * 3 + channel];
    }
  });
  return { width, height, data };
}

/** The share of old rows in each of fewer new ones: lists [first old row, shares]. */
function shares(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, number) => {
    const low = number * step, high = Math.min(low + step, from), first = Math.floor(low + 1e-9), parts = [];
    for (let row = first; row < high - 1e-9; row += 1) {
      parts.push((Math.min(high, row + 1) - Math.max(low, row)) / (high - low));
    }
    return [first, parts];
  });
}

/** Each new pixel lies between two old ones in either direction, in OpenCV's whole numbers. */
function interpolated(picture, width, height, kind) {
  const columns = neighbours(picture.width, width, kind, true), rows = neighbours(picture.height, height, kind, false);
  const across = new Int32Array(picture.height * width * 3);
  for (let y = 0, at = 0; y < picture.height; y += 1) {
    const line = y * picture.width;
    for (const [first, second, low, high] of columns) {
      for (let channel = 0; channel < 3; channel += 1, at += 1) {
        const left = picture.data[(line + first) * 4 + channel], right = picture.data[(line + second) * 4 + channel];
        across[at] = (left * low + right * high) >> 4;
      }
    }
  }
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  rows.forEach(([first, second, low, high], y) => {
    for (let x = 0; x < width; x += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        const above = across[(first * width + x) * 3 + channel], below = across[(second * width + x) * 3 + channel];
        data[(y * width + x) * 4 + channel] = (((low * above) >> 16) + ((high * below) >> 16) + 2) >> 2;
      }
    }
  });
  return { width, height, data };
}

/** The two old rows that each new one lies between, and their weights in 2048ths. whole: at the edges one row alone. */
function neighbours(from, to, kind, whole) {
  const step = from / to;
  return Array.from({ length: to }, (_, number) => {
    let first, beyond;
    if (kind === "linear") {
      first = Math.floor((number + 0.5) * step - 0.5);
      beyond = (number + 0.5) * step - 0.5 - first;
    } else {
      first = Math.floor(number * step);
      beyond = Math.max(0, number + 1 - (first + 1) / step);
      beyond -= Math.floor(beyond);
    }
    if (whole && (first < 0 || first >= from - 1)) beyond = 0;
    const inside = (row) => Math.min(Math.max(row, 0), from - 1);
    return [inside(first), inside(first + 1), even((1 - beyond) * 2048), even(beyond * 2048)];
  });
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
 * The picture whose pixel (x, y) shows what stands at matrix * (x, y) in another, bilinear between pixels, as OpenCV's
 * warpAffine computes it: places in 32nds of a pixel. ground: grey of what lies outside; else the outermost pixels go on.
 */
export function warp(picture, matrix, width, height, ground) {
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  const places = (count, factor, shift) => Array.from({ length: count }, (_, at) => even((factor * at + shift) * 1024));
  const [alongX, alongY] = matrix.map(([factor]) => places(width, factor, 0));
  const [downX, downY] = matrix.map(([, factor, shift]) => places(height, factor, shift));
  const lastX = picture.width - 1, lastY = picture.height - 1;
  const pixel = (x, y, channel) => {
    if (ground !== undefined && (x < 0 || y < 0 || x > lastX || y > lastY)) return ground;
    const column = Math.min(Math.max(x, 0), lastX), row = Math.min(Math.max(y, 0), lastY);
    return picture.data[(row * picture.width + column) * 4 + channel];
  };
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      const px = (alongX[x] + downX[y] + 16) >> 5, py = (alongY[x] + downY[y] + 16) >> 5;
      const left = px >> 5, top = py >> 5, right = px & 31, low = py & 31;
      for (let channel = 0; channel < 3; channel += 1) {
        const above = pixel(left, top, channel) * (32 - right) + pixel(left + 1, top, channel) * right;
        const below = pixel(left, top + 1, channel) * (32 - right) + pixel(left + 1, top + 1, channel) * right;
        data[at + channel] = (above * (32 - low) + below * low + 512) >> 10;
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
