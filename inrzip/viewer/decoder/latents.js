// docs/format.md: latent grids. Whole numbers up to the latents, all below 2^53.

import { clip, Damaged, Stream } from "./stream.js";

export const LEVEL_OF = [6, 6, 5, 5, 4, 4, 3, 2, 1, 0], HYPER = [true, false, true, false, true, false, false, false, false, false];
const MAIN = [9, 8, 7, 6, 5, 3, 1]; // the number of each level's main grid
const COARSER = [9, 8, 7, 6, 4, 2];
const ROOT = [65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194];
const NEIGHBOURS = [
  [0, -1], [-1, 0], [-1, -1], [-1, 1], [0, -2], [-2, 0], [-3, 0], [0, -3],
  [-1, -2], [-2, 1], [-2, -1], [-1, 2], [-2, -2], [-1, -3], [-2, 2], [-3, 1],
];
const WIDTH = 24, TILE = 256, UNTILED = 2 ** 20, LIMIT = 2 ** 23, MOST_WEIGHT = 2 ** 17, EXPONENTIALS = 3072;

export function arrayShapes(k) {
  return [
    [2, 24, 24], [2, 24], [2, 24], [2, 24], [2], ...COARSER.map((m) => [8, m]), [8], [8], [8], [10, 8], [6, 2, 4],
    [6, 2, 4], [32, 7], [32], [k, 32], [k, 7], [k], [k, k, 3, 3], [k],
  ];
}

function root(factor, i) {
  const value = factor * ROOT[((i % 8) + 8) % 8], octaves = Math.floor(i / 8);
  return Math.floor(Math.floor(value * 2 ** octaves) / 65536);
}

export const EXP = Float64Array.from({ length: EXPONENTIALS + 1 }, (_, k) => (k === EXPONENTIALS ? 0 : Math.floor(2 ** 15 * Math.exp(-k / 256) + 0.5)));

class Curve {
  constructor(scale) {
    this.reach = 2 + root(9, scale - 64); this.inverse = root(2 ** 19, 64 - scale);
    this.n = 2 * this.reach + 3;
  }
  start(symbol, fraction) {
    if (symbol === 0) return 0;
    if (symbol === this.n) return 65536;
    const edge = 16 * (2 * (symbol - this.reach) - 3) - fraction;
    const tail = EXP[Math.min(Math.floor((Math.abs(edge) * this.inverse) / 65536), EXPONENTIALS)];
    return symbol + Math.floor(((edge < 0 ? tail : 65536 - tail) * (65536 - this.n)) / 65536);
  }
  read(stream, centre) {
    const middle = (centre + 16) >> 5, fraction = centre - 32 * middle, point = stream.point(16);
    // outwards from the middle, where the symbol mostly is
    let low = this.reach + 1, first = this.start(low, fraction), end;
    if (first <= point) {
      end = this.start(low + 1, fraction);
      while (end <= point) { low++; first = end; end = this.start(low + 1, fraction); }
    } else {
      do { end = first; first = this.start(--low, fraction); } while (first > point);
    }
    stream.narrow(first, end - first, 16);
    let number = middle + low - this.reach - 1;
    if (low === 0) number -= stream.expGolomb(3);
    else if (low === this.n - 1) number += stream.expGolomb(3);
    if (Math.abs(number) > 32767) throw new Damaged();
    return number;
  }
}
const SCALES = Array.from({ length: 128 }, (_, scale) => new Curve(scale));

// ---- networks ----

function split(flat, k) {
  let at = 0;
  return arrayShapes(k).map((shape) => {
    const size = shape.reduce((a, b) => a * b, 1), own = Float64Array.from(flat.subarray(at, at + size));
    at += size;
    return own;
  });
}

// The prior's parameters at a tone, of a plane of k channels. prior: {mean, spread, steps}
function means(prior, tone, k) {
  const t = clip(tone - 256, -80, 96), n = prior.spread.length, flat = new Float64Array(n);
  for (let i = 0; i < n; i++) flat[i] = prior.mean[i] + Math.floor((64 * prior.mean[n + i] * t + prior.mean[2 * n + i] * t * t) / 4096);
  const arrays = split(flat, 3);
  if (k === 3) return arrays;
  const thirds = (values, size) => Float64Array.from({ length: size }, (_, i) => Math.floor((values[i] + values[size + i] + values[2 * size + i]) / 3));
  const [narrow, straight, narrowBias, kernel, kernelBias] = arrays.slice(-5);
  const summed = Float64Array.from({ length: 27 }, (_, i) => { const o = Math.floor(i / 9) * 27 + (i % 9); return kernel[o] + kernel[o + 9] + kernel[o + 18]; });
  return [...arrays.slice(0, -5), thirds(narrow, 32), thirds(straight, 7), thirds(narrowBias, 1), thirds(summed, 9), thirds(kernelBias, 1)];
}

function readArrays(stream, prior, [, tone, step, spread], k) {
  const spreads = split(prior.spread, 3);
  return means(prior, tone, k).map((mean, i) => {
    const s = prior.steps[i], size = Math.max(1, Math.min(root(1, 2 * (s + step - 64)), MOST_WEIGHT));
    return mean.map((value, j) => {
      const wide = spreads[i][j], scale = clip(wide - 2 * s + 2 * (spread - step) + 64, 0, 127);
      return value + size * SCALES[scale].read(stream, 0);
    });
  });
}

// ---- latents ----

class Contexts24 {
  constructor(arrays) {
    const limited = arrays.map((array) => array.map((v) => clip(v, -MOST_WEIGHT, MOST_WEIGHT)));
    const hidden = Float64Array.from(arrays[0]);
    for (let l = 0; l < 2; l++) for (let i = 0; i < WIDTH; i++) hidden[(l * WIDTH + i) * WIDTH + i] += 16384;
    this.hidden = hidden.map((v) => clip(v, -MOST_WEIGHT, MOST_WEIGHT));
    [, this.hiddenBias, this.output, this.linear, this.outputBias] = limited;
    this.coarse = limited.slice(5, 11); this.own = limited.slice(11, 14); this.gridBias = limited[14];
    this.z = new Float64Array(WIDTH); this.a = new Float64Array(WIDTH); this.b = new Float64Array(WIDTH);
  }
  layer(l, from, to) {
    const { hidden, hiddenBias } = this;
    for (let o = 0; o < WIDTH; o++) to[o] = 256 * hiddenBias[l * WIDTH + o] + 8192;
    // most inputs of a latent are 0: column by column
    for (let i = 0; i < WIDTH; i++) {
      const v = from[i];
      if (v === 0) continue;
      for (let o = 0, at = l * WIDTH * WIDTH + i; o < WIDTH; o++, at += WIDTH) to[o] += hidden[at] * v;
    }
    for (let o = 0; o < WIDTH; o++) { const v = Math.floor(to[o] / 16384); to[o] = v < 0 ? 0 : v > LIMIT ? LIMIT : v; }
  }
  // Centre and scale, from the inputs in z.
  predict() {
    const { z, a, b, output, linear } = this;
    this.layer(0, z, a); this.layer(1, a, b);
    let p = 256 * this.outputBias[0] + 8192, q = 256 * this.outputBias[1] + 8192;
    for (let i = 0; i < WIDTH; i++) {
      p += output[i] * b[i] + linear[i] * z[i];
      q += output[WIDTH + i] * b[i] + linear[WIDTH + i] * z[i];
    }
    this.centre = Math.floor((clip(Math.floor(p / 16384), -LIMIT, LIMIT) + 4) / 8);
    this.scale = clip(Math.floor((8 * clip(Math.floor(q / 16384), -LIMIT, LIMIT)) / 256) + 64, 0, 127);
  }
}

export function gridSizes(height, width) {
  return LEVEL_OF.map((level) => [Math.ceil(height / 2 ** level), Math.ceil(width / 2 ** level)]);
}

function readGrids(streams, arrays, height, width, tiled) {
  const model = new Contexts24(arrays), sizes = gridSizes(height, width), grids = [], first = streams[0];
  let next = 1;
  LEVEL_OF.forEach((level, number) => {
    const [rows, columns] = sizes[number], values = new Int16Array(rows * columns), small = !tiled || Math.max(rows, columns) <= TILE;
    grids.push(values);
    const side = small ? Math.max(rows, columns) : TILE, { z } = model;
    // grids of coarser levels: values, columns, by how much finer this one is
    const coarser = [];
    for (let m = 6; m > level; m--)
      for (const hyper of [false, true]) {
        const at = LEVEL_OF.findIndex((l, i) => l === m && HYPER[i] === hyper);
        if (at >= 0) coarser.push([grids[at], sizes[at][1], m - level]);
      }
    const weights = level < 6 ? model.coarse[level] : null, bias = model.gridBias.subarray(8 * number, 8 * number + 8);
    const own = level >= 4 && !HYPER[number] ? model.own[level - 4] : null, features = new Float64Array(8);
    for (let top = 0; top < rows; top += side)
      for (let left = 0; left < columns; left += side) {
        const stream = small ? first : streams[next++], bottom = Math.min(top + side, rows), right = Math.min(left + side, columns);
        for (let y = top; y < bottom; y++)
          for (let x = left; x < right; x++) {
            for (let i = 0; i < 16; i++) {
              const r = y + NEIGHBOURS[i][0], c = x + NEIGHBOURS[i][1];
              z[i] = r >= top && c >= left && c < right ? 256 * values[r * columns + c] : 0;
            }
            for (let f = 0; f < 8; f++) features[f] = bias[f];
            for (let i = 0; i < coarser.length; i++) {
              const [from, stride, shift] = coarser[i], v = from[(y >> shift) * stride + (x >> shift)];
              if (v) for (let f = 0; f < 8; f++) features[f] += weights[f * coarser.length + i] * v;
            }
            if (own) { const v = grids[number - 1][y * columns + x]; for (let f = 0; f < 8; f++) features[f] += own[f] * v; }
            for (let f = 0; f < 8; f++) z[16 + f] = clip(Math.floor((features[f] + 32) / 64), -LIMIT, LIMIT);
            model.predict();
            values[y * columns + x] = SCALES[model.scale].read(stream, model.centre);
          }
      }
  });
  return grids;
}

// ---- from latents to samples ----

function doubled(planes, rows, columns, taps, vertical) {
  const along = vertical ? rows : columns;
  return planes.map((x) => {
    const out = new Float32Array(2 * rows * columns), across = vertical ? columns : rows;
    const [from, to, skip] = vertical ? [columns, columns, 1] : [1, 1, columns];
    const skipOut = vertical ? 1 : 2 * columns;
    for (let j = 0; j < across; j++)
      for (let i = 0; i < along; i++) {
        const at = (d) => x[j * skip + clip(i + d, 0, along - 1) * from];
        const [c, m, p] = [at(0), at(-1), at(1)], place = j * skipOut + 2 * i * to;
        out[place] = taps[0] * c + taps[1] * m + taps[2] * p + taps[3] * at(-2);
        out[place + to] = taps[0] * c + taps[1] * p + taps[2] * m + taps[3] * at(2);
      }
    return out;
  });
}

function filtered(x, rows, columns, taps, vertical) {
  const out = new Float32Array(rows * columns), n = vertical ? rows : columns, stride = vertical ? columns : 1, [a, b, c, d] = taps;
  for (let y = 0; y < rows; y++)
    for (let z = 0; z < columns; z++) {
      const place = y * columns + z, i = vertical ? y : z;
      let sum = a * x[place];
      if (i >= 3 && i + 3 < n) sum += b * (x[place - stride] + x[place + stride]) + c * (x[place - 2 * stride] + x[place + 2 * stride]) + d * (x[place - 3 * stride] + x[place + 3 * stride]);
      else {
        const at = (by) => x[place + (clip(i + by, 0, n - 1) - i) * stride];
        sum += b * (at(-1) + at(1)) + c * (at(-2) + at(2)) + d * (at(-3) + at(3));
      }
      out[place] = sum;
    }
  return out;
}

// Of each channel of a plane, an array of rows x columns.
function synthesise(arrays, grids, tone, height, width, k) {
  const floats = arrays.map((array) => array.map((v) => v / 16384)), scale = 10 ** ((tone - 256) / 128) / 8, sizes = gridSizes(height, width);
  const [taps, filters, wide, wideBias, narrow, straight, narrowBias, kernel, kernelBias] = floats.slice(15);
  const main = (level) => Float32Array.from(grids[MAIN[level]], (v) => v * scale);
  let stack = [main(6)], [h, w] = sizes[MAIN[6]];
  for (let level = 5; level >= 0; level--) {
    const [rows, columns] = sizes[MAIN[level]], of = (values, axis) => values.subarray((level * 2 + axis) * 4, (level * 2 + axis) * 4 + 4);
    stack = doubled(doubled(stack, h, w, of(taps, 0), true), 2 * h, w, of(taps, 1), false);
    const stride = 2 * w;
    stack = stack.map((plane) => {
      const cut = new Float32Array(rows * columns);
      for (let y = 0; y < rows; y++) cut.set(plane.subarray(y * stride, y * stride + columns), y * columns);
      return cut;
    });
    stack.unshift(filtered(filtered(main(level), rows, columns, of(filters, 0), true), rows, columns, of(filters, 1), false));
    [h, w] = [rows, columns];
  }
  // The trunk, with a sample repeated on all sides. Repeated samples have repeated values.
  const n = height * width, trunk = Array.from({ length: k }, () => new Float32Array(n)), p = new Float64Array(7), out = new Float64Array(k);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < 7; j++) p[j] = stack[j][i];
    for (let c = 0; c < k; c++) {
      let sum = narrowBias[c];
      for (let j = 0; j < 7; j++) sum += straight[c * 7 + j] * p[j];
      out[c] = sum;
    }
    for (let o = 0; o < 32; o++) {
      let sum = wideBias[o];
      for (let j = 0; j < 7; j++) sum += wide[o * 7 + j] * p[j];
      if (sum > 0) for (let c = 0; c < k; c++) out[c] += narrow[c * 32 + o] * sum;
    }
    for (let c = 0; c < k; c++) trunk[c][i] = out[c];
  }
  return trunk.map((own, o) => {
    const values = new Float32Array(n);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const inner = y > 0 && x > 0 && y < height - 1 && x < width - 1, place = y * width + x;
        let sum = own[place] + kernelBias[o];
        for (let c = 0; c < k; c++) {
          const u = trunk[c];
          for (let i = -1; i <= 1; i++)
            for (let j = -1; j <= 1; j++) {
              const at = inner ? place + i * width + j : clip(y + i, 0, height - 1) * width + clip(x + j, 0, width - 1);
              sum += kernel[((o * k + c) * 3 + i + 1) * 3 + j + 1] * u[at];
            }
        }
        values[place] = sum;
      }
    return values;
  });
}

// ---- a picture ----

// Of the payload after its configuration: {latents: grids of each plane, channels: values of each channel}.
export function decodeGrids(prior, config, data, height, width, channels, version, readVarint) {
  const planes = channels >= 3 ? [3, ...new Array(channels - 3).fill(1)] : new Array(channels).fill(1);
  const tiled = height * width > UNTILED && version >= 3;
  let at = 0, streams = null;
  if (tiled) {
    const varint = () => { const [value, next] = readVarint(data, at); at = next; return value; };
    if (version >= 4) { const length = varint(); at += length; } // the preview
    const count = 1 + gridSizes(height, width).reduce((sum, [rows, columns]) => sum + (Math.max(rows, columns) > TILE ? Math.ceil(rows / TILE) * Math.ceil(columns / TILE) : 0), 0);
    const lengths = Array.from({ length: count * planes.length }, varint);
    streams = lengths.map((length) => {
      if (at + length > data.length) throw new Damaged();
      const own = new Stream(data.subarray(at, at + length));
      at += length;
      return own;
    });
  } else streams = [new Stream(data)];
  const each = streams.length / (tiled ? planes.length : 1), latents = [], values = [];
  planes.forEach((k, i) => {
    const own = tiled ? streams.slice(each * i, each * (i + 1)) : streams;
    const arrays = readArrays(own[0], prior, config, k), grids = readGrids(own, arrays, height, width, tiled);
    latents.push(grids);
    values.push(...synthesise(arrays, grids, config[1], height, width, k));
  });
  if (!tiled) streams[0].finish();
  return { latents, channels: values };
}
