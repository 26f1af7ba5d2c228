// docs/format.md: the file. Images alone; what else a file may hold is refused.

import { finrPlane, finrShapes, backbone, BACKBONES, backboneShapes } from "./networks.js";
import { decodeGrids } from "./latents.js";
import { readTensors } from "./prediction.js";
import { Damaged } from "./stream.js";

const NEWEST = 8, IMAGE = 0, GRID = 4, FINR = 14;
const MOST_SAMPLES = 2 ** 28; // of a picture that is decoded here
const POINTS = 512; // evaluated at once
const FINEST = 8; // points along an axis that are averaged into one sample
// Sample types: name, default low, default high; whether they are whole numbers, and for these how far the type goes
const TYPES = [
  ["u1", 255, true, 255], ["u2", 65535, true, 65535], ["i2", 32767, true, 0], ["i3", 8388607, true, 0], ["i4", 2147483647, true, 0], ["u4", 4294967295, true, 0],
  ["f2", 1, false, 0], ["f4", 1, false, 0], ["f8", 1, false, 0], ["i1", 127, true, 0], ["b1", 1, true, 0],
];

export function readVarint(data, at) {
  let value = 0;
  for (let factor = 1; ; factor *= 128, at++) {
    if (at >= data.length || factor > 2 ** 49) throw new Damaged();
    value += (data[at] & 127) * factor;
    if (data[at] < 128) return [value, at + 1];
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1; return n >>> 0; });
function checked(data, end) { // the bytes before a checksum that ends there
  let crc = 0xffffffff;
  for (let i = 0; i < end - 4; i++) crc = CRC[(crc ^ data[i]) & 255] ^ (crc >>> 8);
  const told = new DataView(data.buffer, data.byteOffset + end - 4, 4).getUint32(0, true);
  if (end < 4 || (~crc >>> 0) !== told) throw new Damaged();
}

class Cursor {
  constructor(data, at) { this.data = data; this.at = at; this.view = new DataView(data.buffer, data.byteOffset, data.length); }
  byte() { if (this.at >= this.data.length) throw new Damaged(); return this.data[this.at++]; }
  varint() { const [value, at] = readVarint(this.data, this.at); this.at = at; return value; }
  zigzag() { const n = this.varint(); return n % 2 ? -(n + 1) / 2 : n / 2; }
  float(bytes) {
    if (this.at + bytes > this.data.length) throw new Damaged();
    const value = bytes === 4 ? this.view.getFloat32(this.at, true) : this.view.getFloat64(this.at, true);
    this.at += bytes;
    return value;
  }
  skip(n) { this.at += n; if (this.at > this.data.length) throw new Damaged(); }
}

// Only the real number of bits is of interest here; all else is passed over.
function readMetadata(cursor) {
  let bits = null;
  for (let left = cursor.byte(); left > 0; left--) {
    const head = cursor.byte(), key = head >> 4, type = head & 15;
    if (key === 0) cursor.skip(cursor.byte());
    if (type === 0) { const value = cursor.zigzag(); if (key === 3) bits = value; }
    else if (type === 1) cursor.skip(8);
    else if (type === 2) cursor.skip(4);
    else if (type === 3 || type === 4) cursor.skip(cursor.varint());
    else if (type === 5 || type === 6) for (let n = cursor.varint(); n > 0; n--) cursor.varint();
    else if (type === 7 || type === 8) cursor.skip(cursor.varint() * (type === 7 ? 8 : 4));
    else throw new Damaged();
  }
  return bits;
}

// {shape, channels, type, low, high, peak, architecture, version, payloads, segmentLength}
export function readContainer(data) {
  if (data[0] !== 0x8d || data[1] !== 0x49 || data[2] !== 0x5a) throw new Damaged("this is no .inrz file");
  const version = data[3] >> 4, kind = data[3] & 7, [type, most, whole, span] = TYPES[data[4] >> 4] ?? [], indexed = data[4] & 8, extras = data[4] & 4;
  if (version > NEWEST) throw new Damaged("made by a newer inrzip");
  if (version < 1 || !type) throw new Damaged();
  if (kind !== IMAGE) throw new Damaged("this page decodes images alone");
  const cursor = new Cursor(data, 5);
  let end = data.length;
  if (indexed) { const length = cursor.varint(); end = cursor.at + length + 4; if (end > data.length) throw new Damaged(); }
  checked(data, end);
  const channels = [1, 3, 4][data[4] & 3] ?? cursor.byte(), shape = [cursor.varint() + 1, cursor.varint() + 1], architecture = cursor.byte();
  if (shape[0] * shape[1] * channels > MOST_SAMPLES) throw new Damaged(`${shape[0]} x ${shape[1]} pixels are too many for this page`);
  let low = 0, high = most, bits = null;
  if (extras) {
    const byte = cursor.byte();
    if (byte & 64 && version >= 5) throw new Damaged("this page does not decode lossless files");
    if (byte & 192) throw new Damaged();
    const forms = [(byte >> 2) & 7, byte & 3], read = (form, usual) => [() => usual, () => cursor.zigzag(), () => cursor.float(4), () => cursor.float(8)][form]();
    if (forms[0] > 4) throw new Damaged();
    if (forms[0] < 4) low = read(forms[0], 0);
    high = read(forms[1], most);
    if (forms[0] === 4) low = -high;
    if (byte & 32) bits = readMetadata(cursor);
  }
  const found = { shape, channels, type, whole, low, high, architecture, version };
  found.peak = span ? [0, bits ? 2 ** bits - 1 : span] : [low, high];
  if (!indexed) return { ...found, segmentLength: shape[0], payloads: [data.subarray(cursor.at, data.length - 4)] };
  const segmentLength = cursor.varint() + 1, count = Math.ceil(shape[0] / segmentLength), lengths = [];
  if (count > data.length) throw new Damaged();
  for (let i = 0; i < count; i++) lengths.push(cursor.varint());
  let at = end;
  const payloads = lengths.map((length) => {
    if (at + length + 4 > data.length) throw new Damaged();
    const part = data.subarray(at, at + length + 4);
    checked(part, part.length);
    at += length + 4;
    return part.subarray(0, length);
  });
  return { ...found, segmentLength, payloads };
}

// ---- one segment: values at positions ----

function resampled(channels, [height, width], rows, columns) {
  const out = new Float32Array(rows.length * columns.length * channels.length);
  const between = (positions, n) => positions.map((p) => { const at = Math.min(Math.max(p, 0), n - 1), low = Math.floor(at); return [low, Math.min(low + 1, n - 1), at - low]; });
  const xs = between(columns, width);
  let place = 0;
  for (const [y0, y1, v] of between(rows, height))
    for (const [x0, x1, u] of xs)
      for (const values of channels) {
        const left = values[y0 * width + x0] * (1 - v) + values[y1 * width + x0] * v, right = u ? values[y0 * width + x1] * (1 - v) + values[y1 * width + x1] * v : 0;
        out[place++] = left * (1 - u) + right * u;
      }
  return out;
}

// {render(rows, columns) -> values, channels last; tensors or latents: what the file holds, as integers}
function openSegment(file, payload, shape, prior) {
  const cursor = new Cursor(payload, 0), { architecture, channels, version } = file, fields = (n) => Array.from({ length: n }, () => cursor.varint());
  const list = () => { const n = cursor.varint(); if (n > 16) throw new Damaged(); return fields(n); };
  if (architecture === GRID) {
    const config = fields(4), rest = payload.subarray(cursor.at);
    if (config[0] !== 1 || !prior) throw new Damaged("its learned prior is unknown; the file may be from a newer inrzip");
    const { latents, channels: values } = decodeGrids(prior, config, rest, ...shape, channels, version, readVarint);
    return { latents, render: (rows, columns) => resampled(values, shape, rows, columns) };
  }
  if (architecture === FINR) {
    const head = fields(2), inner = list(), { inside, head: last } = finrShapes(head, inner, shape, channels);
    const tensors = readTensors(payload.subarray(cursor.at), [...inside.flat(), ...last], version);
    return { tensors, render: finrPlane(head, inner, tensors, shape, channels) };
  }
  if (!BACKBONES[architecture]) throw new Damaged("this page has no decoder for the file's recipe");
  const [width, depth] = fields(2), scales = list();
  const tensors = readTensors(payload.subarray(cursor.at), backboneShapes(architecture, width, depth, 2, channels), version);
  const evaluate = backbone(architecture, width, depth, scales, tensors, shape, channels);
  return {
    tensors,
    render(rows, columns) {
      const n = rows.length * columns.length, out = new Float32Array(n * channels);
      for (let start = 0; start < n; start += POINTS) {
        const size = Math.min(POINTS, n - start), y = new Float64Array(size), x = new Float64Array(size);
        for (let i = 0; i < size; i++) { y[i] = rows[Math.floor((start + i) / columns.length)]; x[i] = columns[(start + i) % columns.length]; }
        evaluate([y, x]).forEach((values, c) => { for (let i = 0; i < size; i++) out[(start + i) * channels + c] = values[i]; });
      }
      return out;
    },
  };
}

// ---- pictures ----

export class ImageFile {
  constructor(data, prior) {
    this.file = readContainer(data); this.prior = prior;
    this.segments = [];
  }
  segment(i) {
    const { file } = this, [height, width] = file.shape, rows = Math.min(file.segmentLength, height - i * file.segmentLength);
    return (this.segments[i] ??= openSegment(file, file.payloads[i], [rows, width], this.prior));
  }

  // A region ([top, bottom, left, right], in samples) at a scale, as 8-bit numbers: {shape, data}. As Reader.render does;
  // quickly: without averages where it is small.
  render([top, bottom, left, right], scale, quickly = false) {
    const { file } = this, factor = quickly ? 1 : Math.min(Math.ceil(1 / scale), FINEST);
    const places = (start, stop) => {
      const n = Math.max(1, halfEven((stop - start) * scale)), step = (stop - start) / n;
      return Array.from({ length: n * factor }, (_, i) => ((i + 0.5) / factor) * step + start - 0.5);
    };
    const rows = places(top, bottom), columns = places(left, right), n = columns.length / factor, { channels } = file;
    const out = new Uint8Array((rows.length / factor) * n * channels), sums = new Float64Array(n * channels), owner = (p) => Math.floor(Math.min(Math.max(halfEven(p), 0), file.shape[0] - 1) / file.segmentLength);
    for (let y = 0, strip = Math.max(factor, Math.floor(64 / factor) * factor); y < rows.length; y += strip) {
      const own = rows.slice(y, y + strip), values = [];
      for (let a = 0; a < own.length; ) {
        const segment = owner(own[a]);
        let b = a;
        while (b < own.length && owner(own[b]) === segment) b++;
        values.push(this.segment(segment).render(own.slice(a, b).map((p) => p - segment * file.segmentLength), columns));
        a = b;
      }
      let part = 0, at = 0;
      for (let i = 0; i < own.length; i++) {
        if (at === values[part].length) { part++; at = 0; }
        if (i % factor === 0) sums.fill(0);
        for (let x = 0; x < columns.length; x++) for (let c = 0, to = Math.floor(x / factor) * channels; c < channels; c++) sums[to + c] += values[part][at++];
        if (i % factor === factor - 1) sums.forEach((sum, j) => { out[((y + i + 1) / factor - 1) * n * channels + j] = this.level(sum / factor ** 2); });
      }
    }
    return { shape: [rows.length / factor, n, channels], data: out };
  }

  // A value as a screen shows it: first the sample, then its place in the type's span.
  level(value) {
    const { file } = this, [least, most] = file.peak;
    let sample = Math.min(Math.max(value, 0), 1) * (file.high - file.low) + file.low;
    if (file.whole) sample = halfEven(sample);
    return halfEven(Math.min(Math.max(((sample - least) * 255) / (most - least || 1), 0), 255));
  }
}

// To the nearest whole number, halves to even ones.
export function halfEven(v) {
  const low = Math.floor(v), rest = v - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}
