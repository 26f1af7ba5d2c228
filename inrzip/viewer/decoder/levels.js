// docs/format.md: views, and what weights integers stand for.

import { between, bitLength, Damaged, Moving, product, SmallNumber, startsOf } from "./stream.js";

const TRELLIS = [0, 2, 7, 5, 1, 3, 6, 4, 2, 0, 5, 7, 3, 1, 4, 6];
const MANTISSAS = [
  1, 1.0905077326652577, 1.189207115002721, 1.2968395546510096, 1.4142135623730951, 1.5422108254079407, 1.681792830507429, 1.8340080864093424,
];

function fourAxes(shape) {
  const padded = [1, 1, 1, 1, ...shape];
  return [product(padded.slice(0, -3)), ...padded.slice(-3)];
}

export function viewShape(shape, split) {
  const [h, w, c, o] = fourAxes(shape);
  if (split !== 1 && !(split >= 2 && split <= 8 && o > 0 && o % split ** 2 === 0)) throw new Damaged();
  return [h * split, w * split, c, o / split ** 2];
}

// Elements of a view, in the row order of the tensor.
export function fromView(viewed, shape, split) {
  const [h, w, c, o] = fourAxes(shape), sizes = viewShape(shape, split), out = new Array(viewed.length);
  let at = 0;
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) for (let i = 0; i < c; i++) for (let channel = 0; channel < o; channel++) {
    const part = Math.floor(channel / sizes[3]), k = channel % sizes[3], u = Math.floor(part / split), v = part % split;
    const row = y * split + split - 1 - u, column = x * split + split - 1 - v;
    out[at++] = viewed[((row * sizes[1] + column) * sizes[2] + i) * sizes[3] + k];
  }
  return out;
}

export class Trellis {
  state = 0;
  value(integer) {
    const value = 2 * integer - Math.sign(integer) * (this.state % 2);
    this.state = TRELLIS[2 * this.state + (((integer % 2) + 2) % 2)];
    return value;
  }
}

export const stepSize = (step) => MANTISSAS[step % 8] * 2 ** (Math.floor(step / 8) - 32);

function half(pattern) {
  between(pattern, 0, 65535);
  const exponent = (pattern >> 10) & 31, fraction = pattern & 1023, sign = pattern >> 15 ? -1 : 1;
  if (exponent === 31) throw new Damaged();
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

// For each element of a shape, its place along an axis.
function places(shape, axis) {
  const inner = product(shape.slice(axis + 1)), n = shape[axis];
  return Array.from({ length: product(shape) }, (_, i) => Math.floor(i / inner) % n);
}

export class Levels {
  constructor(stream) {
    this.stream = stream;
    this.kind = new Moving(32, 0, 0, 5);
    this.steps = new SmallNumber(2048); this.last = 192; this.ofRank = new Map();
    this.offsets = new SmallNumber(512);
    this.split = new Moving(256, 1);
    this.size = new Moving(256, 8, 1, 256); this.firsts = new SmallNumber(4096); this.gaps = new SmallNumber(1024);
  }
  // The shape that the code sees, and what turns its integers into weights.
  read(shape) {
    return [this.uniform, this.channels, this.trellis, this.codebook, this.minmax, this.halves][this.kind.read(this.stream)].call(this, shape);
  }
  step(shape) {
    this.last = between((this.ofRank.get(shape.length) ?? this.last) + this.steps.read(this.stream), 0, 511);
    this.ofRank.set(shape.length, this.last);
    return this.last;
  }
  axis(shape) {
    const rank = shape.length;
    return between(rank ? rank - 1 - this.stream.number(bitLength(rank - 1)) : -1, 0, rank - 1);
  }
  uniform(shape) {
    const step = stepSize(this.step(shape));
    return [shape, (integers) => integers.map((k) => k * step)];
  }
  channels(shape) {
    const step = this.step(shape), numbers = new Array(product(shape)).fill(step);
    let least = step, greatest = step;
    shape.forEach((n, axis) => {
      if (!this.stream.number(1)) return;
      const grain = this.stream.number(2), offsets = Array.from({ length: n }, () => this.offsets.read(this.stream) * 2 ** grain);
      if (n) { least += Math.min(...offsets); greatest += Math.max(...offsets); }
      places(shape, axis).forEach((place, i) => { numbers[i] += offsets[place]; });
    });
    between(least, 0, 511); between(greatest, 0, 511);
    return [shape, (integers) => integers.map((k, i) => k * stepSize(numbers[i]))];
  }
  trellis(shape) {
    const step = stepSize(this.step(shape)), split = this.split.read(this.stream);
    return [viewShape(shape, split), (integers) => {
      const trellis = new Trellis();
      return fromView(integers.map((k) => trellis.value(k)), shape, split).map((k) => k * step);
    }];
  }
  codebook(shape) {
    const step = stepSize(this.step(shape)), n = Math.max(1, product(shape));
    const books = Array.from({ length: between(this.stream.expGolomb(0) + 1, 1, Math.min(16, n)) }, () => this.book(n));
    let groups = new Array(product(shape)).fill(0);
    if (books.length > 1) {
      const axis = this.axis(shape), counts = books.map(() => books.map(() => 1)), found = [];
      let group = 0;
      for (let i = 0; i < shape[axis]; i++) {
        const row = counts[group];
        group = this.stream.symbol(startsOf(row), 16);
        row[group] += 4; found.push(group);
      }
      groups = places(shape, axis).map((place) => found[place]);
    }
    const homes = books.map((words) => words.reduce((best, word, i) => (Math.abs(word) < Math.abs(words[best]) ? i : best), 0));
    return [shape, (integers) => integers.map((k, i) => {
      const words = books[groups[i]];
      return words[between(homes[groups[i]] + k, 0, words.length - 1)] * step;
    })];
  }
  book(n) {
    const size = between(this.size.read(this.stream), 1, n), words = [this.firsts.read(this.stream)];
    let gap = 0;
    for (let i = 1; i < size; i++) { gap += this.gaps.read(this.stream); words.push(words[i - 1] + between(gap, 1, Infinity)); }
    between(words[0], -(2 ** 30), 2 ** 30); between(words.at(-1), -(2 ** 30), 2 ** 30);
    return words;
  }
  minmax(shape) {
    const axis = this.stream.number(1) ? null : this.axis(shape), pruned = this.stream.number(1);
    const count = axis === null ? 1 : shape[axis], pairs = Array.from({ length: 2 * count }, () => half(this.stream.number(16)));
    const place = axis === null ? new Array(product(shape)).fill(0) : places(shape, axis);
    return [shape, (integers) => integers.map((k, i) =>
      pruned && k === 0 ? 0 : pairs[place[i]] + (k - (pruned ? 1 : 0)) * pairs[count + place[i]])];
  }
  halves(shape) { return [shape, (integers) => integers.map(half)]; }
}
