// docs/format.md: codes 0 to 7.

import {
  between, bitLength, clip, Damaged, fixed, GREATEST_INTEGER, LEAST_INTEGER, massesOf, Moving, product, SmallNumber, spreadsOf, startsOf, tableLimit,
} from "./stream.js";

const PRIOR_WEIGHTS = [256, 0, 32, 64], MEMORIES = [2097152, 2097152, 2097152, 4096];
const CONTEXT_RATES = [5, 8, 6, 10, 8, 12, 4, 7];
const KNOTS = [4, 8, 16, 24, 36, 52], SIXTY_FOURTH = 4661903986662671289n;

export function readLong(stream, length) {
  const size = Math.abs(length), magnitude = size ? 2 ** (size - 1) + stream.number(size - 1) : 0;
  return length < 0 ? -magnitude : magnitude;
}

function tableAndShift(scale) {
  const i = scale - 1;
  return i < 32 ? [i, 0] : [28 + (i % 4), Math.floor((i - 32) / 4) + 1];
}

function readEscapes(stream, symbols, limit) {
  const order = Math.max(0, bitLength(limit) - 2);
  return symbols.map((j) => (j <= 2 * limit ? j - limit : stream.magnitudeBeyond(limit, order)));
}

function withLowBits(stream, bins, shift, centre) {
  let low = bins.map(() => 0);
  for (let left = shift; left > 0; ) {
    const group = Math.min(left, 16);
    left -= group;
    low = low.map((bits) => bits * 2 ** group + stream.number(group));
  }
  const offset = Math.floor(2 ** shift / 2);
  return bins.map((bin, i) => between(centre + bin * 2 ** shift + low[i] - offset, LEAST_INTEGER, GREATEST_INTEGER));
}

function readStatic(stream, n, masses, shift = 0, centre = 0) {
  const starts = startsOf(masses), symbols = Array.from({ length: n }, () => stream.symbol(starts, 16));
  return withLowBits(stream, readEscapes(stream, symbols, masses.length / 2 - 1), shift, centre);
}

// Codes 0 to 4 begin with a model.
export class AdaptiveTables {
  constructor(stream) {
    this.stream = stream;
    this.scales = new SmallNumber(1024); this.shapes = new SmallNumber(256); this.centres = new SmallNumber(64);
    this.last = [26, 0]; this.ofRank = new Map();
  }
  read(shape) {
    let [scale, form] = this.ofRank.get(shape.length) ?? this.last;
    scale = between(scale + this.scales.read(this.stream), 0, 140);
    if (scale) form = between(form + this.shapes.read(this.stream), 0, 11);
    const centre = readLong(this.stream, between(this.centres.read(this.stream), -32, 32));
    this.last = [scale, form];
    this.ofRank.set(shape.length, this.last);
    return scale ? this.values(shape, scale, form, centre) : new Array(product(shape)).fill(centre);
  }
  values(shape, scale, form, centre) {
    const { stream } = this, n = product(shape), [table, shift] = tableAndShift(scale);
    const masses = massesOf(Math.floor(form / 4), table), limit = tableLimit(table);
    const weight = PRIOR_WEIGHTS[form % 4], memory = MEMORIES[form % 4], values = [];
    let counts = masses.map(() => 0), block = 32;
    while (values.length < n) {
      const size = Math.min(n - values.length, block);
      const starts = startsOf(masses.map((mass, j) => Math.max(1, weight) * mass + (weight > 0 ? counts[j] * 2 ** 24 : 0)));
      const symbols = Array.from({ length: size }, () => stream.symbol(starts, 16));
      values.push(...withLowBits(stream, readEscapes(stream, symbols, limit), shift, centre));
      for (const j of symbols) counts[j]++;
      while (counts.reduce((a, b) => a + b, 0) > memory) counts = counts.map((count) => count >> 1);
      block = Math.min(values.length, 1024);
    }
    return values;
  }
}

export class Contexts extends AdaptiveTables {
  values(shape, scale, form, centre) {
    const { stream } = this, [table, shift] = tableAndShift(scale), n = product(shape);
    const masses = massesOf(Math.floor(form / 4), table), limit = tableLimit(table), tails = [masses.reduce((a, b) => a + b, 0)];
    for (let m = 0; m <= limit; m++) tails.push(tails.at(-1) - masses[limit + m] * (m ? 2 : 1));
    const tail = (m) => (m <= limit + 1 ? tails[m] : 0), ratio = (a, b) => (b ? Math.floor((a * 2 ** 24) / b) : 2 ** 23);
    const first = {};
    for (const s of [-1, 0, 1]) { first[`zero ${s}`] = ratio(tail(1), tail(0)); first[`sign ${s}`] = 2 ** 23; }
    for (let m = 1; m <= 10; m++) first[`greater ${m}`] = ratio(tail(m + 1), tail(m));
    for (let k = 0; k < 35; k++) {
      const a = 10 + 2 ** k, m = 10 + Math.floor((3 * 2 ** k) / 2), z = 10 + 2 ** (k + 1);
      first[`prefix ${k}`] = ratio(tail(z), tail(a));
      first[`suffix ${k}`] = ratio(tail(m) - tail(z), tail(a) - tail(z));
    }
    const contexts = Object.fromEntries(Object.entries(first).map(([name, p]) => [name, [p, p]]));
    const rates = CONTEXT_RATES.slice(2 * (form % 4), 2 * (form % 4) + 2);
    const bit = (name) => {
      const pair = contexts[name], value = stream.bit(clip(Math.floor((pair[0] + pair[1]) / 512), 16, 65520));
      for (const i of [0, 1]) pair[i] += Math.floor((value * 2 ** 24 - pair[i]) / 2 ** rates[i]);
      return value;
    };
    const magnitude = () => {
      let size = 1;
      while (size <= 10 && bit(`greater ${size}`)) size++;
      if (size < 11) return size;
      let k = 0, number = 1;
      while (bit(`prefix ${k}`)) k = between(k + 1, 0, 34);
      for (let i = 0; i < k; i++) number = 2 * number + (i ? stream.bit(1 << 15) : bit(`suffix ${k}`));
      return number + 10;
    };
    const bins = [];
    let sign = 0;
    for (let i = 0; i < n; i++) {
      if (bit(`zero ${sign}`)) {
        sign = bit(`sign ${sign}`) ? 1 : -1;
        bins.push(sign * magnitude());
      } else { sign = 0; bins.push(0); }
    }
    return withLowBits(stream, bins, shift, centre);
  }
}

export class AxisTables extends AdaptiveTables {
  constructor(stream) { super(stream); this.spread = new Moving(512, 17, 11, 26); }
  values(shape, scale, form, centre) {
    const { stream } = this, n = product(shape), numbers = new Array(n).fill(scale - 1);
    for (const axis of shape.length > 1 ? [shape.length - 2, shape.length - 1] : []) {
      const size = shape[axis];
      if (size < 3 || !stream.number(1)) continue;
      const offsets = readStatic(stream, size, massesOf(1, this.spread.read(stream)));
      const each = Math.floor(n / size), grain = each >= 400 ? 1 : each >= 100 ? 2 : 4, inner = axis === shape.length - 1 ? 1 : shape.at(-1);
      for (let i = 0; i < n; i++) numbers[i] += clip(offsets[Math.floor(i / inner) % size], -140, 140) * grain;
    }
    const flat = numbers.map((number) => clip(number, 0, 139)), values = new Array(n);
    for (const number of [...new Set(flat)].sort((a, b) => a - b)) {
      const [table, shift] = tableAndShift(number + 1), here = flat.flatMap((own, i) => (own === number ? [i] : []));
      const found = readStatic(stream, here.length, massesOf(Math.floor(form / 4), table), shift, centre);
      here.forEach((place, i) => { values[place] = found[i]; });
    }
    return values;
  }
}

export class MixtureTables extends AdaptiveTables {
  constructor(stream) { super(stream); this.share = new Moving(768, 12, 0, 15); this.distance = new Moving(768, 8, 0); }
  values(shape, scale, form, centre) {
    const [table, shift] = tableAndShift(scale), family = Math.floor(form / 4), share = this.share.read(this.stream);
    let masses = massesOf(family, table);
    if (share) {
      const narrower = between(table - this.distance.read(this.stream), 0, 31), narrow = massesOf(family, narrower);
      const margin = new Array(tableLimit(table) - tableLimit(narrower)).fill(0), spread = [...margin, ...narrow.slice(0, -1), ...margin, narrow.at(-1)];
      masses = masses.map((mass, j) => (16 - share) * mass + share * spread[j]);
    }
    return readStatic(this.stream, product(shape), masses, shift, centre);
  }
}

export class ShapedTables extends AdaptiveTables {
  constructor(stream) { super(stream); this.corrections = Array.from({ length: 6 }, () => new Moving(512, 0, -32, 32)); }
  values(shape, scale, form, centre) {
    const [table, shift] = tableAndShift(scale), limit = tableLimit(table), spread = spreadsOf()[table];
    const heights = [0, ...this.corrections.map((correction) => 16 * correction.read(this.stream))], knots = [0, ...KNOTS.map((knot) => knot * spread)];
    const masses = massesOf(0, table).map((mass, symbol) => {
      const x = Math.min(Math.min(Math.abs(symbol - limit), limit) * 2048, knots[6]);
      let k = 1;
      while (knots[k] < x) k++;
      const e = heights[k - 1] + Math.floor(((heights[k] - heights[k - 1]) * (x - knots[k - 1])) / Math.max(1, knots[k] - knots[k - 1]));
      let power = 1n << 62n;
      for (let i = 0; i < ((e % 64) + 64) % 64; i++) power = fixed(power, SIXTY_FOURTH);
      return Number((BigInt(mass) * (power >> BigInt(40 - Math.floor(e / 64)))) >> 22n);
    });
    return readStatic(this.stream, product(shape), masses, shift, centre);
  }
}

export class HuffmanWords {
  constructor(stream) { this.stream = stream; this.common = null; }
  read(shape) {
    const { stream } = this, [values, lengths] = stream.number(1) ? (this.common ??= this.table()) : this.table();
    const order = lengths.map((_, i) => i).sort((a, b) => lengths[a] - lengths[b] || a - b), starts = [0];
    for (const symbol of order) starts.push(starts.at(-1) + 2 ** (16 - lengths[symbol]));
    const symbols = Array.from({ length: product(shape) }, () => order[stream.symbol(starts, 16)]);
    return symbols.map((j) => (j < values.length ? values[j] : stream.number(32) - 2 ** 31));
  }
  table() {
    const { stream } = this, escape = stream.number(1), count = between(stream.expGolomb(4) + 1, 1, 4096);
    const gaps = new SmallNumber(64), first = stream.expGolomb(6), values = [first % 2 ? (first + 1) / 2 : -first / 2];
    for (let i = 1; i < count; i++) values.push(values[i - 1] + 1 + Math.max(0, gaps.read(stream)));
    between(values[0], LEAST_INTEGER, GREATEST_INTEGER); between(values.at(-1), LEAST_INTEGER, GREATEST_INTEGER);
    const length = new Moving(256, 6), lengths = Array.from({ length: count + escape }, () => between(length.read(stream), 0, 16));
    if (lengths.reduce((sum, n) => sum + 2 ** (16 - n), 0) !== 65536) throw new Damaged();
    return [values, lengths];
  }
}

export class Raw {
  constructor(stream) {
    this.stream = stream;
    this.width = new Moving(256, 8, 0, 32); this.least = new Moving(256, 0, LEAST_INTEGER, GREATEST_INTEGER);
  }
  read(shape) {
    const width = this.width.read(this.stream), least = this.least.read(this.stream);
    let numbers = new Array(product(shape)).fill(0);
    for (let left = width; left > 0; ) {
      const group = Math.min(left, 16);
      left -= group;
      numbers = numbers.map((bits) => bits * 2 ** group + this.stream.number(group));
    }
    return numbers.map((number) => least + number);
  }
}

export class Sparse {
  constructor(stream) { this.stream = stream; this.words = new HuffmanWords(stream); }
  read(shape) {
    const { stream } = this, n = product(shape), m = between(stream.expGolomb(Math.max(0, bitLength(n) - 2)), 0, n);
    let kept = new Array(n).fill(m === n);
    if (m > 0 && m < n) {
      const starts = [0, clip(Math.floor(((n - m) * 65536) / n), 1, 65535), 65536];
      kept = kept.map(() => stream.symbol(starts, 16) === 1);
    }
    const count = kept.filter(Boolean).length, values = count ? this.words.read([count]) : [];
    let at = 0;
    return kept.map((has) => (has ? values[at++] : 0));
  }
}
