// Pictures, and volumes of two axes.

import { ask } from "./ask.js";
import { PlaneView, toCanvas } from "./plane.js";
import { Stage } from "./stage.js";

export class Picture extends Stage {
  constructor(root, signal, shared) {
    super(root, signal, shared);
    const [rows, columns] = signal.shape;
    this.view = new PlaneView(this.field, {
      rows, columns, look: shared.look,
      fetch: (layer, bounds, scale, abort) => this.fetch(layer, bounds, scale, abort),
      report: (error) => this.report(error),
    });
    this.comparison();
    this.bar.append(document.createElement("span"));
    this.bar.lastChild.className = "gap";
    this.zoomButtons(this.view);
    if (!signal.original) this.setMode("decoded");
  }
  destroy() { this.view.destroy(); }
  key(event) { return this.view.key(event); }

  fetch(source, [top, bottom, left, right], scale, signal) {
    return ask(this.signal.number, "plane", { source, bounds: `${top}:${bottom},${left}:${right}`, scale }, signal);
  }

  setMode(mode) {
    super.setMode(mode);
    this.view.setMode(mode);
    for (const { layer } of this.view.panes) this.overview(layer);
  }

  // All of it, coarsely where it is large: what is seen first, and while tiles come.
  async overview(name) {
    const layer = this.view.layer(name);
    if (layer.base || layer.asked) return;
    layer.asked = true;
    const { rows, columns } = this.view, scale = Math.min(1, this.view.fitting());
    this.view.refining = false; // tiles wait for it
    try {
      const found = await this.fetch(name, [0, rows, 0, columns], scale);
      layer.base = toCanvas(found, name === "error"); layer.baseScale = scale;
    } catch (error) { this.report(error); }
    this.view.refining = true;
    if (!this.view.gone) this.view.moved();
  }
}
