// docs/format.md: codes 8 and 9, and the stream of all tensors of a network.

import { fromView, Levels, Trellis, viewShape } from "./levels.js";
import { between, clip, fixed, GREATEST_INTEGER, LEAST_INTEGER, Moving, ONE, powersOf, product, SmallNumber, Stream } from "./stream.js";
import { AdaptiveTables, AxisTables, Contexts, HuffmanWords, MixtureTables, Raw, readLong, ShapedTables, Sparse } from "./tables.js";

const CODE_ORDER = [0, 8, 9, 1, 5, 6, 7, 2, 3, 4];
const CURVE_ROOTS = [4416165660797809419n, 4469799356029710114n, 4610252700927136595n];
const LOGIT_ROOT = 4575797593107614194n, OCTAVE_ROOT = 4599216278082138665n;
const INFORMATION = [23n, 16n, 32n], VARIANCES = [0n, 1n, 3n, 9n], LOCALITIES = [0, 2, 4, 8];
const MODEL_BEFORE = [1, 8, 0, 1, 0, 0], MODEL_LEAST = [1, -16, 0, 0, 0, 0], MODEL_GREATEST = [8, 124, 2, 3, 3, 1];
const ALL = 1n << 47n;

// Rounded down; b is positive.
const floorDivided = (a, b) => (a >= 0n ? a / b : -((-a + b - 1n) / b));

const CURVES = [];
// Chances and moments.
function curveOf(number) {
  if (CURVES[number]) return CURVES[number];
  const root = CURVE_ROOTS[number];
  let density = powersOf(root, 1025);
  if (number === 0) density = density.map((z) => (z << 124n) / (ONE + z) ** 2n);
  if (number === 2) {
    const square = fixed(root, root);
    let factor = root;
    density = [ONE];
    for (let i = 0; i < 1024; i++) { density.push(fixed(density[i], factor)); factor = fixed(factor, square); }
  }
  const tails = new Array(1025).fill(0n);
  for (let i = 1023; i >= 0; i--) tails[i] = tails[i + 1] + density[i] + density[i + 1];
  return (CURVES[number] = [
    tails.map((tail) => (tail << 46n) / tails[0]),
    density.map((d, i) => ((BigInt(2 * i) * d) << 46n) / tails[0]),
  ]);
}

let logits = null;
// squash(z) at z + 1535, stretch, octave.
function logitTables() {
  if (logits) return logits;
  const upper = powersOf(LOGIT_ROOT, 1536).map((e) => Number((1n << 78n) / (ONE + e))).map((p) => Math.min(p, 65532));
  const squash = Array.from({ length: 3071 }, (_, i) => (i >= 1535 ? upper[i - 1535] : 65536 - upper[1535 - i])), stretch = [];
  let z = 0;
  for (let p = 0; p <= 4096; p++) {
    while (squash[z] < clip(p, 1, 4095) * 16) z++;
    stretch.push(BigInt(z - 1535));
  }
  return (logits = { squash, stretch, octave: powersOf(OCTAVE_ROOT, 256).map((power) => power >> 46n) });
}

class Prediction {
  constructor(stream, dependent = false) {
    Object.assign(this, { stream, dependent });
    this.equal = new SmallNumber(32); this.coefficients = new SmallNumber(1024); this.lengths = new SmallNumber(64);
    this.numbers = [64, 1024, 128, 128, 64, 32].map((first) => new SmallNumber(first));
    this.last = MODEL_BEFORE; this.ofRank = new Map();
  }
  constant() { return readLong(this.stream, between(this.lengths.read(this.stream), -35, 35)); }
  read(shape) {
    if (this.equal.read(this.stream)) return new Array(product(shape)).fill(this.constant());
    const before = this.ofRank.get(shape.length) ?? this.last;
    const fields = before.map((old, i) => between(old + this.numbers[i].read(this.stream), MODEL_LEAST[i], MODEL_GREATEST[i]));
    const sizes = viewShape(shape, fields[0]);
    const coefficients = sizes.map((n) => (n > 1 ? between(this.coefficients.read(this.stream), -127, 127) : 0)), constant = this.constant();
    this.last = fields;
    this.ofRank.set(shape.length, fields);
    return fromView(new Predicted(this.stream, sizes, fields, coefficients, constant, this.dependent).read(), shape, fields[0]);
  }
}

class DependentPrediction extends Prediction {
  constructor(stream) { super(stream, true); }
}

// The integers of one tensor. What may exceed 2^53 are BigInts: centre, logarithms, variances, chances.
class Predicted {
  constructor(stream, sizes, fields, coefficients, constant, dependent) {
    const [, scale, curve, variance, locality, paired] = fields;
    Object.assign(this, { stream, sizes, coefficients: coefficients.map(BigInt), constant: BigInt(constant) });
    [this.chances, this.moments] = curveOf(curve);
    this.tables = logitTables();
    this.information = INFORMATION[curve]; this.locality = LOCALITIES[locality];
    this.whole = [BigInt(scale) << 22n, 3n << 19n];
    this.effects = sizes.map((size) => Array.from({ length: size }, () => [0n, size > 1 ? VARIANCES[variance] << 19n : 0n]));
    this.pairs = Array.from({ length: sizes[2] * sizes[3] }, () => [0n, BigInt(paired) << 19n]);
    this.trellis = dependent ? new Trellis() : null;
    this.bits = new Map();
  }

  read() {
    const [h, w, c, o] = this.sizes, n = h * w * c * o, strides = [w * c * o, c * o, o, 1];
    const integers = new Array(n), scores = new Int32Array(n), values = new Array(n), limit = 1n << 37n;
    for (let at = 0; at < n; at++) {
      const place = [Math.floor(at / strides[0]), Math.floor(at / strides[1]) % w, Math.floor(at / strides[2]) % c, at % o];
      let centre = 8n * this.constant, around = 0;
      for (let axis = 0; axis < 4; axis++) {
        if (!place[axis]) continue;
        centre += this.coefficients[axis] * values[at - strides[axis]];
        around += scores[at - strides[axis]];
      }
      this.centre = clip(centre, -limit, limit);
      const local = Math.floor((this.locality * around) / 32);
      const effects = [this.whole, ...place.map((p, axis) => this.effects[axis][p]), this.pairs[place[2] * o + place[3]]];
      const log = effects.reduce((sum, effect) => sum + effect[0], BigInt(5909 * local));
      this.log = clip(log, -5n << 24n, 33n << 24n);
      this.factor = this.tables.octave[Number((this.log >> 16n) & 255n)]; this.shift = 7n + (this.log >> 24n);
      this.quantiser = this.trellis ? 1 + (this.trellis.state % 2) : 0;
      const [integer, score] = this.integer();
      integers[at] = between(Number(integer), LEAST_INTEGER, GREATEST_INTEGER);
      this.learn(effects, BigInt(score));
      scores[at] = clip(score + local, -6144, 6144);
      values[at] = this.trellis ? BigInt(this.trellis.value(integers[at])) : integer;
    }
    return integers;
  }

  learn(effects, score) {
    let sum = 0n;
    for (const effect of effects) sum += effect[1];
    const gain = (1n << 40n) / ((1n << 24n) + ((this.information * sum) >> 4n));
    for (const effect of effects) {
      const v = effect[1];
      if (!v) continue;
      const step = (((v * gain) >> 16n) * score + 2048n) >> 12n;
      effect[0] += (94548n * step + 32768n) >> 16n;
      effect[1] -= (((((v * v) >> 24n) * gain) >> 16n) * this.information) >> 4n;
    }
    effects[0][1] += 168n;
  }

  edge(k) {
    if (this.quantiser === 0) return 2n * k - 1n;
    if (this.quantiser === 1) return 4n * k - 2n;
    return k > 1n ? 4n * k - 4n : k >= 0n ? 2n * k - 1n : 4n * k;
  }
  at(entries, up, magnitude) {
    const m = BigInt(magnitude);
    const distance = up ? 32n * this.edge(this.middle + m) - this.centre : this.centre - 32n * this.edge(this.middle - m + 1n);
    const x = (distance * this.factor) >> this.shift, i = x >> 10n;
    if (i >= 1024n) return 0n;
    const k = Number(i);
    return entries[k] + (((entries[k + 1] - entries[k]) * (x & 1023n)) >> 10n);
  }

  bit(kind, number, a, b) {
    const key = (this.quantiser * 8 + kind) * 64 + number, { stretch, squash } = this.tables;
    let state = this.bits.get(key);
    if (!state) this.bits.set(key, (state = [65536n, 0n]));
    let part = 2048n;
    if (b) { part = (a << 12n) / b; if (part > 4096n) part = 4096n; }
    const logit = stretch[Number(part)], z = (state[0] * logit + state[1]) >> 16n;
    const frequency = squash[Number(clip(z, -1535n, 1535n)) + 1535], bit = this.stream.bit(frequency), error = BigInt(bit * 65536 - frequency);
    state[0] += (error * logit + 32768n) >> 16n;
    state[1] += error >> 5n;
    return bit;
  }

  integer() {
    const { centre, chances, moments } = this, size = centre < 0n ? -centre : centre, odd = size >= 32n ? (size + 128n) >> 7n : 0n;
    this.middle = this.quantiser === 0 ? (centre + 32n) >> 6n : this.quantiser === 1 ? (centre + 64n) >> 7n : centre > 0n ? odd : -odd;
    const above = this.at(chances, true, 1), below = this.at(chances, false, 1);
    if (!this.bit(0, 0, above + below, ALL)) {
      const moment = this.at(moments, true, 1) + this.at(moments, false, 1), rest = ALL - above - below;
      return [this.middle, -Number((moment << 12n) / (rest > 1n ? rest : 1n))];
    }
    const up = !!this.bit(1, 0, above, above + below);
    let low = up ? above : below, high = this.at(chances, up, 2), k = 0;
    while (this.bit(2, k, high, low)) {
      k = between(k + 1, 0, 34);
      low = high; high = this.at(chances, up, 2 ** (k + 1));
    }
    let first = 2 ** k;
    for (let i = k - 1; i >= 0; i--) {
      const half = first + 2 ** i, middle = this.at(chances, up, half), [kind, number] = half < 32 ? [3, half] : i === k - 1 ? [4, k] : [5, 0];
      if (this.bit(kind, number, middle - high, low - high)) { low = middle; first = half; } else high = middle;
    }
    let score = 12288;
    if (low !== high) {
      const found = floorDivided((this.at(moments, up, first) - this.at(moments, up, first + 1)) << 12n, low - high);
      if (found < 12288n) score = Number(found);
    }
    return [up ? this.middle + BigInt(first) : this.middle - BigInt(first), score];
  }
}

const CODES = [AdaptiveTables, Contexts, AxisTables, MixtureTables, ShapedTables, HuffmanWords, Raw, Sparse, Prediction, DependentPrediction];

// The weights of a network, tensor by tensor: {shape, integers, weights (float32)}.
export function readTensors(data, shapes, version) {
  const stream = new Stream(data), levels = new Levels(stream), codes = CODES.map((Code) => new Code(stream)), place = new Moving(32, 0, 0, CODES.length - 1);
  const tensors = shapes.map((shape) => {
    const [viewed, meaning] = version > 1 ? levels.read(shape) : levels.uniform(shape);
    const code = codes[CODE_ORDER[version > 1 ? place.read(stream) : 0]];
    const integers = (product(shape) ? code.read(viewed) : []).map((k) => between(k, LEAST_INTEGER, GREATEST_INTEGER));
    return { shape, integers, weights: Float32Array.from(meaning(integers)) };
  });
  stream.finish();
  return tensors;
}
