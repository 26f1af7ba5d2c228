// Videos: frames as they are asked for, sound with them.

import { ask } from "./ask.js";
import { PlaneView, toCanvas } from "./plane.js";
import { Player, Samples } from "./sound.js";
import { clock, Stage } from "./stage.js";
import { Transport } from "./transport.js";

const KEPT = 192 << 20; // bytes of frames that are kept
const AHEAD = 2; // seconds that are decoded beforehand while it stands still
const ENOUGH = 6; // frames that have to be there before it goes on
const PAUSED = 120; // milliseconds without a new frame, after which it is evaluated as finely as it is seen

// Frames as canvases, decoded one after the other, the nearest first.
class Frames {
  constructor(get, count) { Object.assign(this, { get, count, kept: new Map(), size: 0, control: null }); }
  key(layer, frame) { return `${layer} ${frame}`; }
  find(layer, frame) { return this.kept.get(this.key(layer, frame)); }
  clear() { this.kept.clear(); this.size = 0; this.control?.abort(); }
  // Decodes `frame` now, whatever else is under way.
  async fetch(layer, frame, urgent) {
    const key = this.key(layer, frame), found = this.kept.get(key);
    if (found) return found;
    if (urgent && this.control) this.control.abort();
    const control = (this.control = new AbortController());
    const answer = await this.get(layer, frame, control.signal);
    const image = toCanvas(answer, layer === "error"), bytes = 4 * image.width * image.height;
    this.kept.set(key, image); this.size += bytes;
    while (this.size > KEPT && this.kept.size > 2) {
      this.kept.delete(this.kept.keys().next().value); this.size -= bytes;
    }
    return image;
  }
}

export class Video extends Stage {
  constructor(root, signal, shared) {
    super(root, signal, shared);
    const [count, rows, columns] = signal.shape;
    this.count = count; this.frame = -1; this.played = 0;
    this.view = new PlaneView(this.field, {
      rows, columns, aspect: signal.aspect[0] / signal.aspect[1], look: shared.look,
      fetch: (layer, bounds, scale, abort) => this.plane(layer, this.frame, bounds, scale, abort),
      report: (error) => this.report(error),
    });
    this.view.refining = false;
    this.frames = new Frames((layer, frame, abort) => this.plane(layer, frame, [0, rows, 0, columns], this.wholeScale, abort), count);
    const times = signal.times, length = times ? times[count - 1] + (count > 1 ? (times[count - 1] - times[0]) / (count - 1) : 0.04) : count / signal.rate;
    this.transport = new Transport(this, {
      length, count, sound: signal.sounds ? this.sound() : null,
      label: (time, index) => `${clock(time)} / ${clock(length)}   ${index + 1} / ${count}`,
      moved: (index) => this.seek(index),
      ready: (index, stalled) => { this.ahead(); return this.ready(index, stalled ? ENOUGH : 1); },
    });
    this.transport.times = times ? times.map((t) => t - times[0]) : null;
    this.comparison();
    this.zoomButtons(this.view);
    this.transport.go(shared.time, true);
    if (!signal.original) this.setMode("decoded");
  }

  destroy() { this.transport.destroy(); this.samples?.destroy(); this.player?.context?.close(); this.frames.clear(); clearTimeout(this.pause); this.view.destroy(); }
  key(event) { return this.transport.key(event) || this.view.key(event); }

  busy(so) { this.view.busy.hidden = !so; }

  // Of frames as a whole: as large as they are seen, but no larger than they were.
  get wholeScale() { return Math.min(1, this.view.fitting()); }

  plane(source, frame, [top, bottom, left, right], scale, signal) {
    const bounds = `${frame}:${frame + 1},${top}:${bottom},${left}:${right}`;
    return ask(this.signal.number, "plane", { source, bounds, scale }, signal);
  }

  sound() {
    const player = (this.player = new Player(null, 0));
    ask(this.signal.number, "sound", {}).then(({ shape: [length, , rate] }) => {
      this.samples = new Samples(length, (start, stop) => ask(this.signal.number, "waves", { start, stop }), () => {}, (error) => this.report(error));
      player.samples = this.samples; player.rate = rate;
      this.samples.run();
    }).catch((error) => this.report(error));
    // Until it is known the picture goes its own way; afterwards what is heard says what is seen.
    const start = player.start.bind(player), position = player.position.bind(player);
    player.start = (time) => { if (player.samples && time < player.samples.length / player.rate) start(time); };
    player.position = () => {
      if (!player.samples || !player.sources) return null;
      if (player.next >= player.samples.length && !player.sources.size) return null; // sound is over, the picture is not
      return position();
    };
    return player;
  }

  setMode(mode) {
    super.setMode(mode);
    this.view.setMode(mode);
    this.frames.clear();
    this.shownFrame = -1;
    if (this.frame >= 0) this.seek(this.frame);
  }

  async seek(frame) {
    if (frame === this.frame && !this.view.gone && this.shownFrame === frame) { this.settle(); return; }
    this.frame = frame;
    clearTimeout(this.pause);
    this.view.refining = false; this.view.abort();
    if (this.seeking) return; // the one under way looks here again when it is done
    this.seeking = true;
    while (!this.view.gone) {
      const wanted = this.frame, { layers } = this;
      try {
        for (const layer of layers) {
          const image = await this.frames.fetch(layer, wanted, true);
          if (this.view.gone) return;
          this.view.setBase(layer, image, this.wholeScale);
        }
        this.report(null);
        this.shownFrame = wanted; this.played++;
      } catch (error) {
        if (error.name === "AbortError") continue; // for what is more urgent
        this.report(error); this.shownFrame = wanted;
      }
      if (this.frame === wanted) break;
    }
    this.seeking = false;
    this.settle();
    this.ahead();
  }

  settle() {
    clearTimeout(this.pause);
    if (this.transport.playing) return;
    this.pause = setTimeout(() => { this.view.refining = true; this.view.refine(); }, PAUSED);
  }

  // Whether a frame and a few after it can be shown at once.
  ready(frame, n = 1) {
    for (let i = frame; i < Math.min(frame + n, this.count); i++)
      if (!this.layers.every((layer) => this.frames.find(layer, i))) return false;
    return true;
  }
  get layers() { return [...new Set(this.view.panes.map((pane) => pane.layer))]; }

  // Decodes what comes next, one after the other, until it is far enough ahead.
  async ahead() {
    if (this.leading) return;
    this.leading = true;
    for (;;) {
      const { playing } = this.transport, bytes = 4 * this.view.rows * this.view.columns * this.wholeScale ** 2 * this.layers.length;
      const far = Math.min(KEPT / 2 / bytes, playing ? Infinity : AHEAD * this.signal.rate);
      let missing = null;
      for (let i = Math.max(this.frame, 0); i < Math.min(this.frame + far, this.count) && !missing; i++)
        for (const layer of this.layers) if (!this.frames.find(layer, i)) missing ??= [layer, i];
      if (!missing || this.view.gone) break;
      try { await this.frames.fetch(...missing, false); } catch (error) { if (error.name !== "AbortError") break; await new Promise((done) => setTimeout(done, 20)); }
    }
    this.leading = false;
  }
}
