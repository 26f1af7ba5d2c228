// Sounds, and volumes of one axis: the wave, what frequencies are in it, and playing.

import { ask } from "./ask.js";
import { fft } from "./fft.js";
import { Player, Samples } from "./sound.js";
import { clock, Stage } from "./stage.js";
import { Transport } from "./transport.js";

const WINDOW = 1024; // samples of a spectrum
const FLOOR_DB = -100;
const WAVE_SHARE = 0.45; // of the height; below is the spectrogram
const DETAIL = 4; // pixels for a sample, from which on the network is evaluated in between
const COLOURS = { decoded: "#6cb2ff", original: "#b9bdc6", error: "#ff9d6b" };

export class Audio extends Stage {
  constructor(root, signal, shared) {
    super(root, signal, shared);
    this.length = signal.shape[0]; this.rate = signal.rate;
    this.plays = signal.kind === "audio";
    this.canvas = this.field.appendChild(document.createElement("canvas"));
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.backdrop = document.createElement("canvas");
    this.readout = this.field.appendChild(document.createElement("div"));
    this.readout.className = "readout";
    this.from = 0; this.to = this.length;
    this.pieces = {};
    this.player = this.plays ? new Player(null, this.rate) : null;
    const seconds = this.length / this.rate;
    this.transport = new Transport(this, {
      length: seconds, sound: this.player,
      label: (time) => (this.plays ? `${clock(time)} / ${clock(seconds)}` : `${Math.floor(time * this.rate)} / ${this.length}`),
      moved: () => { this.follow(); this.draw(true); },
    });
    this.setMode("decoded");
    this.comparison(["decoded", "original", "wipe", "error"]);
    this.button("−", "Zoom out (-)", () => this.zoom(0.5));
    this.button("+", "Zoom in (+)", () => this.zoom(2));
    this.button("Fit", "All of it (z)", () => this.see(0, this.length));
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.field);
    this.listen();
    this.transport.go(shared.time, true);
  }

  destroy() {
    this.gone = true;
    this.transport.destroy(); this.observer.disconnect();
    for (const samples of Object.values(this.pieces)) samples.destroy();
    this.player?.context?.close();
    this.control?.abort();
  }

  samples(source) {
    return (this.pieces[source] ??= new Samples(this.length,
      (start, stop) => ask(this.signal.number, "waves", { source, start, stop }),
      () => { this.spectrum = null; this.report(null); this.draw(); }, (error) => this.report(error)));
  }

  setMode(mode) {
    super.setMode(mode);
    this.main = mode === "original" ? "original" : "decoded";
    for (const source of mode === "decoded" || mode === "original" ? [mode] : ["decoded", "original"]) this.samples(source).run();
    if (this.player) {
      this.player.samples = this.samples(this.main);
      if (this.transport.playing) this.transport.begin();
    }
    this.spectrum = null; this.fine = null;
    this.draw(); this.detail();
  }

  resized() {
    const box = this.field.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    this.backdrop.width = this.canvas.width; this.backdrop.height = this.canvas.height;
    this.spectrum = null;
    this.draw(); this.detail();
  }

  // ---- where it looks ----

  see(from, to) {
    const width = Math.min(Math.max(to - from, 8), this.length);
    this.from = Math.min(Math.max(from, 0), this.length - width); this.to = this.from + width;
    this.spectrum = null;
    this.draw(); this.detail();
  }
  zoom(factor, at = Math.min(Math.max(this.transport.time * this.rate, this.from), this.to)) {
    const width = (this.to - this.from) / factor;
    this.see(at - ((at - this.from) / (this.to - this.from)) * width, at + ((this.to - at) / (this.to - this.from)) * width);
  }
  follow() {
    const at = this.transport.time * this.rate, width = this.to - this.from;
    if (this.transport.playing && (at > this.to || at < this.from)) this.see(at, at + width);
  }

  // Evaluates between the samples where there is room.
  async detail() {
    this.control?.abort();
    const perSample = this.canvas.width / (this.to - this.from);
    if (perSample < DETAIL || this.main === "original") { this.fine = null; return; }
    const control = (this.control = new AbortController());
    const start = Math.floor(this.from), stop = Math.min(Math.ceil(this.to) + 1, this.length), scale = Math.min(64, Math.ceil(perSample / 2));
    try {
      const { shape, data } = await ask(this.signal.number, "waves", { source: "decoded", start, stop, scale }, control.signal);
      this.fine = { start, stop, scale, channels: shape[1], values: new Float32Array(data.buffer, data.byteOffset, shape[0] * shape[1]) };
      this.draw();
    } catch (error) { if (!control.signal.aborted) this.report(error); }
  }

  // ---- drawing ----

  // Anew, or with `moved` alone the place that is heard.
  draw(moved = false) {
    if (!moved) this.stale = true;
    if (this.drawing || this.gone) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      if (this.gone) return;
      if (this.stale) { this.stale = false; this.paint(this.backdrop.getContext("2d")); }
      this.context.drawImage(this.backdrop, 0, 0);
      const { width, height } = this.canvas, x = ((this.transport.time * this.rate - this.from) / (this.to - this.from)) * width;
      this.context.fillStyle = "#fff";
      this.context.fillRect(Math.round(x), 0, Math.max(1, Math.round(window.devicePixelRatio || 1)), height);
    });
  }

  paint(context) {
    const { canvas } = this, { width, height } = canvas, split = this.plays ? Math.round(height * WAVE_SHARE) : height;
    this.brush = context;
    context.fillStyle = "#131417"; context.fillRect(0, 0, width, height);
    const samples = this.samples(this.main), channels = Math.max(samples.channels, 1);
    for (let c = 0; c < channels; c++) {
      const middle = (split * (c + 0.5)) / channels, reach = (split / channels) * 0.48;
      context.fillStyle = "#2c2f35"; context.fillRect(0, Math.round(middle), width, 1);
      if (!samples.channels) continue;
      if (this.mode === "wipe" || this.mode === "error") this.wave(this.samples("original"), c, middle, reach, COLOURS.original);
      if (this.mode !== "error") this.wave(samples, c, middle, reach, COLOURS[this.main]);
      else this.wave(this.samples("decoded"), c, middle, reach, COLOURS.error, this.samples("original"));
    }
    if (this.plays) {
      this.spectrum ??= this.spectrogram(samples, width, height - split);
      context.drawImage(this.spectrum, 0, split);
    }
    const known = samples.pieces.filter(Boolean).length / samples.pieces.length;
    const unit = this.plays ? `${clock(this.from / this.rate)} – ${clock(this.to / this.rate)}` : `${Math.floor(this.from)} – ${Math.ceil(this.to)}`;
    this.readout.textContent = unit + (known < 1 ? `   decoded ${Math.floor(known * 100)} %` : "");
    this.complete = known === 1;
    if (known > 0 && !performance.getEntriesByName("first picture").length) performance.mark("first picture");
  }

  wave(samples, c, middle, reach, colour, minus = null) {
    const { brush: context, canvas } = this, { width } = canvas, n = this.to - this.from;
    context.fillStyle = context.strokeStyle = colour;
    if (n <= width / DETAIL) { this.curve(samples, c, middle, reach, minus); return; }
    const start = Math.floor(this.from), stop = Math.min(Math.ceil(this.to), this.length);
    const values = samples.channel(c, start, stop), other = minus?.channel(c, start, stop);
    for (let x = 0; x < width; x++) {
      const a = Math.floor((x / width) * n), b = Math.min(Math.max(a + 1, Math.floor(((x + 1) / width) * n)), values.length);
      let low = Infinity, high = -Infinity;
      for (let i = a; i < b; i++) {
        const v = other ? values[i] - other[i] : values[i];
        if (v < low) low = v;
        if (v > high) high = v;
      }
      if (low <= high) context.fillRect(x, middle - Math.min(high, 1) * reach, 1, Math.max(1, (Math.min(high, 1) - Math.max(low, -1)) * reach));
    }
  }

  // Single samples, and what the network is between them.
  curve(samples, c, middle, reach, minus) {
    const { brush: context, canvas, fine } = this, place = (i) => ((i + 0.5 - this.from) / (this.to - this.from)) * canvas.width;
    const start = Math.floor(this.from), stop = Math.min(Math.ceil(this.to) + 1, this.length);
    const values = samples.channel(c, start, stop), other = minus?.channel(c, start, stop);
    context.lineWidth = 1.5; context.beginPath();
    if (fine && !minus && samples === this.samples("decoded") && fine.start <= this.from && fine.stop >= Math.min(this.to, this.length))
      for (let i = 0; i < fine.values.length / fine.channels; i++)
        context.lineTo(place(fine.start + (i + 0.5) / fine.scale - 0.5), middle - fine.values[i * fine.channels + c] * reach);
    else values.forEach((v, i) => context.lineTo(place(start + i), middle - (other ? v - other[i] : v) * reach));
    context.stroke();
    if (canvas.width / (this.to - this.from) >= 8)
      values.forEach((v, i) => { context.beginPath(); context.arc(place(start + i), middle - (other ? v - other[i] : v) * reach, 2.5, 0, 7); context.fill(); });
  }

  // Frequencies from 0 at the bottom to half the rate; a column of pixels for a spectrum.
  spectrogram(samples, width, height) {
    const out = document.createElement("canvas"), columns = Math.min(width, 800), rows = Math.min(height, WINDOW / 2);
    out.width = width; out.height = Math.max(height, 1);
    if (!samples.channels || rows < 1) return out;
    const image = new ImageData(columns, rows), n = this.to - this.from;
    const re = new Float64Array(WINDOW), im = new Float64Array(WINDOW);
    for (let x = 0; x < columns; x++) {
      const middle = Math.round(this.from + ((x + 0.5) / columns) * n), start = middle - WINDOW / 2;
      const a = Math.max(start, 0), b = Math.min(start + WINDOW, this.length);
      re.fill(0); im.fill(0);
      const values = b > a ? samples.channel(0, a, b) : [];
      let known = true;
      values.forEach((v, i) => {
        if (Number.isNaN(v)) known = false;
        re[a - start + i] = v * (0.5 - 0.5 * Math.cos((2 * Math.PI * (a - start + i)) / WINDOW));
      });
      if (!known) continue;
      fft(re, im);
      for (let y = 0; y < rows; y++) {
        const bin = Math.floor(((rows - 1 - y) / rows) * (WINDOW / 2));
        const db = 20 * Math.log10(Math.hypot(re[bin], im[bin]) / (WINDOW / 4) + 1e-9);
        const t = Math.min(Math.max(1 - db / FLOOR_DB, 0), 1), at = 4 * (y * columns + x);
        image.data[at] = 255 * Math.min(1, t * t * 1.6); image.data[at + 1] = 255 * t ** 3; image.data[at + 2] = 255 * Math.min(1, 0.08 + t * 0.7);
        image.data[at + 3] = 255;
      }
    }
    const small = document.createElement("canvas");
    small.width = columns; small.height = rows;
    small.getContext("2d").putImageData(image, 0, 0);
    out.getContext("2d").drawImage(small, 0, 0, width, height);
    return out;
  }

  // ---- hands ----

  listen() {
    const { field } = this;
    const sample = (event) => {
      const box = field.getBoundingClientRect();
      return this.from + ((event.clientX - box.left) / box.width) * (this.to - this.from);
    };
    field.style.cursor = "text";
    field.onpointerdown = (event) => { field.setPointerCapture(event.pointerId); this.transport.go(sample(event) / this.rate); };
    field.onpointermove = (event) => { if (field.hasPointerCapture(event.pointerId)) this.transport.go(sample(event) / this.rate); };
    field.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
        const by = ((event.deltaX || event.deltaY) / field.clientWidth) * (this.to - this.from);
        this.see(this.from + by, this.to + by);
      } else this.zoom(2 ** (-event.deltaY / 400), sample(event));
    }, { passive: false });
  }

  key(event) {
    if (event.key === "+" || event.key === "=") this.zoom(2);
    else if (event.key === "-") this.zoom(0.5);
    else if (event.key === "z") this.see(0, this.length);
    else return this.transport.key(event);
    return true;
  }
}
