// Shapes: surfaces, coarsely at first.

import { ask } from "./ask.js";
import { Solid, wipeHandle } from "./solid.js";
import { element, Stage } from "./stage.js";

const DETAILS = [0.25, 0.5, 1, 2]; // of the grid that the file names; 2 evaluates the network in between
const FIRST = 2; // how many of them come by themselves
const ERROR_SCALE = 100; // a hundredth of the box is the hottest colour

export class Shape extends Stage {
  constructor(root, signal, shared) {
    super(root, signal, shared);
    this.known = {};
    try { this.solid = new Solid(this.field, shared); } catch (error) { this.report(error); return; }
    this.handle = wipeHandle(this.field, (at) => { this.solid.wiped = at; this.solid.draw(); });
    this.readout = this.field.appendChild(element("div", { class: "readout" }));
    this.solid.errors = ERROR_SCALE;
    this.detail = FIRST;
    this.comparison();
    this.level = this.bar.appendChild(element("select", { title: "Detail", "aria-label": "Detail", onchange: () => { this.detail = Number(this.level.value); this.setMode(this.mode); } }));
    DETAILS.forEach((scale, i) => this.level.append(element("option", { value: i }, `${scale}× grid`)));
    this.level.value = this.detail;
    this.bar.append(element("span", { class: "gap" }));
    this.button("−", "Away (-)", () => this.solid.step(-1));
    this.button("+", "Nearer (+)", () => this.solid.step(1));
    this.button("Fit", "As at first (z)", () => this.solid.all());
    if (!signal.original) this.setMode("decoded");
  }
  destroy() { this.gone = true; this.control?.abort(); this.solid?.destroy(); }
  key(event) { return this.solid?.key(event); }

  setMode(mode) {
    super.setMode(mode);
    if (!this.solid) return;
    this.solid.layout = mode;
    this.solid.panes = mode === "side" || mode === "wipe" ? ["original", "decoded"] : [mode];
    this.handle.style.display = mode === "wipe" ? "block" : "none";
    this.solid.draw();
    this.fetch();
  }

  async fetch() {
    this.control?.abort();
    const control = (this.control = new AbortController());
    this.waiting(true);
    for (const source of this.solid.panes) {
      const steps = source === "original" ? [this.detail] : DETAILS.map((_, i) => i).filter((i) => i <= this.detail && (source !== "error" || i === this.detail));
      for (const i of steps) {
        if (this.known[source] === i || (source === "original" && source in this.known) || (i < this.detail && this.known[source] > i)) continue;
        try {
          const { data } = await ask(this.signal.number, "surface", { source, scale: DETAILS[i] }, control.signal);
          if (this.gone) return;
          const [n, m] = new Uint32Array(data.buffer, 0, 2);
          if (!m && source !== "original") throw new Error("there is no surface at this detail");
          this.solid.setMesh(source, new Float32Array(data.buffer, 8, 4 * n), new Uint32Array(data.buffer, 8 + 16 * n, 3 * m));
          this.known[source] = i;
          this.readout.textContent = `${n.toLocaleString("en")} vertices, ${m.toLocaleString("en")} faces`;
          this.report(null);
        } catch (error) {
          if (control.signal.aborted) return;
          this.report(error);
          if (i === this.detail) { this.waiting(false); return; }
        }
      }
    }
    this.waiting(false);
    this.complete = true;
  }
}
