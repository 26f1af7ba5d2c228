// docs/format.md: networks of positions, evaluated in blocks of points; values are stored unit by unit.

import { Damaged, product } from "./stream.js";

const OMEGA = 30, GAUSS = 10, MOST_AXES = 8;
export const BACKBONES = { 1: "siren", 5: "relu", 6: "finer", 7: "gauss", 8: "wire", 9: "bacon", 10: "poly" };

// ---- counted random numbers ----

function mixed(x) {
  x ^= x >>> 16; x = Math.imul(x, 0x7feb352d); x ^= x >>> 15; x = Math.imul(x, 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
function word(seed, number) {
  const key = mixed((seed + 0x9e3779b9) >>> 0);
  return mixed((mixed((number ^ key) >>> 0) + key) >>> 0);
}
function bell(seed, number) {
  const w = word(seed, number);
  return (w & 255) + ((w >>> 8) & 255) + ((w >>> 16) & 255) + (w >>> 24) - 510;
}

// ---- shapes ----

const layers = (...sizes) => sizes.slice(1).flatMap((n, i) => [[n, sizes[i]], [n]]);

export function backboneShapes(number, width, depth, axes, channels) {
  if (width < 1 || depth < 1 || width > 4096 || depth > 64) throw new Damaged();
  const repeated = (n) => new Array(n).fill(width);
  switch (number) {
    case 5: return layers(2 * Math.ceil(width / 2), ...repeated(depth), channels);
    case 8: return [[width, axes], [width], ...repeated(depth - 1).flatMap(() => [[2, width, width], [2, width]]), [2, channels, width], [channels]];
    case 9: return [[depth + 1, width], ...layers(...repeated(depth + 1), channels)];
    case 10: return [...repeated(depth).flatMap(() => [[width, axes], [width], [width, width], [width]]), [channels, width], [channels]];
    default: return layers(axes, ...repeated(depth), channels);
  }
}

// ---- values ----

// out[o] = sum of weight[o, i] x[i] + bias[o], for n points.
function dense(weight, bias, x, n, outputs, offset = 0) {
  const inputs = x.length, out = Array.from({ length: outputs }, (_, o) => new Float64Array(n).fill(bias ? bias[o] : 0)), fours = inputs - (inputs % 4);
  let first = 0;
  // two outputs and four inputs at a time: what is read is used twice
  for (; first + 1 < outputs && fours; first += 2) {
    const u = out[first], v = out[first + 1], at = offset + first * inputs;
    for (let i = 0; i < fours; i += 4) {
      const a = weight[at + i], b = weight[at + i + 1], c = weight[at + i + 2], d = weight[at + i + 3];
      const e = weight[at + inputs + i], f = weight[at + inputs + i + 1], g = weight[at + inputs + i + 2], h = weight[at + inputs + i + 3];
      const p = x[i], q = x[i + 1], r = x[i + 2], s = x[i + 3];
      for (let k = 0; k < n; k++) {
        const pk = p[k], qk = q[k], rk = r[k], sk = s[k];
        u[k] += a * pk + b * qk + c * rk + d * sk;
        v[k] += e * pk + f * qk + g * rk + h * sk;
      }
    }
  }
  for (let o = 0; o < outputs; o++) {
    const row = out[o], at = offset + o * inputs;
    let i = o < first ? fours : 0;
    for (; i + 3 < inputs; i += 4) {
      const a = weight[at + i], b = weight[at + i + 1], c = weight[at + i + 2], d = weight[at + i + 3], [p, q, r, s] = [x[i], x[i + 1], x[i + 2], x[i + 3]];
      for (let k = 0; k < n; k++) row[k] += a * p[k] + b * q[k] + c * r[k] + d * s[k];
    }
    for (; i < inputs; i++) {
      const a = weight[at + i], p = x[i];
      for (let k = 0; k < n; k++) row[k] += a * p[k];
    }
  }
  return out;
}

const each = (rows, act) => { for (const row of rows) for (let k = 0; k < row.length; k++) row[k] = act(row[k]); return rows; };
const plusHalf = (rows) => each(rows, (v) => v + 0.5);
const ACTIVATIONS = {
  1: (z) => Math.sin(OMEGA * z), 5: (z) => (z > 0 ? z : 0), 6: (z) => Math.sin(OMEGA * (Math.abs(z) + 1) * z), 7: (z) => Math.exp(-((GAUSS * z) ** 2)),
};
const leaky = (z) => Math.max(z, 0.2 * z);

// A function from positions (an array for each axis, in samples) to values (an array for each channel).
export function backbone(number, width, depth, scales, tensors, shape, channels) {
  if (scales.length !== shape.length || shape.length > MOST_AXES) throw new Damaged();
  const weights = tensors.map((tensor) => tensor.weights);
  const coordinates = (positions, factors) => positions.map((p, d) => Float64Array.from(p, (v) => (((2 * v + 1) / shape[d] - 1) * factors[d]) / 8));
  const [last, lastBias] = weights.slice(-2);
  const finish = (x, n) => plusHalf(dense(last, lastBias, x, n, channels));
  if (number === 8) return (positions) => wire(weights, coordinates(positions, scales), width, depth, channels);
  if (number === 9) {
    const bands = shape.map((n, d) => Math.min(Math.ceil((n * scales[d]) / (16 * (depth + 1))), 1000)), axes = shape.length;
    const turns = (l, j, d) => Math.floor((word(2, (l * width + j) * axes + d) * (2 * bands[d] + 1)) / 2 ** 32) - bands[d];
    const frequencies = Array.from({ length: depth + 1 }, (_, l) => Float64Array.from({ length: width * axes }, (_, i) => Math.PI * turns(l, Math.floor(i / axes), i % axes)));
    return (positions) => {
      const y = coordinates(positions, shape.map(() => 8)), n = y[0].length;
      const wave = (l) => each(dense(frequencies[l], weights[0].subarray(l * width, (l + 1) * width), y, n, width), Math.sin);
      let h = wave(0);
      for (let l = 1; l <= depth; l++) {
        const own = wave(l);
        h = dense(weights[2 * l - 1], weights[2 * l], h, n, width);
        h.forEach((row, j) => { for (let k = 0; k < n; k++) row[k] *= own[j][k]; });
      }
      return finish(h, n);
    };
  }
  if (number === 10)
    return (positions) => {
      const x = coordinates(positions, scales), n = x[0].length;
      let h = null;
      for (let l = 0; l < depth; l++) {
        const [a, b, w, c] = weights.slice(4 * l, 4 * l + 4), level = each(dense(a, b, x, n, width), leaky);
        if (h) level.forEach((row, j) => { for (let k = 0; k < n; k++) row[k] *= h[j][k]; });
        h = each(dense(w, c, level, n, width), (z) => Math.min(Math.max(leaky(z), -256), 256));
      }
      return finish(h, n);
    };
  const m = Math.ceil(width / 2), axes = shape.length;
  const directions = number === 5 ? Float64Array.from({ length: m * axes }, (_, i) => (bell(1, i) * 10) / Math.sqrt(21845)) : null;
  const act = ACTIVATIONS[number];
  return (positions) => {
    let x = coordinates(positions, scales);
    const n = x[0].length;
    if (directions) {
      const angles = dense(directions, null, x, n, m);
      x = [...angles.map((row) => row.map(Math.sin)), ...angles.map((row) => row.map(Math.cos))];
    }
    for (let l = 0; l < depth; l++) x = each(dense(weights[2 * l], weights[2 * l + 1], x, n, width), act);
    return finish(x, n);
  };
}

function wire(weights, x, width, depth, channels) {
  const n = x[0].length;
  // z becomes exp(10 i z - |10 z|^2), in place
  const wavelet = (re, im) => {
    for (let j = 0; j < re.length; j++)
      for (let k = 0; k < n; k++) {
        const a = re[j][k], b = im[j][k], size = Math.exp(-10 * b - 100 * (a * a + b * b));
        re[j][k] = size * Math.cos(10 * a); im[j][k] = size * Math.sin(10 * a);
      }
    return [re, im];
  };
  let [re, im] = wavelet(dense(weights[0], weights[1], x, n, width), Array.from({ length: width }, () => new Float64Array(n)));
  for (let l = 1; l < depth; l++) {
    const [w, b] = weights.slice(2 * l, 2 * l + 2), half = width * width;
    const [rr, ii] = [dense(w, b.subarray(0, width), re, n, width), dense(w, null, im, n, width, half)];
    const [ri, ir] = [dense(w, b.subarray(width), im, n, width), dense(w, null, re, n, width, half)];
    rr.forEach((row, j) => { for (let k = 0; k < n; k++) { row[k] -= ii[j][k]; ri[j][k] += ir[j][k]; } });
    [re, im] = wavelet(rr, ri);
  }
  const [w, b] = weights.slice(2 * depth, 2 * depth + 2);
  const out = dense(w, b, re, n, channels), other = dense(w, null, im, n, channels, channels * width);
  out.forEach((row, j) => { for (let k = 0; k < n; k++) row[k] += 0.5 - other[j][k]; });
  return out;
}

// ---- F-INR ----

function finrCounts(mode, rank, axes, channels) {
  if (mode !== 2) return new Array(axes).fill(rank);
  const ends = [1, ...new Array(axes - 1).fill(rank), channels];
  return ends.slice(1).map((n, i) => n * ends[i]);
}

export function finrShapes([mode, rank], [number, width, depth, , ...scales], shape, channels) {
  if (!BACKBONES[number] || mode < 1 || mode > 3 || rank < 1 || rank > 1024 || scales.length !== shape.length) throw new Damaged();
  const inside = finrCounts(mode, rank, shape.length, channels).map((count) => backboneShapes(number, width, depth, 1, count));
  const head = mode === 1 ? [[channels, rank]] : mode === 2 ? [] : [[channels, ...shape.map(() => rank)]];
  if (head.length && product(head[0]) > 2 ** 24) throw new Damaged();
  return { inside, head };
}

// A function from the positions along each of two axes to values on their product, row by row, channels last.
export function finrPlane([mode, rank], [number, width, depth, , ...scales], tensors, shape, channels) {
  const { inside } = finrShapes([mode, rank], [number, width, depth, 0, ...scales], shape, channels), counts = finrCounts(mode, rank, 2, channels);
  let at = 0;
  const networks = inside.map((shapes, axis) => backbone(number, width, depth, [scales[axis]], tensors.slice(at, (at += shapes.length)), [shape[axis]], counts[axis]));
  const head = tensors.at(-1).weights;
  return (rows, columns) => {
    const [f, g] = [rows, columns].map((positions, axis) => networks[axis]([positions]).map((row) => row.map((v) => 8 * (v - 0.5))));
    const out = new Float32Array(rows.length * columns.length * channels), left = [];
    for (let y = 0, place = 0; y < rows.length; y++) {
      // what a row multiplies each factor of a column with, for each channel
      for (let c = 0; c < channels; c++) {
        const own = (left[c] ??= new Float64Array(rank));
        for (let r = 0; r < rank; r++) {
          if (mode === 1) own[r] = head[c * rank + r] * f[r][y];
          else if (mode === 2) own[r] = f[r][y];
          else {
            own[r] = 0;
            for (let q = 0; q < rank; q++) own[r] += head[(c * rank + q) * rank + r] * f[q][y];
          }
        }
      }
      for (let x = 0; x < columns.length; x++)
        for (let c = 0; c < channels; c++) {
          let sum = 0.5;
          for (let r = 0; r < rank; r++) sum += left[c][r] * (mode === 2 ? g[r * channels + c][x] : g[r][x]);
          out[place++] = sum;
        }
    }
    return out;
  };
}
