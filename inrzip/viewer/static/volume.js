// Volumes of three and four axes: slices along any axis, and all of it seen from outside.

import { ask } from "./ask.js";
import { PlaneView, toCanvas } from "./plane.js";
import { Solid, wipeHandle } from "./solid.js";
import { element, Stage } from "./stage.js";
import { Transport } from "./transport.js";

const BLOCKS = [32, 64, 128]; // samples along the longest axis, one after the other
const SLICES_A_SECOND = 12;
const FINEST = 4; // a slice is evaluated at no more pixels for a sample
const PAUSED = 120;

export class Volume extends Stage {
  constructor(root, signal, shared) {
    super(root, signal, shared);
    this.four = signal.shape.length === 4;
    this.first = this.four ? 1 : 0; // the first axis in space
    this.where = signal.shape.map((n) => n >> 1); // the slice of each axis
    this.axis = this.first; this.place = 0; this.known = {};
    this.look = this.bar.appendChild(element("select", { title: "What to see", "aria-label": "View", onchange: () => this.see(this.look.value) }));
    for (let k = this.first; k < signal.shape.length; k++) this.look.append(element("option", { value: k }, `Slices of axis ${k}`));
    this.look.append(element("option", { value: "max" }, "3-D: brightest"), element("option", { value: "solid" }, "3-D: solid"));
    if (this.four) {
      this.bar.append(element("label", {}, "axis 0 "));
      this.outer = this.bar.appendChild(element("input", { type: "range", min: 0, max: signal.shape[0] - 1, value: 0, "aria-label": "Axis 0",
        oninput: () => { this.place = Number(this.outer.value); this.known = {}; this.renew(); } }));
    }
    this.comparison();
    this.inner = this.bar.appendChild(element("div", { class: "inner" }));
    this.see(String(this.first));
  }
  destroy() { this.gone = true; this.clear(); }
  key(event) { return this.transport?.key(event) || (this.view ?? this.solid)?.key(event); }

  clear() {
    this.transport?.destroy(); this.view?.destroy(); this.solid?.destroy(); this.control?.abort();
    clearTimeout(this.pause);
    this.transport = this.view = this.solid = null;
    this.inner.replaceChildren(); this.field.replaceChildren(); this.notice = null;
  }

  see(what) {
    this.clear();
    this.look.value = what;
    const bar = this.bar;
    this.bar = this.inner; // controls of this view alone
    if (what === "max" || what === "solid") this.threeD(what);
    else this.slices(Number(what));
    this.bar = bar;
    this.setMode(this.mode ?? "decoded");
  }
  renew() { if (this.view) this.slice(); else this.setMode(this.mode); }

  setMode(mode) {
    super.setMode(mode);
    if (this.view) { this.view.setMode(mode); this.slice(); }
    if (this.solid) {
      this.solid.layout = mode;
      this.solid.panes = mode === "side" || mode === "wipe" ? ["original", "decoded"] : [mode];
      this.handle.style.display = mode === "wipe" ? "block" : "none";
      this.solid.draw();
      this.blocks();
    }
  }

  // ---- slices ----

  slices(axis) {
    this.axis = axis;
    const { shape } = this.signal, [rows, columns] = this.planeAxes(axis).map((k) => shape[k]), n = shape[axis];
    this.view = new PlaneView(this.field, {
      rows, columns, look: this.shared.look,
      fetch: (layer, bounds, scale, abort) => this.plane(layer, bounds, scale, abort),
      report: (error) => this.report(error),
    });
    this.view.finest = FINEST; this.view.refining = false;
    this.transport = new Transport(this, {
      length: n / SLICES_A_SECOND, count: n, label: (_, index) => `slice ${index + 1} / ${n}`,
      moved: (index) => { this.where[axis] = index; this.slice(); },
    });
    this.zoomButtons(this.view);
    this.transport.go(this.transport.timeOf(this.where[axis]), true);
  }
  planeAxes(axis) { return this.signal.shape.map((_, k) => k).filter((k) => k >= this.first && k !== axis); }

  plane(source, [top, bottom, left, right], scale, signal, at = this.where[this.axis]) {
    const [a, b] = this.planeAxes(this.axis), bounds = this.signal.shape.map((_, k) => `${this.place}:${this.place + 1}`);
    bounds[this.axis] = `${at}:${at + 1}`; bounds[a] = `${top}:${bottom}`; bounds[b] = `${left}:${right}`;
    return ask(this.signal.number, "plane", { source, bounds: bounds.join(","), scale }, signal);
  }

  async slice() {
    clearTimeout(this.pause);
    const { view } = this;
    if (!view || !this.mode) return;
    view.refining = false; view.abort();
    this.wanted = this.where[this.axis] + 1e6 * this.place;
    if (this.seeking === view) return;
    this.seeking = view;
    while (!view.gone) {
      const wanted = this.wanted, at = this.where[this.axis];
      try {
        for (const layer of [...new Set(view.panes.map((pane) => pane.layer))]) {
          const found = await this.plane(layer, [0, view.rows, 0, view.columns], Math.min(1, view.fitting()), undefined, at);
          if (view.gone) return;
          view.setBase(layer, toCanvas(found, layer === "error"), Math.min(1, view.fitting()));
        }
        this.report(null);
        this.shownSlice = at;
      } catch (error) { this.report(error); }
      if (this.wanted === wanted) break;
    }
    this.seeking = null;
    if (!this.transport?.playing) this.pause = setTimeout(() => { view.refining = true; view.refine(); }, PAUSED);
  }

  // ---- from outside ----

  threeD(what) {
    try { this.solid = new Solid(this.field, this.shared); } catch (error) { this.report(error); return; }
    this.handle = wipeHandle(this.field, (at) => { this.solid.wiped = at; this.solid.draw(); });
    this.readout = this.field.appendChild(element("div", { class: "readout" }));
    this.solid.style = what === "solid" ? 1 : 0;
    this.known = {};
    if (what === "solid")
      this.inner.append(element("input", { type: "range", min: 0, max: 0.9, step: 0.01, value: this.solid.threshold, title: "What is seen through", "aria-label": "Threshold",
        oninput: (event) => { this.solid.threshold = Number(event.target.value); this.solid.draw(); } }));
    this.button("−", "Away (-)", () => this.solid.step(-1));
    this.button("+", "Nearer (+)", () => this.solid.step(1));
    this.button("Fit", "As at first (z)", () => this.solid.all());
  }

  async blocks() {
    this.control?.abort();
    const control = (this.control = new AbortController()), { solid } = this, extents = this.signal.shape.slice(-3);
    const steps = [...new Set(BLOCKS.map((n) => Math.max(1, Math.ceil(Math.max(...extents) / n))))];
    this.waiting(true);
    for (const step of steps)
      for (const source of solid.panes) {
        if (this.known[source] <= step) continue;
        try {
          const { shape, data } = await ask(this.signal.number, "block", { source, step, index: this.place }, control.signal);
          if (solid.gone) return;
          solid.setBlock(source, shape, data, extents);
          this.known[source] = step;
          this.readout.textContent = shape.join(" × ") + (step > 1 ? `, every ${step}` : "");
          this.report(null);
        } catch (error) { if (control.signal.aborted || solid.gone) return; this.report(error); this.waiting(false); return; }
      }
    this.waiting(false);
    this.complete = true;
  }
}
