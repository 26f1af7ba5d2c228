// Sound that is decoded while it is heard.

const PIECE = 1 << 16; // samples asked for at once
const AHEAD = 0.6; // seconds that are handed to the speakers before they are due

// Samples as far as they are known, in order from wherever somebody listens.
export class Samples {
  // get(start, stop) -> {shape: [n, channels], data: bytes of float32}
  constructor(length, get, changed = () => {}, failed = () => {}) {
    Object.assign(this, { length, get, changed, failed });
    this.pieces = new Array(Math.ceil(length / PIECE)).fill(null);
    this.channels = 0; this.wanted = 0;
  }
  destroy() { this.gone = true; }

  // Decodes everything, beginning with what is wanted.
  async run() {
    if (this.running) return;
    this.running = true;
    while (!this.gone) {
      const first = Math.floor(this.wanted / PIECE);
      let piece = this.pieces.indexOf(null, first);
      if (piece < 0) piece = this.pieces.indexOf(null);
      if (piece < 0) break;
      try {
        const start = piece * PIECE, { shape, data } = await this.get(start, Math.min(start + PIECE, this.length));
        this.channels = shape[1];
        this.pieces[piece] = new Float32Array(data.buffer, data.byteOffset, shape[0] * shape[1]);
      } catch (error) { this.failed(error); break; }
      this.changed();
    }
    this.running = false;
  }

  known(sample) { return this.pieces[Math.floor(sample / PIECE)] !== null; }
  get whole() { return !this.pieces.includes(null); }
  // One channel from start to stop; NaN where it is not known yet.
  channel(number, start, stop) {
    const out = new Float32Array(stop - start);
    for (let at = start; at < stop; ) {
      const piece = Math.floor(at / PIECE), end = Math.min((piece + 1) * PIECE, stop), from = this.pieces[piece];
      if (!from) out.fill(NaN, at - start, end - start);
      else for (let i = at; i < end; i++) out[i - start] = from[(i - piece * PIECE) * this.channels + number];
      at = end;
    }
    return out;
  }
}

export class Player {
  muted = false;
  constructor(samples, rate) { Object.assign(this, { samples, rate }); }

  start(time) {
    this.stop();
    this.context ??= new AudioContext();
    this.gain ??= (() => { const gain = this.context.createGain(); gain.connect(this.context.destination); return gain; })();
    this.analyser ??= (() => { const node = this.context.createAnalyser(); this.gain.connect(node); return node; })();
    this.gain.gain.value = this.muted ? 0 : 1;
    this.context.resume();
    this.sources = new Set();
    this.next = Math.round(time * this.rate); // the sample to hand over next
    this.samples.wanted = this.next; this.samples.run();
    this.from = this.next / this.rate; this.began = null;
    this.timer = setInterval(() => this.feed(), 50);
    this.feed();
  }
  stop() {
    clearInterval(this.timer);
    for (const source of this.sources ?? []) { source.onended = null; source.stop(); }
    this.sources = null;
  }
  setMuted(muted) { this.muted = muted; if (this.gain) this.gain.gain.value = muted ? 0 : 1; }

  // What is heard now, in seconds.
  position() {
    if (!this.sources) return null;
    if (this.began === null) return this.from;
    const due = this.from + (this.context.currentTime - this.began);
    const handed = this.next / this.rate;
    if (due <= handed || this.next >= this.samples.length) return Math.max(this.from, due);
    this.from = handed; this.began = null; // it ran dry: goes on from there once there is more
    return handed;
  }

  feed() {
    const { context, samples } = this;
    if (this.began !== null && this.position() === this.from && this.began === null) return;
    while (this.next < samples.length && samples.known(this.next)) {
      const now = this.began === null ? 0 : context.currentTime - this.began;
      if (this.next / this.rate - this.from - now > AHEAD) return;
      this.began ??= context.currentTime + 0.05;
      const stop = Math.min((Math.floor(this.next / PIECE) + 1) * PIECE, samples.length, this.next + Math.ceil(this.rate / 2));
      const buffer = context.createBuffer(samples.channels, stop - this.next, this.rate);
      for (let c = 0; c < samples.channels; c++) buffer.copyToChannel(samples.channel(c, this.next, stop), c);
      const source = context.createBufferSource();
      source.buffer = buffer; source.connect(this.gain);
      source.start(this.began + this.next / this.rate - this.from);
      this.sources.add(source);
      source.onended = () => this.sources?.delete(source);
      this.next = stop;
    }
    samples.wanted = this.next;
  }
}
