// docs/format.md: the range decoder, numbers, probability tables. Integers beyond 2^53 are BigInts.

export class Damaged extends Error {
  constructor(what = "the file is damaged; get it again") { super(what); }
}

export function between(value, least, greatest) {
  if (!(value >= least && value <= greatest)) throw new Damaged();
  return value;
}
export const clip = (value, least, greatest) => (value < least ? least : value > greatest ? greatest : value);
export const product = (shape) => shape.reduce((a, b) => a * b, 1);
export const bitLength = (n) => (n > 0 ? Math.floor(Math.log2(n)) + 1 : 0);

const LEAST_RANGE = 2 ** 24;
const ZEROS = 8; // bytes after the end

export class Stream {
  constructor(data) {
    this.data = data; this.length = data.length;
    this.code = 0;
    for (let i = 0; i < 4; i++) this.code = this.code * 256 + (data[i] ?? 0);
    this.range = 2 ** 32 - 1; this.position = 4;
  }
  // Where in 2^bits the code is.
  point(bits) {
    const point = Math.floor(this.code / Math.floor(this.range / 2 ** bits));
    if (point >= 2 ** bits) throw new Damaged();
    return point;
  }
  narrow(start, size, bits) {
    const unit = Math.floor(this.range / 2 ** bits);
    this.code -= start * unit;
    this.range = size * unit;
    while (this.range < LEAST_RANGE) {
      if (this.position >= this.length + ZEROS) throw new Damaged();
      this.code = this.code * 256 + (this.data[this.position] ?? 0);
      this.range *= 256; this.position++;
    }
  }
  // Symbol i has [starts[i], starts[i + 1]).
  symbol(starts, bits) {
    const point = this.point(bits);
    let low = 0, high = starts.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= point) low = middle; else high = middle;
    }
    this.narrow(starts[low], starts[low + 1] - starts[low], bits);
    return low;
  }
  number(nBits) {
    let value = 0;
    for (let left = nBits; left > 0; ) {
      const bits = Math.min(left, 16), point = this.point(bits);
      left -= bits;
      this.narrow(point, 1, bits);
      value = value * 2 ** bits + point;
    }
    return value;
  }
  bit(frequency) {
    const one = this.point(16) < frequency;
    this.narrow(one ? 0 : frequency, one ? frequency : 65536 - frequency, 16);
    return one ? 1 : 0;
  }
  expGolomb(order) {
    let zeros = 0;
    while (!this.number(1)) if (++zeros + order > 33) throw new Damaged();
    return 2 ** (zeros + order) + this.number(zeros + order) - 2 ** order;
  }
  magnitudeBeyond(limit, order) {
    const negative = this.number(1), magnitude = this.expGolomb(order) + limit + 1;
    return negative ? -magnitude : magnitude;
  }
  // Every byte must have been read.
  finish() { if (this.position < this.length) throw new Damaged(); }
}

// ---- mass tables ----

export const ONE = 1n << 62n;
export const fixed = (a, b) => (a * b) >> 62n;
const ROOTS = [
  [4281348697255054412n, 4332278087304955804n, 4375573053418261291n, 4412314346821917877n],
  [4579362515137443539n, 4588806318181072281n, 4595495847497832944n, 4600231944024878246n],
  [4611557401192693596n, 4611621709361652035n, 4611653863782422009n, 4611669941076880368n],
];

export function tableLimit(table) {
  const octave = Math.floor((table - 17) / 4), step = (((table - 17) % 4) + 4) % 4;
  return 2 + Math.floor([144, 171, 207, 243][step] * 2 ** (octave - 4));
}

function rawMasses(family, table) {
  const octaves = Math.floor((31 - table) / 4), step = (31 - table) % 4, limit = tableLimit(table);
  let root = ROOTS[family][3 - step];
  for (let i = 0; i < octaves * [1, 2, 4][family]; i++) root = fixed(root, root);
  if (family === 0) {
    const q = fixed(root, root), masses = [ONE - root, fixed(root, ONE - q) / 2n];
    let escape = root;
    for (let i = 0; i < limit; i++) { masses.push(fixed(masses.at(-1), q)); escape = fixed(escape, q); }
    return [...masses.slice(0, limit + 1), escape];
  }
  const factors = (family === 1 ? [1, 2] : [1, 14, 36, 24]).map((exponent) => {
    let power = ONE;
    for (let i = 0; i < exponent; i++) power = fixed(power, root);
    return power;
  });
  const masses = [ONE];
  for (let k = 0; k <= limit; k++) {
    masses.push(fixed(masses.at(-1), factors[0]));
    for (let i = 0; i + 1 < factors.length; i++) factors[i] = fixed(factors[i], factors[i + 1]);
  }
  return masses;
}

const MASSES = new Map();
// Of the values -L .. L and the escape.
export function massesOf(family, table) {
  const key = family * 32 + table;
  if (!MASSES.has(key)) {
    const raw = rawMasses(family, table), limit = tableLimit(table), both = [...raw.slice(1, limit + 1).reverse(), ...raw];
    const sum = both.reduce((a, b) => a + b, 0n), scaled = both.map((mass) => Number((mass << 24n) / sum));
    scaled[limit] += 2 ** 24 - scaled.reduce((a, b) => a + b, 0);
    MASSES.set(key, scaled);
  }
  return MASSES.get(key);
}

// Starts of intervals of 2^16. Masses may sum up to 2^53.
export function startsOf(masses) {
  const n = masses.length, total = BigInt(masses.reduce((a, b) => a + b, 0)), left = BigInt(65536 - n), starts = new Float64Array(n + 1);
  let before = 0;
  for (let i = 0; i <= n; i++) {
    starts[i] = i + Number((BigInt(before) * left) / total);
    before += masses[i] ?? 0;
  }
  return starts;
}

let spreads = null;
export function spreadsOf() {
  return (spreads ??= Array.from({ length: 32 }, (_, t) => {
    const masses = massesOf(0, t), limit = tableLimit(t);
    return Math.floor(masses.slice(0, -1).reduce((sum, mass, j) => sum + Math.abs(j - limit) * mass, 0) / 65536);
  }));
}
const LAPLACE_STARTS = new Map();

export class SmallNumber {
  constructor(first) { this.total = first; this.count = 1; }
  read(stream) {
    const mean = Math.floor(this.total / this.count);
    let table = spreadsOf().findIndex((spread) => spread >= mean);
    if (table < 0) table = 31;
    if (!LAPLACE_STARTS.has(table)) LAPLACE_STARTS.set(table, startsOf(massesOf(0, table)));
    const limit = tableLimit(table);
    let value = stream.symbol(LAPLACE_STARTS.get(table), 16) - limit;
    if (value > limit) value = stream.magnitudeBeyond(limit, 0);
    if (this.count === 4) { this.total -= Math.floor(this.total / 4); this.count = 3; }
    this.total += 256 * Math.abs(value); this.count++;
    return value;
  }
}

// A number that is told as the difference to the one before.
export class Moving {
  constructor(first, value, least = -Infinity, greatest = Infinity) {
    Object.assign(this, { number: new SmallNumber(first), value, least, greatest });
  }
  read(stream) { return (this.value = between(this.value + this.number.read(stream), this.least, this.greatest)); }
}

export function powersOf(root, n) {
  const found = [ONE];
  for (let i = 1; i < n; i++) found.push(fixed(found[i - 1], root));
  return found;
}

export const LEAST_INTEGER = -(2 ** 31), GREATEST_INTEGER = 2 ** 31 - 1;
